"""A paper's statements held to a study's rows. Imports no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mast.studies.groups import Group, Panel
from mast.studies.statements import Statement
from mast.studies.statistics import FEWEST, difference_interval
from mast.training.statistics import SCORE_WINDOW

HELD, NOT_HELD, OPEN, NOT_RUN = "held", "not held", "open", "not run"
ELSEWHERE = "see"


@dataclass(frozen=True)
class Verdict:
    """What the rows say to a statement.

    Attributes:
        word: HELD, NOT_HELD, OPEN, NOT_RUN or ELSEWHERE.
        numbers: of each pair that is run, as text; where it is judged, if not by rows.
    """

    statement: Statement
    word: str
    numbers: str


def verdicts_of(statements: Sequence[Statement], panel: Panel) -> list[Verdict]:
    """What a panel's rows say to each statement that is about its map."""
    groups = {group.arm: group for group in panel.groups}
    return [
        _verdict(statement, panel, groups)
        for statement in statements
        if statement.on in ("", panel.map)
    ]


def _verdict(statement: Statement, panel: Panel, groups: Mapping[str, Group]) -> Verdict:
    if statement.elsewhere:
        return Verdict(statement, ELSEWHERE, statement.elsewhere)
    words, numbers = [], []
    for better, other in statement.arms:
        if better not in groups or other not in groups:
            words.append(NOT_RUN)
            continue
        word, text = _pair(statement, panel, groups[better], groups[other])
        words.append(word)
        numbers.append(text)
    return Verdict(statement, _together(words), "; ".join(numbers))


def _together(words: Sequence[str]) -> str:
    """Held where all is; not held where something is the other way round."""
    if all(word == NOT_RUN for word in words):
        return NOT_RUN
    if NOT_HELD in words:
        return NOT_HELD
    return HELD if all(word == HELD for word in words) else OPEN


def _pair(statement: Statement, panel: Panel, better: Group, other: Group) -> tuple[str, str]:
    """Whether one arm is better than another, or like it, and the numbers."""
    ours, theirs = (_numbers(statement.by, panel, group) for group in (better, other))
    digits = {"time": 0, "parameters": 0}.get(statement.by, 2)
    names = f"{better.arm} {ours.mean():,.{digits}f}, {other.arm} {theirs.mean():,.{digits}f}"
    if statement.by == "parameters":
        if np.isnan(ours).any() or np.isnan(theirs).any():
            return OPEN, f"{names} (not recorded)"
        same = ours.mean() == theirs.mean()
        held = same if statement.alike else ours.mean() < theirs.mean()
        return (HELD if held else NOT_HELD), names
    if min(len(ours), len(theirs)) < FEWEST:
        return OPEN, f"{names} (fewer than {FEWEST} runs)"
    sign = -1.0 if statement.by == "time" else 1.0
    found = difference_interval(sign * ours, sign * theirs)
    text = f"{names} ({found.low:+.{digits}f} to {found.high:+.{digits}f})".replace("-", "−")
    if statement.alike:
        margin = statement.within * max(abs(ours.mean()), abs(theirs.mean()))
        if margin == 0:  # nothing won by either says nothing
            return OPEN, text
        if -margin <= found.low and found.high <= margin:
            return HELD, text
        return (NOT_HELD if found.low > margin or found.high < -margin else OPEN), text
    if found.low > 0:
        return HELD, text
    return (NOT_HELD if found.high < 0 else OPEN), text


def _numbers(by: str, panel: Panel, group: Group) -> np.ndarray:
    """One number per run."""
    results = group.results
    if by == "score":
        return group.numbers
    if by == "return":
        return np.array([np.mean(result.curve["return"][-SCORE_WINDOW:]) for result in results])
    if by == "speed":
        curves = [result.curve[result.measure] for result in results]
        return np.array([np.nanmean(curve[: max(1, len(curve) // 2)]) for curve in curves])
    if by == "time":
        if not panel.time_is_cpu:
            return np.array([result.seconds for result in results])
        known = [result.cpu_seconds for result in results if result.cpu_seconds is not None]
        return np.array(known, float)
    return np.array([float(result.row.get("parameters") or np.nan) for result in results])
