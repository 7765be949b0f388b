"""The settings of a run: `resolve` fills them in and checks them. Imports no JAX.

Defaults come in layers, the later one wins: field default, environment, method, the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mast.configuration.explain import allowed, default_text, first_problem, one_line
from mast.configuration.presets import ENVIRONMENT_DEFAULTS, METHODS, MethodPreset
from mast.configuration.record import (
    load_config_file,
    load_run_config,
    load_run_record,
    run_record,
    write_run_record,
)
from mast.configuration.settings import Config
from mast.configuration.threads import limit_threads, usable_cpus
from mast.envs.names import check_id
from mast.errors import UserError

__all__ = [
    "ENVIRONMENT_DEFAULTS",
    "METHODS",
    "Config",
    "MethodPreset",
    "allowed",
    "default_text",
    "limit_threads",
    "load_config_file",
    "load_run_config",
    "load_run_record",
    "notices",
    "resolve",
    "run_record",
    "seed_configs",
    "usable_cpus",
    "write_run_record",
]


def resolve(given: Mapping[str, Any]) -> Config:
    """Fills in and checks the settings of a run.

    Args:
        given: setting → value as the user gave it; text is converted.

    Returns:
        the complete settings (field default < environment < method < given).

    Raises:
        UserError: one line with the first wrong setting, its value and what is allowed.
    """
    try:
        config = Config.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(first_problem(error)) from None
    check_id(config.environment)
    return config


def notices(given: Mapping[str, Any]) -> list[str]:
    """What the user should be told about settings that have no effect, one line each."""
    if given.get("method") == "dense" and "sparsity" in given:
        return [f"method dense ignores sparsity = {one_line(given['sparsity'])}"]
    return []


def seed_configs(config: Config) -> list[Config]:
    """The configurations of the single runs that `seeds` > 1 stands for, in order of their seed."""
    return [
        config.model_copy(update={"seed": config.seed + run, "seeds": 1})
        for run in range(config.seeds)
    ]
