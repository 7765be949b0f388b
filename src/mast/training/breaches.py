"""Breaches of an environment's contract in trajectories that were made on the device."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from mast.envs.contract import check_episode, step_of
from mast.envs.protocol import EnvironmentSpec
from mast.errors import EnvironmentFailure, EnvironmentNaN
from mast.learning.replay import Episode
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

    def bad(test: Callable[[Array], Array], now: Array, after: Array) -> tuple[Array, Array]:
        """Whose numbers are none [time, envs, agents], and whether a reset gave them [time, envs]."""
        of_reset = test(now).any(-1) & begins[..., None]
        was_reset = of_reset.any(-1)
        return jnp.where(was_reset[..., None], of_reset, test(after).any(-1)), was_reset

    seen = (trajectory.observation, trajectory.next_observation)
    state = (trajectory.state[..., None, :], trajectory.next_state[..., None, :])
    numbers = [
        bad(test, now, after) for now, after in (seen, state) for test in (jnp.isnan, jnp.isinf)
    ]
    flags = [
        ~trajectory.available.any(-1),
        *(whose for whose, _ in numbers),
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
    # What could be chosen from and what a reset gave is of the moment before the step.
    early = jnp.stack([jnp.ones_like(begins), *(was_reset for _, was_reset in numbers)], -1)
    early = jnp.pad(early, ((0, 0), (0, 0), (0, len(KINDS) - early.shape[-1])))
    is_early = early.reshape(-1, len(KINDS))[place, kind - 1]
    given = jnp.where(is_early, endings.length, steps).reshape(-1)[place]
    return Breach(
        kind.astype(jnp.int32), given.astype(jnp.int32), agents[kind - 1].astype(jnp.int32)
    )


def refuse_breach(spec: EnvironmentSpec, breach: Breach, standings: Sequence[str]) -> None:
    """Says a breach, if there is one.

    Args:
        spec: of the environment.
        breach: of several rollouts, each field an array [rollouts, *runs].
        standings: of each run which it is and how far.

    Raises:
        EnvironmentNaN: a number is NaN.
        EnvironmentFailure: another breach.
    """
    kinds = np.asarray(breach.kind).reshape(-1)
    if not kinds.any():
        return
    first = int(np.flatnonzero(kinds)[0])
    step, agent = (int(np.asarray(each).reshape(-1)[first]) for each in (breach.step, breach.agent))
    standing = standings[first % len(standings)]
    text = KINDS[kinds[first] - 1].format(agent=agent, limit=spec.episode_limit)
    where = step_of(step) if step else "reset"
    kind = EnvironmentNaN if "NaN" in text else EnvironmentFailure
    raise kind(f"{spec.id}: {where}: {text} ({standing}); see docs/environments.md")


def refuse_episode(spec: EnvironmentSpec, episode: Episode, standing: str) -> None:
    """Says a breach in what a whole episode showed, if there is one.

    Args:
        spec: of the environment.
        episode: as the environment gave it.
        standing: which run it is and how far.

    Raises:
        EnvironmentNaN: a number is NaN.
        EnvironmentFailure: another breach.
    """
    truncated = not episode.terminated if episode.truncated is None else episode.truncated
    try:
        check_episode(episode.available, episode.terminated, truncated, episode.won)
    except EnvironmentFailure as error:
        raise EnvironmentFailure(f"{spec.id}: {error} ({standing})") from None
    for name, values in (("observation", episode.observation), ("state", episode.state)):
        numbers = np.asarray(values, np.float32)
        if np.isfinite(numbers).all():
            continue
        is_nan = bool(np.isnan(numbers).any())
        step, agent, *_ = np.argwhere(np.isnan(numbers) if is_nan else np.isinf(numbers))[0]
        whose = f" of agent {agent}" if name == "observation" else ""
        kind = EnvironmentNaN if is_nan else EnvironmentFailure
        raise kind(
            f"{spec.id}: {step_of(int(step)) if step else 'reset'}: {name}{whose}: holds "
            f"{'a NaN' if is_nan else 'an infinity'} ({standing}); see docs/environments.md"
        )
