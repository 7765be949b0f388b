"""Agents with fewer features or actions than the widest, brought to one width.

What fills them up is never available and never read: features of zero, actions that are masked.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mast.envs.protocol import Environment, EnvironmentSpec, EnvState, Outcome, TimeStep


@cache
def real_features(spec: EnvironmentSpec) -> Bool[np.ndarray, "agents features"]:
    """Which features are each agent's own."""
    return _within(tuple(agent.features for agent in spec.team), spec.observation)


@cache
def real_actions(spec: EnvironmentSpec) -> Bool[np.ndarray, "agents actions"]:
    """Which actions are each agent's own."""
    return _within(tuple(agent.actions for agent in spec.team), spec.actions)


def _within(sizes: tuple[int, ...], width: int) -> Bool[np.ndarray, "agents width"]:
    return np.arange(width) < np.array(sizes)[:, None]


def pad(time_step: TimeStep, spec: EnvironmentSpec) -> TimeStep:
    """A JAX environment's perception with agents as rows of one width.

    Args:
        time_step: arrays, or lists or tuples of a row per agent, each as wide as that agent's or padded.
        spec: of the environment; where its agents are alike, arrays are left as they are.

    Raises:
        ValueError: other numbers of rows or wider ones.
    """
    observation, available = (
        _stacked(rows, width) if isinstance(rows, list | tuple) else rows
        for rows, width in (
            (time_step.observation, spec.observation),
            (time_step.available, spec.actions),
        )
    )
    if not spec.is_uniform:
        observation = jnp.where(real_features(spec), observation, 0)
        available = available & real_actions(spec)
    return TimeStep(observation, available, time_step.state)


def _stacked(rows: list[Array] | tuple[Array, ...], width: int) -> Array:
    return jnp.stack([jnp.pad(row, (0, width - jax.numpy.shape(row)[0])) for row in rows])


def reset_padded(environment: Environment, key: Any) -> tuple[EnvState, TimeStep]:
    """A JAX environment's `reset`, padded."""
    env_state, seen = environment.reset(key)
    return env_state, pad(seen, environment.spec)


def step_padded(
    environment: Environment, key: Any, env_state: EnvState, actions: Int[Array, " agents"]
) -> tuple[EnvState, TimeStep, Outcome]:
    """A JAX environment's `step`, padded."""
    env_state, seen, outcome = environment.step(key, env_state, actions)
    return env_state, pad(seen, environment.spec), outcome
