"""Proximal policy optimisation for teams: IPPO (de Witt et al. 2020) and MAPPO (Yu et al. 2022)."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.algorithms.actor_critic.policy import (
    ACTOR_GAIN,
    draw,
    entropy,
    generalised_advantages,
    log_policy,
    taken,
)
from mast.algorithms.protocol import LossMetrics, Networks
from mast.envs.protocol import TimeStep
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.networks.feed_forward import FeedForward, feed_forward
from mast.networks.spec import Sizes

HUBER = 10.0
"""Where the critic's error turns from squared to linear (MAPPO, Table 7)."""
DECAY = 0.99999
"""Of the running mean and square of the returns (MAPPO's code)."""


class ValueStatistics(eqx.Module):
    """Running mean and square of the returns, by which critics learn normalised ones (MAPPO, Appendix A).

    None of it has a gradient; `targets` brings it up to date.
    """

    mean: Float[Array, ""]
    square: Float[Array, ""]
    share: Float[Array, ""]
    """How much of the running averages is data, not their start at 0."""

    def scale(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean and deviation so far; 0 and 1 before any data."""
        share = jnp.maximum(self.share, 1e-5)
        mean = self.mean / share
        deviation = jnp.sqrt(jnp.maximum(self.square / share - mean**2, 1e-2))
        known = self.share > 0
        return jnp.where(known, mean, 0.0), jnp.where(known, deviation, 1.0)

    def with_returns(self, returns: Float[Array, "*batch"]) -> "ValueStatistics":
        """After these returns."""
        return ValueStatistics(
            DECAY * self.mean + (1 - DECAY) * returns.mean(),
            DECAY * self.square + (1 - DECAY) * jnp.square(returns).mean(),
            DECAY * self.share + (1 - DECAY),
        )


class ActorCritic(eqx.Module):
    """The parameters."""

    agent: FeedForward
    critic: FeedForward
    statistics: ValueStatistics


class Rollout(NamedTuple):
    """What a rollout teaches; arrays lead with [time envs], or with [rows] of a minibatch."""

    observation: Float[Array, "*rows agents features"]
    seen: Float[Array, "*rows agents inputs"]
    """What the critics read."""
    available: Bool[Array, "*rows agents actions"]
    action: Int[Array, "*rows agents"]
    log_probability: Float[Array, "*rows agents"]
    """Of the action, by the policy that took it."""
    value: Float[Array, "*rows agents"]
    """Of the critics then, normalised."""
    returns: Float[Array, "*rows agents"]
    """Â + V, normalised."""
    advantage: Float[Array, "*rows agents"]
    """Â of mean 0 and deviation 1 over the rollout."""


@dataclass(frozen=True)
class Ppo:
    """Clipped policy loss, entropy, and the critics' clipped Huber loss, means over rows and agents.

    Args:
        central: whether critics read the state (MAPPO), not their agent's own observation (IPPO).
    """

    central: bool

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> ActorCritic:
        """Fresh dense parameters."""
        actor_key, critic_key = jax.random.split(key)
        read = sizes.state if self.central else sizes.observation
        zero = jnp.zeros(())
        return ActorCritic(
            feed_forward(actor_key, networks["agent"], sizes.observation, ACTOR_GAIN),
            feed_forward(critic_key, networks["critic"], read, 1.0),
            ValueStatistics(zero, zero, zero),
        )

    def act(
        self, params: ActorCritic, key: PRNGKeyArray, seen: TimeStep
    ) -> tuple[Int[Array, "envs agents"], dict[str, Array]]:
        """Actions drawn from the policy, and their log probabilities."""
        action, log_probability = draw(params.agent, key, seen)
        return action, {"log_probability": log_probability}

    def targets(
        self, params: ActorCritic, trajectory: Trajectory, method: Method
    ) -> tuple[ActorCritic, Rollout]:
        """The networks with their statistics brought up to date, and advantages and returns."""
        seen = self._read(trajectory.observation, trajectory.state)
        following = self._read(trajectory.next_observation, trajectory.next_state)
        mean, deviation = params.statistics.scale()
        normalised = params.critic(seen)[..., 0]
        value = normalised * deviation + mean
        next_value = params.critic(following)[..., 0] * deviation + mean
        advantage = generalised_advantages(
            trajectory, value, next_value, method.discount, method.gae_lambda
        )
        returns = advantage + value
        statistics = params.statistics.with_returns(returns)
        mean, deviation = statistics.scale()
        batch = Rollout(
            observation=trajectory.observation,
            seen=seen,
            available=trajectory.available,
            action=trajectory.action,
            log_probability=trajectory.behaviour["log_probability"],
            value=normalised,
            returns=(returns - mean) / deviation,
            advantage=(advantage - advantage.mean()) / (advantage.std() + 1e-5),
        )
        return eqx.tree_at(lambda tree: tree.statistics, params, statistics), batch

    def loss(
        self,
        params: ActorCritic,
        target: None,
        batch: Rollout,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """mean [−min(ρ Â, clip(ρ) Â) − c_H H(π) + c_V max(huber(R − V), huber(R − clip(V)))].

        Args:
            params: actor and critic.
            target: none.
            batch: a rollout, or a minibatch of it.
            method: how far to clip, and the coefficients.
            env_steps: of the run so far; not read.

        Source: MAPPO, Appendix A; with value normalisation, without its layer norms and recurrence.
        """
        log_probability = log_policy(params.agent(batch.observation), batch.available)
        ratio = jnp.exp(taken(log_probability, batch.action) - batch.log_probability)
        near = jnp.clip(ratio, 1 - method.clip, 1 + method.clip)
        policy_loss = -jnp.minimum(ratio * batch.advantage, near * batch.advantage)
        value = params.critic(batch.seen)[..., 0]
        moved = batch.value + jnp.clip(value - batch.value, -method.clip, method.clip)
        value_loss = jnp.maximum(huber(batch.returns - value), huber(batch.returns - moved))
        spread = entropy(log_probability)
        loss = (
            policy_loss
            - method.entropy_coefficient * spread
            + method.value_coefficient * value_loss
        )
        metrics = {
            "policy_loss": policy_loss.mean(),
            "value_loss": value_loss.mean(),
            "entropy": spread.mean(),
            "value": value.mean(),
            "clipped": (jnp.abs(ratio - 1) > method.clip).mean(),
        }
        return loss.mean(), metrics

    def _read(
        self,
        observation: Float[Array, "*batch agents features"],
        state: Float[Array, "*batch state"],
    ) -> Float[Array, "*batch agents inputs"]:
        """What each agent's critic reads."""
        if not self.central:
            return observation
        agents = observation.shape[-2]
        return jnp.broadcast_to(state[..., None, :], (*state.shape[:-1], agents, state.shape[-1]))


def huber(error: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """½ e² up to 10, beyond it 10 (|e| − 5)."""
    size = jnp.abs(error)
    return jnp.where(size <= HUBER, 0.5 * error**2, HUBER * (size - 0.5 * HUBER))


IPPO = Ppo(central=False)
MAPPO = Ppo(central=True)
