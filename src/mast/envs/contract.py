"""The contract of an environment, checked by playing one episode; each breach is one line."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.errors import UserError
from mast.own_code import user_error

Result = TypeVar("Result")

LONGEST_CHECK = 2000
"""Steps; an episode may be longer, but nobody wants to wait for it."""


def check_contract(environment: Any, name: str) -> None:
    """Play one episode at random and hold what comes out to the environment's own spec.

    For a JAX environment everything runs jitted, and the carried state must keep its structure, shapes and
    types, as every loop of JAX demands.

    Args:
        environment: What claims to be a `mast.envs.protocol.Environment`.
        name: What to call it in a message.

    Raises:
        UserError: The first breach found: which field, what it was, what it must be.
    """
    spec = _check_spec(environment, name)
    reset: Callable[..., Any] = environment.reset
    step: Callable[..., Any] = environment.step
    keys: tuple[Any, Any] = (0, 1)
    if spec.is_jax:
        reset, step = jax.jit(reset), jax.jit(step)
        keys = (jax.random.key(0), jax.random.key(1))
    first_state, first = _pair(_call(name, "reset", lambda: reset(keys[0])), name)
    _check_time_step(first, spec, f"{name}: reset")
    state, seen, chance = first_state, first, np.random.default_rng(0)
    for number in range(1, min(spec.episode_limit, LONGEST_CHECK) + 1):
        doing = "step" if number == 1 else f"step {number} of an episode"
        free = chance.random(np.shape(seen.available)) * np.asarray(seen.available)
        actions = np.argmax(free, axis=1).astype(np.int32)
        result = _call(name, doing, partial(step, keys[1], state, actions))
        if not (isinstance(result, tuple) and len(result) == 3):
            _refuse(f"{name}: {doing}", "must return (env_state, TimeStep, Outcome)")
        state, seen, outcome = result
        _check_time_step(seen, spec, f"{name}: {doing}")
        _check_outcome(outcome, spec, f"{name}: {doing}")
        if number == 1 and spec.is_jax:
            _check_carried(first_state, state, name)
        if outcome.terminated or outcome.truncated:
            return
    if spec.episode_limit <= LONGEST_CHECK:
        _refuse(
            f"{name}: step",
            f"neither terminated nor truncated after spec.episode_limit = {spec.episode_limit} steps",
        )


def _refuse(where: str, what: str) -> NoReturn:
    raise UserError(f"{where}: {what}; see docs/environments.md")


def _call(name: str, doing: str, function: Callable[[], Result]) -> Result:
    """Run a piece of the user's code."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise user_error(name, doing, error) from error


def _check_spec(environment: Any, name: str) -> EnvironmentSpec:
    """The spec, once it makes sense in itself."""
    spec = _call(name, "spec", lambda: getattr(environment, "spec", None))
    if not isinstance(spec, EnvironmentSpec):
        _refuse(name, f"spec must be an EnvironmentSpec, not {type(spec).__name__}")
    for method in ("reset", "step"):
        if not callable(getattr(environment, method, None)):
            _refuse(name, f"has no method {method}")
    for field in ("agents", "actions", "observation", "state", "episode_limit"):
        if getattr(spec, field) < 1:
            _refuse(name, f"spec.{field} is {getattr(spec, field)}, must be at least 1")
    if spec.rewards not in ("team", "agent"):
        _refuse(name, f"spec.rewards is {spec.rewards!r}, must be 'team' or 'agent'")
    for field in ("agent_names", "unit_types"):
        if len(getattr(spec, field)) != spec.agents:
            _refuse(
                name,
                f"spec.{field} has {len(getattr(spec, field))} entries for {spec.agents} agents",
            )
    return spec


def _pair(result: Any, name: str) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        _refuse(f"{name}: reset", "must return (env_state, TimeStep)")
    return result


def _check_array(array: Any, shape: tuple[int, ...], kinds: str, where: str) -> None:
    """Shape, kind of type ("f" floats, "b" booleans, "i" integers) and finiteness of one array."""
    values = np.asarray(array)
    if values.shape != shape:
        _refuse(where, f"has shape {list(values.shape)}, must be {list(shape)}")
    # JAX's small floats (bfloat16) are of NumPy's kind "V".
    kind = "f" if jax.numpy.issubdtype(values.dtype, np.floating) else values.dtype.kind
    if kind not in kinds:
        wanted = "bool" if kinds == "b" else "float32"
        _refuse(where, f"has type {values.dtype}, must be {wanted}")
    if kind == "f" and not np.all(np.isfinite(values)):
        _refuse(where, "holds a NaN or an infinity")


def _check_time_step(time_step: Any, spec: EnvironmentSpec, where: str) -> None:
    if not isinstance(time_step, TimeStep):
        _refuse(where, f"must return a TimeStep second, not {type(time_step).__name__}")
    _check_array(
        time_step.observation, (spec.agents, spec.observation), "f", f"{where}: observation"
    )
    _check_array(time_step.state, (spec.state,), "f", f"{where}: state")
    _check_array(time_step.available, (spec.agents, spec.actions), "b", f"{where}: available")
    idle = np.flatnonzero(~np.asarray(time_step.available).any(axis=1))
    if idle.size:
        _refuse(f"{where}: available", f"agent {idle[0]} has no action, must have at least one")


def _check_outcome(outcome: Any, spec: EnvironmentSpec, where: str) -> None:
    if not isinstance(outcome, Outcome):
        _refuse(where, f"must return an Outcome third, not {type(outcome).__name__}")
    # A Python integer is a fine reward where nothing is compiled; in JAX it would not stay a float.
    rewards = (spec.agents,) if spec.rewards == "agent" else ()
    _check_array(outcome.reward, rewards, "f" if spec.is_jax else "fiu", f"{where}: reward")
    for field in ("terminated", "truncated", "won"):
        _check_array(getattr(outcome, field), (), "b", f"{where}: {field}")
    if outcome.terminated and outcome.truncated:
        _refuse(where, "terminated and truncated are both True")
    if outcome.won and not (outcome.terminated and spec.has_win):
        _refuse(where, "won is True without terminated, or although spec.has_win is False")


def _check_carried(first: Any, second: Any, name: str) -> None:
    """The state that a JAX environment carries must be of one type all the way."""
    structure_before: Any
    structure_after: Any
    before, structure_before = jax.tree_util.tree_flatten_with_path(first)
    after, structure_after = jax.tree_util.tree_flatten_with_path(second)
    if structure_before != structure_after:
        _refuse(f"{name}: env_state", "has another structure after step than after reset")
    for (path, old), (_, new) in zip(before, after, strict=True):
        was, became = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (old, new))
        if was != became:
            where = f"{name}: env_state{jax.tree_util.keystr(path)}"
            _refuse(where, f"is {was} after reset but {became} after step")
