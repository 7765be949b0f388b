"""The contract of an environment: each breach, at whatever step, is one line that says where it is."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jaxtyping import Bool

from mast.envs.padding import real_actions, real_features
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.errors import EnvironmentFailure, EnvironmentNaN
from mast.own_code import user_error

Result = TypeVar("Result")

LONGEST_CHECK = 2000
"""Steps; an episode may be longer, but nobody wants to wait for it."""

MOST_ACTIONS = 2**15 - 1
"""Of an agent: what recordings of episodes hold."""


def check_contract(environment: Any, name: str) -> None:
    """Play one episode at random and hold what comes out to the environment's own spec.

    For a JAX environment everything runs jitted, and the carried state must keep its structure, shapes and
    types, as every loop of JAX demands.

    Args:
        environment: What claims to be a `mast.envs.protocol.Environment`.
        name: What to call it in a message.

    Raises:
        EnvironmentFailure: The first breach found: which field, what it was, what it must be.
        EnvironmentNaN: A number is NaN.
    """
    spec = check_spec(environment, name)
    reset: Callable[..., Any] = environment.reset
    step: Callable[..., Any] = environment.step
    keys: tuple[Any, Any] = (0, 1)
    if spec.is_jax:
        reset, step = jax.jit(reset), jax.jit(step)
        keys = (jax.random.key(0), jax.random.key(1))
    first_state, seen = reset_parts(call(name, "reset", lambda: reset(keys[0])), spec, name)
    state, chance = first_state, np.random.default_rng(0)
    for number in range(1, min(spec.episode_limit, LONGEST_CHECK) + 1):
        doing = "step" if number == 1 else step_of(number)
        free = chance.random(np.shape(seen.available)) * np.asarray(seen.available)
        actions = np.argmax(free, axis=1).astype(np.int32)
        result = call(name, doing, partial(step, keys[1], state, actions))
        state, seen, outcome = step_parts(result, spec, f"{name}: {doing}")
        if number == 1 and spec.is_jax:
            _check_carried(first_state, state, name)
        if outcome.terminated or outcome.truncated:
            return
    if spec.episode_limit <= LONGEST_CHECK:
        refuse_endless(spec, name)


def step_of(number: int) -> str:
    """How messages call the step of this number, from 1."""
    return f"step {number} of an episode"


def refuse(where: str, what: str) -> NoReturn:
    """Say a breach.

    Raises:
        EnvironmentFailure: always.
    """
    raise EnvironmentFailure(f"{where}: {what}; see docs/environments.md")


def refuse_endless(spec: EnvironmentSpec, name: str) -> NoReturn:
    """Say that an episode has taken all its steps without an end.

    Raises:
        EnvironmentFailure: always.
    """
    limit = spec.episode_limit
    refuse(
        f"{name}: step",
        f"neither terminated nor truncated after spec.episode_limit = {limit} steps",
    )


def call(name: str, doing: str, function: Callable[[], Result]) -> Result:
    """Run a piece of the user's code.

    Raises:
        EnvironmentFailure: it raised, or wanted to end the process.
    """
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise EnvironmentFailure(str(user_error(name, doing, error))) from error


def check_spec(environment: Any, name: str) -> EnvironmentSpec:
    """The spec, once it makes sense in itself.

    Args:
        environment: What claims to be a `mast.envs.protocol.Environment`.
        name: What to call it in a message.

    Raises:
        EnvironmentFailure: which field, what it was, what it must be.
    """
    spec = call(name, "spec", lambda: getattr(environment, "spec", None))
    if not isinstance(spec, EnvironmentSpec):
        refuse(name, f"spec must be an EnvironmentSpec, not {type(spec).__name__}")
    for method in ("reset", "step"):
        if not callable(getattr(environment, method, None)):
            refuse(name, f"has no method {method}")
    for field in ("agents", "actions", "observation", "state", "episode_limit"):
        _check_size(name, f"spec.{field}", getattr(spec, field))
    if spec.actions > MOST_ACTIONS:
        refuse(name, f"spec.actions is {spec.actions}, must be at most {MOST_ACTIONS}")
    if spec.rewards not in ("team", "agent"):
        refuse(name, f"spec.rewards is {spec.rewards!r}, must be 'team' or 'agent'")
    for field, widest in (
        ("agent_names", None),
        ("unit_types", None),
        ("agent_features", spec.observation),
        ("agent_actions", spec.actions),
    ):
        entries = getattr(spec, field)
        if len(entries) != spec.agents and (widest is None or entries):
            refuse(name, f"spec.{field} has {len(entries)} entries for {spec.agents} agents")
        if widest is not None and entries:
            for agent, size in enumerate(entries):
                _check_size(name, f"spec.{field} of agent {agent}", size)
            if max(entries) != widest:
                whole = "observation" if field == "agent_features" else "actions"
                refuse(
                    name, f"spec.{whole} is {widest}, the largest of spec.{field} {max(entries)}"
                )
    for feature in spec.type_features:
        if not isinstance(feature, int) or not 0 <= feature < spec.observation:
            refuse(name, f"spec.type_features: an observation has no feature {feature!r}")
    return spec


def _check_size(name: str, what: str, size: Any) -> None:
    if not isinstance(size, int):
        refuse(name, f"{what} is {size!r}, must be a whole number")
    if size < 1:
        refuse(name, f"{what} is {size}, must be at least 1")


def reset_parts(result: Any, spec: EnvironmentSpec, name: str) -> tuple[Any, TimeStep]:
    """What `reset` returned, checked; on the host, with agents as rows of one width.

    Raises:
        EnvironmentFailure: a breach of the contract.
        EnvironmentNaN: a number is NaN.
    """
    if not (isinstance(result, tuple) and len(result) == 2):
        refuse(f"{name}: reset", "must return (env_state, TimeStep)")
    return result[0], _time_step(result[1], spec, f"{name}: reset")


def step_parts(result: Any, spec: EnvironmentSpec, where: str) -> tuple[Any, TimeStep, Outcome]:
    """What `step` returned, checked; on the host, with agents as rows of one width.

    Args:
        result: as it came.
        spec: of the environment.
        where: its name and the step, for messages.

    Raises:
        EnvironmentFailure: a breach of the contract.
        EnvironmentNaN: a number is NaN.
    """
    if not (isinstance(result, tuple) and len(result) == 3):
        refuse(where, "must return (env_state, TimeStep, Outcome)")
    state, seen, outcome = result
    seen = _time_step(seen, spec, where)
    _check_outcome(outcome, spec, where)
    return state, seen, outcome


def check_episode(
    available: Bool[Any, "steps_and_last agents actions"],
    terminated: bool,
    truncated: bool,
    won: bool,
) -> None:
    """What a whole episode shows, of a JAX environment too: an action for every agent, and how it ended.

    Raises:
        EnvironmentFailure: a breach of the contract.
    """
    steps = len(available) - 1
    if terminated == truncated:
        both = "both terminated and" if terminated else "neither terminated nor"
        raise EnvironmentFailure(f"{both} truncated after {steps} steps of an episode")
    if won and not terminated:
        raise EnvironmentFailure(f"won at step {steps} of an episode without terminated")
    idle = ~np.asarray(available).any(-1)
    if idle.any():
        step, agent = np.argwhere(idle)[0].tolist()
        raise EnvironmentFailure(
            f"available: agent {agent} has no action at step {step} of an episode"
        )


def _check_array(array: Any, shape: tuple[int, ...], kinds: str, where: str) -> np.ndarray:
    """Shape, kind of type ("f" floats, "b" booleans, "i" integers) and finiteness of one array."""
    try:
        values = np.asarray(array)
    except (ValueError, TypeError):
        refuse(where, f"is no array of shape {list(shape)}: its rows differ in length")
    if values.shape != shape:
        refuse(where, f"has shape {list(values.shape)}, must be {list(shape)}")
    # JAX's small floats (bfloat16) are of NumPy's kind "V".
    kind = values.dtype.kind
    kind = "f" if kind == "V" and jax.numpy.issubdtype(values.dtype, np.floating) else kind
    if kind not in kinds:
        wanted = "bool" if kinds == "b" else "float32"
        refuse(where, f"has type {values.dtype}, must be {wanted}")
    if kind == "f" and not np.isfinite(values).all():
        _refuse_not_finite(values, where)
    return values


def _refuse_not_finite(values: np.ndarray, where: str) -> NoReturn:
    """Say which number is none; of what has a row per agent, whose."""
    bad = ~np.isfinite(values.astype(np.float64))
    agent = f" of agent {np.argwhere(bad)[0, 0]}" if values.ndim == 2 else ""
    if np.isnan(values.astype(np.float64)).any():
        raise EnvironmentNaN(f"{where}{agent}: holds a NaN; see docs/environments.md")
    refuse(f"{where}{agent}", "holds an infinity")


def _time_step(seen: Any, spec: EnvironmentSpec, where: str) -> TimeStep:
    if not isinstance(seen, TimeStep):
        refuse(where, f"must return a TimeStep second, not {type(seen).__name__}")
    sizes = [agent.features for agent in spec.team]
    observation = _rows(seen.observation, sizes, spec.observation, "f", f"{where}: observation")
    sizes = [agent.actions for agent in spec.team]
    available = _rows(seen.available, sizes, spec.actions, "b", f"{where}: available")
    state = _check_array(seen.state, (spec.state,), "f", f"{where}: state")
    if not spec.is_uniform:
        observation = np.where(real_features(spec), observation, np.zeros((), observation.dtype))
        available = available & real_actions(spec)
    if not available.any(axis=1).all():
        idle = np.flatnonzero(~available.any(axis=1))[0]
        refuse(f"{where}: available", f"agent {idle} has no action, must have at least one")
    new: Any = TimeStep
    return new(observation, available, state)


def _rows(rows: Any, sizes: Sequence[int], width: int, kinds: str, where: str) -> np.ndarray:
    """One array of a row per agent, from an array or from rows that are each as wide as the agent's."""
    if not isinstance(rows, list | tuple):
        return _check_array(rows, (len(sizes), width), kinds, where)
    if len(rows) != len(sizes):
        refuse(where, f"has {len(rows)} rows for {len(sizes)} agents")
    whole: np.ndarray | None = None
    for agent, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        own = width if _length(row) == width else size
        values = _check_array(row, (own,), kinds, f"{where} of agent {agent}")
        if whole is None:
            whole = np.zeros((len(sizes), width), values.dtype)
        whole[agent, :own] = values
    assert whole is not None
    return whole


def _length(row: Any) -> int | None:
    """The length of a row; None where it is none."""
    try:
        return len(row)
    except TypeError:
        return None


def _check_outcome(outcome: Any, spec: EnvironmentSpec, where: str) -> None:
    if not isinstance(outcome, Outcome):
        refuse(where, f"must return an Outcome third, not {type(outcome).__name__}")
    # A Python integer is a fine reward where nothing is compiled; in JAX it would not stay a float.
    rewards = (spec.agents,) if spec.rewards == "agent" else ()
    _check_array(outcome.reward, rewards, "f" if spec.is_jax else "fiu", f"{where}: reward")
    for field in ("terminated", "truncated", "won"):
        _check_array(getattr(outcome, field), (), "b", f"{where}: {field}")
    if outcome.terminated and outcome.truncated:
        refuse(where, "terminated and truncated are both True")
    if outcome.won and not (outcome.terminated and spec.has_win):
        refuse(where, "won is True without terminated, or although spec.has_win is False")


def _check_carried(first: Any, second: Any, name: str) -> None:
    """The state that a JAX environment carries must be of one type all the way."""
    structure_before: Any
    structure_after: Any
    before, structure_before = jax.tree_util.tree_flatten_with_path(first)
    after, structure_after = jax.tree_util.tree_flatten_with_path(second)
    if structure_before != structure_after:
        refuse(f"{name}: env_state", "has another structure after step than after reset")
    for (path, old), (_, new) in zip(before, after, strict=True):
        was, became = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (old, new))
        if was != became:
            where = f"{name}: env_state{jax.tree_util.keystr(path)}"
            refuse(where, f"is {was} after reset but {became} after step")
