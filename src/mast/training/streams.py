"""Environments that go on: each begins its next episode when one has ended, as on-policy learning plays."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.padding import reset_padded, step_padded
from mast.envs.protocol import Environment, Outcome, TimeStep
from mast.learning.trajectory import Trajectory
from mast.training.breaches import Breach, Endings, first_breach

Act = Callable[[PRNGKeyArray, TimeStep], tuple[Int[Array, "envs agents"], dict[str, Array]]]
"""Random key and what all environments show → actions, and what the algorithm wants to know of them."""


class Streams(NamedTuple):
    """Where the environments are; arrays lead with [envs]."""

    env_state: Any
    seen: TimeStep
    length: Int[Array, " envs"]
    """Steps of the episode so far."""
    return_: Float[Array, " envs"]
    """Undiscounted, summed over the agents."""


class Finished(NamedTuple):
    """The episodes that ended, added up."""

    episodes: Float[Array, ""]
    return_: Float[Array, ""]
    won: Float[Array, ""]
    length: Float[Array, ""]


def begin_streams(environment: Environment, key: PRNGKeyArray, count: int) -> Streams:
    """Every environment at the start of an episode.

    Args:
        environment: a JAX environment.
        key: random key.
        count: how many environments.
    """
    env_state, seen = jax.vmap(partial(reset_padded, environment))(jax.random.split(key, count))
    return Streams(env_state, seen, jnp.zeros(count, jnp.int32), jnp.zeros(count))


def roll(
    environment: Environment, act: Act, key: PRNGKeyArray, streams: Streams, steps: int
) -> tuple[Streams, Trajectory, Finished, Breach]:
    """Some steps in every environment.

    Args:
        environment: a JAX environment.
        act: chooses the actions.
        key: random key.
        streams: where the environments are.
        steps: how many.

    Returns:
        Where they are then, what happened, the episodes that ended, and the first breach of the contract.
    """

    def step(
        now: Streams, key: PRNGKeyArray
    ) -> tuple[Streams, tuple[Trajectory, Finished, Endings]]:
        act_key, env_key, reset_key = jax.random.split(key, 3)
        action, behaviour = act(act_key, now.seen)
        count = now.length.shape[0]
        env_state, seen, outcome = jax.vmap(partial(step_padded, environment))(
            jax.random.split(env_key, count), now.env_state, action
        )
        ended = outcome.terminated | outcome.truncated
        length, return_ = now.length + 1, now.return_ + _team_reward(outcome)
        finished = Finished(
            episodes=ended.sum().astype(jnp.float32),
            return_=jnp.where(ended, return_, 0.0).sum(),
            won=(ended & outcome.won).sum().astype(jnp.float32),
            length=jnp.where(ended, length, 0).sum().astype(jnp.float32),
        )
        row = Trajectory(
            observation=now.seen.observation,
            available=now.seen.available,
            state=now.seen.state,
            action=action,
            reward=outcome.reward.reshape(count, -1),
            next_observation=seen.observation,
            next_state=seen.state,
            terminated=outcome.terminated,
            ended=ended,
            behaviour=behaviour,
        )
        after = _begin_again(
            environment, reset_key, Streams(env_state, seen, length, return_), ended
        )
        return after, (row, finished, Endings(now.length, outcome.truncated, outcome.won))

    keys = jax.random.split(key, steps)
    after, (trajectory, finished, endings) = jax.lax.scan(step, streams, keys)
    breach = first_breach(environment.spec, trajectory, endings)
    return after, trajectory, jax.tree.map(lambda each: each.sum(0), finished), breach


def _begin_again(
    environment: Environment, key: PRNGKeyArray, streams: Streams, ended: Array
) -> Streams:
    """The streams with a new episode where one has ended; nothing is reset where none has."""

    def fresh(streams: Streams) -> Streams:
        begun = begin_streams(environment, key, ended.shape[0])

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(ended.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(chosen, begun, streams)

    return jax.lax.cond(ended.any(), fresh, lambda streams: streams, streams)


def _team_reward(outcome: Outcome) -> Array:
    reward = outcome.reward
    return reward if reward.ndim == 1 else reward.sum(-1)
