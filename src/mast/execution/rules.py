"""The drop scores, growth scores and schedules that a program chooses from: ours, and a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from mast.config import Config
from mast.errors import UserError
from mast.own_code import import_own
from mast.sparsity.schedules import SCHEDULES, DropSchedule
from mast.sparsity.scores import DROP_SCORES, GROWTH_SCORES, Score

Rule = TypeVar("Rule", bound=Callable[..., Any])


class Rules(NamedTuple):
    """What a `Method` names by number: the place in each of these."""

    drop: dict[str, Score]
    growth: dict[str, Score]
    schedule: dict[str, DropSchedule]


def rules_of(configs: Sequence[Config]) -> Rules:
    """Our rules and, behind them, the users' own that these configurations name.

    Args:
        configs: of all runs of one program.

    Raises:
        UserError: "package.module:function" names nothing that can be imported, or no such rule.
    """
    return Rules(
        drop=DROP_SCORES | _own(configs, "drop", DROP_SCORES, _check_score),
        growth=GROWTH_SCORES
        | _own(configs, "growth", {**GROWTH_SCORES, "none": None}, _check_score),
        schedule=SCHEDULES | _own(configs, "drop_schedule", SCHEDULES, _check_schedule),
    )


def _own(
    configs: Sequence[Config],
    setting: str,
    known: Mapping[str, Any],
    check: Callable[[Callable[..., Any]], str],
) -> dict[str, Any]:
    names = sorted({getattr(config, setting) for config in configs} - known.keys())
    found = {name: import_own(name, "function", callable) for name in names}
    for name, rule in found.items():
        try:
            wrong = check(rule)
        except (Exception, SystemExit) as error:
            wrong = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if wrong:
            raise UserError(f"{setting} = {name}: {wrong}")
    return found


def _check_score(score: Callable[..., Any]) -> str:
    """What is wrong with a function of weight, dense gradient and key; empty where nothing is."""
    weight = jax.ShapeDtypeStruct((3, 2), jnp.float32)
    result = jax.eval_shape(score, weight, weight, jax.eval_shape(lambda: jax.random.key(0)))
    if getattr(result, "shape", None) != weight.shape:
        return "must return one number per weight, in the weight's shape"
    return ""


def _check_schedule(schedule: Callable[..., Any]) -> str:
    """What is wrong with a function of ζ_0, step and total; empty where nothing is."""
    number = jax.ShapeDtypeStruct((), jnp.float32)
    if getattr(jax.eval_shape(schedule, number, number, number), "shape", None) != ():
        return "must return one number, ζ_t"
    return ""
