"""Multi-agent advantage actor–critic: each agent learns by its own observation and reward (SNP-PS §5.1)."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.algorithms.actor_critic.policy import (
    ACTOR_GAIN,
    bootstrapped_returns,
    draw,
    entropy,
    log_policy,
    taken,
)
from mast.algorithms.protocol import LossMetrics, Networks
from mast.envs.protocol import TimeStep
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.networks.feed_forward import FeedForward, feed_forward
from mast.networks.spec import Sizes


class ActorCritic(eqx.Module):
    """The parameters."""

    agent: FeedForward
    critic: FeedForward

    def values(
        self, observation: Float[Array, "*batch agents features"]
    ) -> Float[Array, "*batch agents"]:
        """V_i of each agent's own observation."""
        return self.critic(observation)[..., 0]


class Rollout(NamedTuple):
    """A trajectory, and what the values and the policy are to move towards."""

    trajectory: Trajectory
    returns: Float[Array, "time envs agents"]


@dataclass(frozen=True)
class A2C:
    """Policy loss, entropy and the critic's squared error, added up over the agents."""

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> ActorCritic:
        """Fresh dense parameters."""
        actor_key, critic_key = jax.random.split(key)
        return ActorCritic(
            feed_forward(actor_key, networks["agent"], sizes.observation, ACTOR_GAIN),
            feed_forward(critic_key, networks["critic"], sizes.observation),
        )

    def act(
        self, params: ActorCritic, key: PRNGKeyArray, seen: TimeStep
    ) -> tuple[Int[Array, "envs agents"], dict[str, Array]]:
        """Actions drawn from the policy."""
        return draw(params.agent, key, seen)[0], {}

    def targets(
        self, params: ActorCritic, trajectory: Trajectory, method: Method
    ) -> tuple[ActorCritic, Rollout]:
        """The networks as they are, and n-step returns."""
        following = params.values(trajectory.next_observation)
        returns = bootstrapped_returns(trajectory, following, method.discount)
        return params, Rollout(trajectory, returns)

    def loss(
        self,
        params: ActorCritic,
        target: None,
        batch: Rollout,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """mean over time and environments of Σ_i [−log π(a) A − c_H H(π) + c_V (R − V)²], A = R − V held.

        Args:
            params: actor and critic.
            target: none.
            batch: a rollout with its returns.
            method: γ and the coefficients.
            env_steps: of the run so far; not read.
        """
        trajectory = batch.trajectory
        log_probability = log_policy(params.agent(trajectory.observation), trajectory.available)
        value = params.values(trajectory.observation)
        advantage = jax.lax.stop_gradient(batch.returns - value)
        policy_loss = -taken(log_probability, trajectory.action) * advantage
        value_loss = jnp.square(batch.returns - value)
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
        }
        return loss.sum(-1).mean(), metrics


MAA2C = A2C()
