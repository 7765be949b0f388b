"""The settings of a run: `resolve` fills them in and checks them. Imports no JAX.

Defaults come in layers, the later one wins: field default, environment, algorithm, method (with MAST's
targets as the algorithm wants them), preset, the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mast.algorithms.registry import BUILT_IN
from mast.configuration.explain import allowed, default_text, first_problem, one_line
from mast.configuration.idle import idle_settings
from mast.configuration.presets import (
    ALGORITHM_DEFAULTS,
    ENVIRONMENT_DEFAULTS,
    MAST_DEFAULTS,
    METHODS,
    PRESET_ALGORITHMS,
    PRESETS,
    MethodPreset,
)
from mast.configuration.record import (
    differences_from,
    extend_run_record,
    load_config_file,
    load_run_config,
    load_run_record,
    recorded_team,
    run_record,
    write_run_record,
)
from mast.configuration.settings import Config
from mast.configuration.threads import limit_threads, thread_notices, usable_cpus
from mast.envs.names import check_id
from mast.errors import UserError

__all__ = [
    "ALGORITHM_DEFAULTS",
    "ENVIRONMENT_DEFAULTS",
    "MAST_DEFAULTS",
    "METHODS",
    "PRESETS",
    "Config",
    "MethodPreset",
    "allowed",
    "default_text",
    "differences_from",
    "extend_run_record",
    "given_of",
    "limit_threads",
    "load_config_file",
    "load_run_config",
    "load_run_record",
    "notices",
    "recorded_team",
    "resolve",
    "run_record",
    "seed_configs",
    "thread_notices",
    "usable_cpus",
    "write_run_record",
]


def resolve(given: Mapping[str, Any], *, playable: bool = True) -> Config:
    """Fills in and checks the settings of a run.

    Args:
        given: setting → value as the user gave it; text is converted.
        playable: whether the environment must be one that can be played (SMAC's sizes are only known).

    Returns:
        the complete settings, with their layers of defaults.

    Raises:
        UserError: one line with the first wrong setting, its value and what is allowed.
    """
    try:
        config = Config.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(first_problem(error)) from None
    if playable:
        check_id(config.environment)
    return config


def given_of(config: Config) -> dict[str, Any]:
    """What somebody must have given to get these settings: what defaults go by, and what is none.

    Args:
        config: resolved settings of which it is not known how they came about.
    """
    layers = ("environment", "algorithm", "method", "preset", "from_run", "steps")
    chosen = {name: getattr(config, name) for name in layers}
    default = Config.model_validate(chosen)
    if config.pattern != default.pattern:
        chosen["growth"] = config.growth  # a pattern changes what a method grows by
    return chosen | {name: value for name, value in config if value != getattr(default, name)}


def notices(given: Mapping[str, Any]) -> list[str]:
    """What the user should be told about settings that have no or another effect, one line each."""
    said = []
    if given.get("method") == "dense" and "sparsity" in given:
        said.append(f"method dense ignores sparsity = {one_line(given['sparsity'])}")
    config = resolve(given)
    if given.get("pattern", config.pattern) != config.pattern:
        said.append(f"method {config.method} stays dense and ignores pattern = {given['pattern']}")
    algorithm = PRESET_ALGORITHMS.get(config.preset, (config.algorithm,))
    if config.algorithm not in algorithm:
        said.append(
            f"preset {config.preset} is of {', '.join(algorithm)}: with algorithm {config.algorithm} only "
            "its steps count, the same at every density, and its ε"
        )
    if config.steps < config.epsilon_steps:
        left = config.epsilon_start + config.steps / config.epsilon_steps * (
            config.epsilon_end - config.epsilon_start
        )
        said.append(
            f"training ends at ε = {left:.2f}: epsilon_steps = {config.epsilon_steps} is more than "
            f"steps = {config.steps}"
        )
    known = BUILT_IN.get(config.algorithm)
    if known is not None and known.loop == "on_policy" and _has_targets(config.method):
        said.append(
            f"method {config.method}: algorithm {config.algorithm} takes its mask alone; targets and buffers "
            "belong to value decomposition"
        )
    return said + idle_settings(config, given)


def _has_targets(method: str) -> bool:
    """Whether a method says what values are learned from, too."""
    return "targets" in METHODS[method].overrides


def seed_configs(config: Config) -> list[Config]:
    """The configurations of the single runs that `seeds` > 1 stands for, in order of their seed."""
    return [
        config.model_copy(update={"seed": config.seed + run, "seeds": 1})
        for run in range(config.seeds)
    ]
