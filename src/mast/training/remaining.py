"""How much longer a run takes that is watched from outside, by its metrics.csv. Imports no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ROWS = 6
"""Evaluations that the pace is taken from: the last ones, since ε and episode lengths change it."""


def seconds_left(
    rows: Sequence[Mapping[str, int | float | None]], steps: int, age: float
) -> float | None:
    """Wall time until a run has taken all its steps; None before its first evaluation.

    Args:
        rows: of its metrics.csv.
        steps: that it takes in all.
        age: seconds since the last row was written.
    """
    if not rows:
        return None
    first, last = rows[-_ROWS:][0], rows[-1]
    taken, before = float(last["env_steps"] or 0), float(first["env_steps"] or 0)
    seconds = float(last["seconds"] or 0.0) - float(first["seconds"] or 0.0)
    pace = seconds / (taken - before) if taken > before and seconds > 0 else None
    if pace is None and last["env_steps_per_second"]:
        pace = 1 / float(last["env_steps_per_second"])
    return None if pace is None else max(0.0, (steps - taken) * pace - age)
