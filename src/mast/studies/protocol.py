"""What makes two cells the same: a hash of every setting that a result's meaning depends on.

Imports no JAX. A result file is named by this hash, so results of two machines can be put together by
copying files, and a setting that means something else never finds the old result.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mast.config import Config
from mast.configuration.reference import reference_settings

VERSION = 1
"""Raised when the code's results stop being comparable with earlier ones (**numbers** in the changelog)."""

NEUTRAL = (
    "seeds",
    "placement",
    "execution",
    "battle",
    "threads",
    "env_workers",
    "preset",
    "checkpoint_interval",
    "diagnostics",
    "snapshots",
)
"""Settings that are not part of a cell: how it is computed, and what is recorded beside.

Executions and placements take the same steps to rounding; a preset's numbers are settings themselves.
"""

KEY_LENGTH = 8


STEPS = ("step_exponent", "step_cap")
"""How steps depend on the density; nothing to a team that has all its weights."""

ANNEALING = "anneal_begin_fraction"
"""When steps go to the final ones; nothing where they are the same all the time."""


def identity(config: Config) -> dict[str, Any]:
    """The settings that a result's meaning depends on, where they differ from the reference.

    Only what differs is hashed, so a setting that is added later (with a value that changes nothing) leaves
    every earlier result where it is, and a default that changes moves every cell that has it.
    """
    reference = reference_settings()
    settings = config.model_dump(mode="json")
    without: tuple[str, ...] = () if config.steps_fit_density else STEPS
    if not config.anneals:
        without = (*without, ANNEALING)
    return {
        name: value
        for name, value in settings.items()
        if name not in (*NEUTRAL, *without) and (name not in reference or reference[name] != value)
    }


def key_of(config: Config) -> str:
    """The hash of a run's settings: eight hexadecimal digits.

    Args:
        config: resolved settings of one seed.
    """
    text = json.dumps({"protocol": VERSION, **identity(config)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
