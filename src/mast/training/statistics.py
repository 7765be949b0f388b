"""What is said about a set of results: bootstrap intervals and the score of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SCORE_WINDOW = 20
"""Evaluations that a run's score is the mean of, the last ones (MAST §5.1)."""
_DRAWS_PER_BLOCK = 2**20


class Interval(NamedTuple):
    """A mean and the interval around it, in the unit of the samples."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    samples: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of the samples with its percentile bootstrap interval.

    With a single sample, or all of them equal, the interval is that value itself. The same
    arguments give the same numbers.

    Args:
        samples: independent results, one-dimensional (episodes, or scores of runs).
        confidence: share of the resampled means inside the interval, in (0, 1).
        resamples: number of resampled means.
        seed: key of the Philox generator that draws the resamples.

    Raises:
        ValueError: no samples, more than one dimension, a sample that is not finite, or a
            `confidence` or `resamples` outside its range.

    Source: Efron & Tibshirani 1993, chapter 13 (the percentile interval).
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"samples must be a non-empty list of numbers, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("samples must be finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if values.min() == values.max():
        # Not the computed mean: its rounding would put it outside of its own interval.
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    means = _resampled_means(values, resamples, np.random.Generator(np.random.Philox(key=seed)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def score(win_rates: Sequence[float | None], last: int = SCORE_WINDOW) -> float | None:
    """The score of a run: the mean of its last evaluations that have a win rate.

    Args:
        win_rates: win rate of each evaluation, oldest first; None where there is none.
        last: how many to take at most.

    Returns:
        The mean, of fewer evaluations while there are not yet `last`; None if there is none.

    Raises:
        ValueError: `last` is below 1.

    Source: spec §8, protocol.
    """
    if last < 1:
        raise ValueError(f"last must be at least 1, got {last}")
    known = [rate for rate in win_rates if rate is not None][-last:]
    return float(np.mean(known)) if known else None


def _resampled_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `resamples` draws with replacement, in blocks so that memory stays bounded."""
    rows = max(1, _DRAWS_PER_BLOCK // values.size)
    blocks = []
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), values.size)
        blocks.append(values[rng.integers(values.size, size=shape)].mean(axis=1))
    return np.concatenate(blocks)
