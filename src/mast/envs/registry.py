"""Environments by name: those that come with Mast, and the user's own as "package.module:Class"."""

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast, get_type_hints

from mast.envs.contract import check_contract
from mast.envs.names import (
    ADAPTERS,
    ENTRIES,
    FAMILIES,
    Adapter,
    EnvironmentEntry,
    check_id,
    steps_of,
)
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.extras import is_installed
from mast.own_code import import_own, is_own, user_error


def available() -> list[EnvironmentEntry]:
    """The environments that come with Mast, one line of `mast envs` each."""
    return list(ENTRIES)


def make(
    id: str,
    *,
    reward_scale: float | None = None,
    state_last_action: bool = False,
    episode_limit: int | Literal["smac"] | None = None,
    env_args: Mapping[str, Any] | None = None,
    native: bool = False,
) -> Environment:
    """Make an environment.

    An own one is imported with the current directory on the path, called with those of the options that
    are set, and checked by one episode.

    Args:
        id: "smax/3m", "lbf/8x8-3p-2f", "pettingzoo/mpe2.simple_spread_v3" or "package.module:Class".
        reward_scale: Factor on the reward; None leaves the environment's default (SMAX: 10).
        state_last_action: Append the one-hot last joint action to the state, where offered.
        episode_limit: The largest number of steps of an episode, or "smac" for SMAC's own; None leaves the
            default.
        env_args: More keyword arguments of the environment.
        native: Whether SMAX's battles are computed by native code, which must be possible
            (`native_obstacle`).

    Raises:
        UserError: No such environment, an option that it does not take or that is out of range, or
            an own environment that breaks the contract.
    """
    check_id(id)
    if reward_scale is not None and not (math.isfinite(reward_scale) and reward_scale > 0):
        raise UserError(f"reward_scale is {reward_scale:g}, must be above 0")
    limit = steps_of(id, episode_limit)
    if limit is not None and limit < 1:
        raise UserError(f"episode_limit is {limit}, must be at least 1")
    options: dict[str, Any] = {}
    if reward_scale is not None:
        options["reward_scale"] = float(reward_scale)
    if state_last_action:
        options["state_last_action"] = True
    if limit is not None:
        options["episode_limit"] = limit
    if native:
        options["native"] = True
    options |= env_args or {}
    if is_own(id):
        return _make_own(id, options)
    # Imported only here: jaxmarl takes seconds, and an own environment has no use for it.
    prefix, _, name = id.partition("/")
    if prefix in ADAPTERS:
        return _make_adapted(id, ADAPTERS[prefix], name, options)
    factory = _named(FAMILIES[prefix].factory, name)
    _check_options(factory, id, options)
    environment: Environment = factory(**options)
    return environment


def native_obstacle(id: str) -> str | None:
    """Why there is no native code for an environment, in a few words; None where there is."""
    if id.partition("/")[0] != "smax":
        return f"{id} is none of SMAX's battles"
    from mast.envs.battle.native import obstacle

    return obstacle()


def _named(factory: str, name: str) -> Callable[..., Any]:
    """What makes the environment of a name, imported."""
    module, attribute = factory.split(":")
    return partial(getattr(importlib.import_module(module), attribute), name)


def _make_adapted(id: str, adapter: Adapter, name: str, options: dict[str, Any]) -> Environment:
    """Make an environment of another library, and check it."""
    if adapter.package and not is_installed(adapter.package):
        raise UserError(f"{id}: {adapter.package} is not installed: {adapter.install}")
    if "state_last_action" in options:
        raise UserError(f"{id} does not take state_last_action")
    factory = _named(adapter.factory, name)
    environment = _built(id, factory, options)
    check_contract(environment, id)
    return environment


def _built(id: str, factory: Callable[..., Any], options: dict[str, Any]) -> Any:
    """What a piece of others' code makes."""
    try:
        return factory(**options)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(id, "making it", error) from error


def _make_own(id: str, options: dict[str, Any]) -> Environment:
    """Import, build and check a user's environment."""
    factory = _import_environment(id)
    _check_options(factory, id, options)
    environment: Environment = _built(id, factory, options)
    check_contract(environment, id)
    return environment


def _import_environment(id: str) -> Callable[..., Any]:
    """The class, or the function that makes one, that "package.module:Class" names."""
    factory = import_own(id, "class", callable)
    if not _makes_an_environment(factory):
        raise UserError(
            f"{id} is not called: it must be a class with the methods reset and step, or a function whose "
            "annotation says that it returns one; see docs/environments.md"
        )
    return cast(Callable[..., Any], factory)


def _makes_an_environment(factory: Callable[..., Any]) -> bool:
    """Whether a name out of a settings file may be called: what it is shows without calling it."""
    if isinstance(factory, partial):
        return _makes_an_environment(factory.func)
    if inspect.isclass(factory):
        return all(callable(getattr(factory, method, None)) for method in ("reset", "step"))
    try:
        made = get_type_hints(factory).get("return")
    except Exception:  # annotations that name nothing, or a callable that has none
        return False
    return inspect.isclass(made) and _makes_an_environment(made)


def _check_options(factory: Callable[..., Any], id: str, options: dict[str, Any]) -> None:
    """Refuse an option that the environment would not understand."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            raise UserError(
                f"{id} does not take {option} (it takes: {', '.join(parameters) or 'nothing'})"
            )
