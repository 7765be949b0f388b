"""Environments by name: those that come with Mast, and the user's own as "package.module:Class"."""

import importlib
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast, get_type_hints

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.envs.contract import check_contract
from mast.envs.names import ENTRIES, FAMILIES, EnvironmentEntry, check_id, steps_of
from mast.envs.protocol import Environment
from mast.envs.team_reward import TeamReward
from mast.errors import UserError
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
) -> Environment:
    """Make an environment.

    An own one is imported with the current directory on the path, called with those of the three
    options that are set, and checked by one reset and one step.

    Args:
        id: "smax/3m", "mpe/simple_spread", "lbf/8x8-3p-2f" or "package.module:Class".
        reward_scale: Factor on the reward; None leaves the environment's default (SMAX: 10).
        state_last_action: Append the one-hot last joint action to the state, where offered.
        episode_limit: The largest number of steps of an episode, or "smac" for SMAC's own; None leaves the
            default.

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
    if is_own(id):
        return _make_own(id, options)
    # Imported only here: jaxmarl takes seconds, and an own environment has no use for it.
    prefix, name = id.split("/")
    module, attribute = FAMILIES[prefix].factory.split(":")
    factory = partial(getattr(importlib.import_module(module), attribute), name)
    _check_options(factory, id, options)
    environment: Environment = factory(**options)
    return environment


def _make_own(id: str, options: dict[str, Any]) -> Environment:
    """Import, build and check a user's environment."""
    factory = _import_environment(id)
    _check_options(factory, id, options)
    try:
        environment = factory(**options)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(id, "making it", error) from error
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


def environment_of(config: Config) -> Environment:
    """The environment that a run's settings name, with the rewards that its algorithm takes.

    Raises:
        UserError: as `make`.
    """
    environment = make(
        config.environment,
        reward_scale=config.reward_scale,
        state_last_action=config.state_last_action,
        episode_limit=config.episode_limit,
    )
    return with_rewards(environment, config)


def with_rewards(environment: Environment, config: Config) -> Environment:
    """The environment, with one reward where its agents have their own and the algorithm wants one."""
    wanted = algorithm_entry(config.algorithm).rewards
    if environment.spec.rewards == "agent" and wanted == "team":
        return TeamReward(environment, config.team_reward)
    return environment
