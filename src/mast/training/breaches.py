"""Breaches of an environment's contract in trajectories that were made on the device."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mast.envs.contract import step_of
from mast.envs.protocol import EnvironmentSpec
from mast.errors import EnvironmentFailure, EnvironmentNaN
from mast.learning.trajectory import Trajectory

KINDS = (
    "available: agent {agent} has no action, must have at least one",
    "observation of agent {agent}: holds a NaN",
    "observation of agent {agent}: holds an infinity",
    "state: holds a NaN",
    "state: holds an infinity",
    "reward: holds a NaN",
    "reward: holds an infinity",
    "terminated and truncated are both True",
    "neither terminated nor truncated after spec.episode_limit = {limit} steps",
    "won is True without terminated, or although spec.has_win is False",
)
"""What is said of each; their numbers begin at 1."""


class Endings(NamedTuple):
    """What a trajectory does not say of its steps."""

    length: Int[Array, "time envs"]
    """Steps of the episode before this one."""
    truncated: Bool[Array, "time envs"]
    won: Bool[Array, "time envs"]


class Breach(NamedTuple):
    """The first breach in a rollout."""

    kind: Int[Array, ""]
    """0: there is none; else one of `KINDS`."""
    step: Int[Array, ""]
    """Of the episode; 0: what `reset` gave."""
    agent: Int[Array, ""]


def first_breach(spec: EnvironmentSpec, trajectory: Trajectory, endings: Endings) -> Breach:
    """The first breach in time, over all environments.

    Args:
        spec: of the environment.
        trajectory: as the environments gave it.
        endings: of its steps.
    """
    steps = endings.length + 1
    begins, terminated = endings.length == 0, trajectory.terminated

    def bad(test: str, now: Array, after: Array) -> Array:
        """Where a number is none: of what a step gave, and of what a reset gave, [time, envs, …]."""
        of = jnp.isnan if test == "nan" else jnp.isinf
        first = begins.reshape(*begins.shape, *(1,) * (now.ndim - 3))
        return of(after).any(-1) | (of(now).any(-1) & first)

    seen = (trajectory.observation, trajectory.next_observation)
    state = (trajectory.state, trajectory.next_state)
    flags = [
        ~trajectory.available.any(-1),
        bad("nan", *seen),
        bad("inf", *seen),
        bad("nan", *state)[..., None],
        bad("inf", *state)[..., None],
        jnp.isnan(trajectory.reward).any(-1, keepdims=True),
        jnp.isinf(trajectory.reward).any(-1, keepdims=True),
        (terminated & endings.truncated)[..., None],
        (~trajectory.ended & (steps >= spec.episode_limit))[..., None],
        (endings.won & ~(terminated & spec.has_win))[..., None],
    ]
    kinds = jnp.stack([each.any(-1) for each in flags], -1)  # [time, envs, kinds]
    place = kinds.any(-1).reshape(-1).argmax()
    of_place = kinds.reshape(-1, len(KINDS))[place]
    kind = jnp.where(of_place.any(), of_place.argmax() + 1, 0)
    agents = jnp.stack([each.argmax(-1).reshape(-1)[place] for each in flags])
    given = jnp.where(kind == 1, endings.length, steps).reshape(-1)[place]
    return Breach(
        kind.astype(jnp.int32), given.astype(jnp.int32), agents[kind - 1].astype(jnp.int32)
    )


def refuse_breach(spec: EnvironmentSpec, breach: Breach, standing: str) -> None:
    """Says a breach, if there is one.

    Args:
        spec: of the environment.
        breach: of several rollouts, each field an array.
        standing: which run it is and how far.

    Raises:
        EnvironmentNaN: a number is NaN.
        EnvironmentFailure: another breach.
    """
    kinds = np.asarray(breach.kind).reshape(-1)
    if not kinds.any():
        return
    first = int(np.flatnonzero(kinds)[0])
    step, agent = (int(np.asarray(each).reshape(-1)[first]) for each in (breach.step, breach.agent))
    text = KINDS[kinds[first] - 1].format(agent=agent, limit=spec.episode_limit)
    where = step_of(step) if step else "reset"
    kind = EnvironmentNaN if "NaN" in text else EnvironmentFailure
    raise kind(f"{spec.id}: {where}: {text} ({standing}); see docs/environments.md")
