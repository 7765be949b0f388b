"""What actor–critic algorithms share: a policy over available actions, and sums along a rollout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.protocol import TimeStep
from mast.learning.trajectory import Trajectory
from mast.networks.feed_forward import FeedForward

UNAVAILABLE = -1e10
"""The logit of an action that may not be taken."""
ACTOR_GAIN = 0.01
"""Of the actor's head: its first policy is nearly uniform."""


def log_policy(
    logits: Float[Array, "*batch agents actions"], available: Bool[Array, "*batch agents actions"]
) -> Float[Array, "*batch agents actions"]:
    """log π of every action; of those that are not available about −1e10."""
    return jax.nn.log_softmax(jnp.where(available, logits, UNAVAILABLE))


def draw(
    agent: FeedForward, key: PRNGKeyArray, seen: TimeStep
) -> tuple[Int[Array, "envs agents"], Float[Array, "envs agents"]]:
    """Actions drawn from the policy, and their log probabilities."""
    log_probability = log_policy(agent(seen.observation), seen.available)
    action = jax.random.categorical(key, log_probability)
    return action, taken(log_probability, action)


def entropy(
    log_probability: Float[Array, "*batch agents actions"],
) -> Float[Array, "*batch agents"]:
    """H(π) = −Σ π log π."""
    return -(jnp.exp(log_probability) * log_probability).sum(-1)


def taken(
    of_actions: Float[Array, "*batch agents actions"], action: Int[Array, "*batch agents"]
) -> Float[Array, "*batch agents"]:
    """What belongs to the action that was taken."""
    return jnp.take_along_axis(of_actions, action[..., None], axis=-1)[..., 0]


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
        next_value: V of what each action led to.
        discount: γ.
    """

    def step(after: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, value, terminated, ended = row
        after = jnp.where(ended[..., None], value, after)
        returns = reward + discount * jnp.where(terminated[..., None], 0.0, after)
        return returns, returns

    rows = (trajectory.reward, next_value, trajectory.terminated, trajectory.ended)
    return jax.lax.scan(step, next_value[-1], rows, reverse=True)[1]


def generalised_advantages(
    trajectory: Trajectory,
    value: Float[Array, "time envs agents"],
    next_value: Float[Array, "time envs agents"],
    discount: Float[Array, ""],
    gae_lambda: Float[Array, ""],
) -> Float[Array, "time envs agents"]:
    """Â_t = δ_t + γ λ Â_{t+1} within an episode, δ_t = r_t + γ (1 − terminated) V(next) − V (Schulman 2016).

    Args:
        trajectory: of the rollout.
        value: V of what each action was chosen by.
        next_value: V of what it led to.
        discount: γ.
        gae_lambda: λ.
    """

    def step(after: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, value, following, terminated, ended = row
        delta = reward + discount * jnp.where(terminated[..., None], 0.0, following) - value
        advantage = delta + discount * gae_lambda * jnp.where(ended[..., None], 0.0, after)
        return advantage, advantage

    rows = (trajectory.reward, value, next_value, trajectory.terminated, trajectory.ended)
    return jax.lax.scan(step, jnp.zeros_like(value[-1]), rows, reverse=True)[1]
