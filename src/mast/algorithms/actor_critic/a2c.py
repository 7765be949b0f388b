"""Multi-agent advantage actor–critic: each agent learns by its own observation and reward (SNP-PS §5.1)."""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.algorithms.protocol import LossMetrics, Networks
from mast.envs.protocol import TimeStep
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.networks.feed_forward import FeedForward, feed_forward
from mast.networks.spec import Sizes

UNAVAILABLE = -1e10
"""The logit of an action that may not be taken."""
ACTOR_GAIN = 0.01
"""Of the actor's head: its first policy is nearly uniform."""


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


def log_policy(
    logits: Float[Array, "*batch agents actions"], available: Bool[Array, "*batch agents actions"]
) -> Float[Array, "*batch agents actions"]:
    """log π of every action; of those that are not available about −1e10."""
    return jax.nn.log_softmax(jnp.where(available, logits, UNAVAILABLE))


def entropy(
    log_probability: Float[Array, "*batch agents actions"],
) -> Float[Array, "*batch agents"]:
    """H(π) = −Σ π log π."""
    return -(jnp.exp(log_probability) * log_probability).sum(-1)


def bootstrapped_returns(
    trajectory: Trajectory,
    next_value: Float[Array, "time envs agents"],
    discount: Float[Array, ""],
) -> Float[Array, "time envs agents"]:
    """R_t = r_t + γ R_{t+1}, whose last term within the rollout or an episode is γ V of what really followed.

    Nothing follows a terminal step. A time-limit cut is bootstrapped from its own last observation, never
    from the next episode's first.

    Args:
        trajectory: of the rollout.
        next_value: V of `next_observation`.
        discount: γ.
    """

    def step(after: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, value, terminated, ended = row
        after = jnp.where(ended[..., None], value, after)
        returns = reward + discount * jnp.where(terminated[..., None], 0.0, after)
        return returns, returns

    rows = (trajectory.reward, next_value, trajectory.terminated, trajectory.ended)
    return jax.lax.scan(step, next_value[-1], rows, reverse=True)[1]


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
        log_probability = log_policy(params.agent(seen.observation), seen.available)
        return jax.random.categorical(key, log_probability), {}

    def targets(self, params: ActorCritic, trajectory: Trajectory, method: Method) -> Rollout:
        """What a trajectory teaches, without gradient: n-step returns."""
        following = params.values(trajectory.next_observation)
        return Rollout(trajectory, bootstrapped_returns(trajectory, following, method.discount))

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


def taken(
    of_actions: Float[Array, "*batch agents actions"], action: Int[Array, "*batch agents"]
) -> Float[Array, "*batch agents"]:
    """What belongs to the action that was taken."""
    return jnp.take_along_axis(of_actions, action[..., None], axis=-1)[..., 0]


MAA2C = A2C()
