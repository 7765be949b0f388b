"""Statistics over the scores of several seeds: interquartile means, intervals, improvement, profiles.

A task is one map; its scores are an array with one number per seed. Several tasks are a list of such arrays,
which need not be of the same length. Bootstraps are stratified: seeds are drawn again within each task.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from mast.training.statistics import Interval

Scores = Float[np.ndarray, "_"]
"""One number per seed; tasks and methods may have different numbers of seeds."""
Statistic = Callable[[list[np.ndarray]], np.ndarray]
"""From one array [resamples, seeds] per task to one number per resample."""

RESAMPLES = 5_000
CONFIDENCE = 0.95
FEWEST = 3
"""Runs that a difference or an interval needs at least: a bootstrap of two knows three values."""
FILTER_WINDOW, FILTER_ORDER = 21, 2


def mean_over_tasks(tasks: list[np.ndarray]) -> np.ndarray:
    """The mean of the tasks' means, [resamples]."""
    return np.mean([scores.mean(axis=1) for scores in tasks], axis=0)


def interquartile_mean(tasks: list[np.ndarray]) -> np.ndarray:
    """The mean of the middle half of all scores, [resamples].

    Of n scores, ⌊n/4⌋ are left out at each end (as `scipy.stats.trim_mean(scores, 0.25)`).
    """
    scores = np.sort(np.concatenate(tasks, axis=1), axis=1)
    cut = scores.shape[1] // 4
    return scores[:, cut : scores.shape[1] - cut].mean(axis=1)


def stratified_interval(
    tasks: Sequence[Scores],
    statistic: Statistic,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A statistic of the scores with its percentile bootstrap interval.

    Args:
        tasks: scores per task.
        statistic: such as `mean_over_tasks`.
        confidence: share of the resampled statistics inside the interval.
        resamples: how many.
        seed: of the draws; the same arguments give the same numbers.

    Raises:
        ValueError: no task, or one without a score.
    """
    if not tasks or any(len(scores) == 0 for scores in tasks):
        raise ValueError("every task needs at least one score")
    point = float(statistic([np.asarray(scores, float)[None] for scores in tasks])[0])
    drawn = statistic(_resampled(tasks, resamples, seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(point, float(low), float(high))


def ratio_interval(
    scores: Scores, reference: Scores, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of scores over the mean of a reference's, both resampled.

    Args:
        scores: of a method, one per seed.
        reference: of dense, one per seed; its mean must not be 0.

    Raises:
        ValueError: the reference has no score or a mean of 0.
    """
    if len(reference) == 0 or float(np.mean(reference)) == 0:
        raise ValueError("the reference needs scores with a mean other than 0")

    def ratio(tasks: list[np.ndarray]) -> np.ndarray:
        own, other = (each.mean(axis=1) for each in tasks)
        # A resample of dense can hold nothing but zeros; the ratio of such a one is left out.
        return own / np.where(other == 0, np.nan, other)

    point = float(np.mean(scores) / np.mean(reference))
    drawn = ratio(_resampled([scores, reference], resamples, seed))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(point, float(low), float(high))


def difference_interval(
    ours: Scores, theirs: Scores, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The difference of two means with its percentile bootstrap interval, both resampled.

    Args:
        ours, theirs: one number per seed of each.
    """

    def difference(tasks: list[np.ndarray]) -> np.ndarray:
        own, other = (each.mean(axis=1) for each in tasks)
        return own - other

    drawn = difference(_resampled([ours, theirs], resamples, seed))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(np.mean(ours) - np.mean(theirs)), float(low), float(high))


def probability_of_improvement(
    ours: Sequence[Scores],
    theirs: Sequence[Scores],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """How likely a run of one method beats a run of another on a task drawn at random; ties count half.

    Args:
        ours: scores per task.
        theirs: scores of the other method on the same tasks, in the same order.

    Raises:
        ValueError: not the same number of tasks, or a task without a score.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} tasks against {len(theirs)}")
    count = len(ours)

    def wins(tasks: list[np.ndarray]) -> np.ndarray:
        per_task = [
            (np.sign(own[:, :, None] - other[:, None, :]) / 2 + 0.5).mean(axis=(1, 2))
            for own, other in zip(tasks[:count], tasks[count:], strict=True)
        ]
        return np.mean(per_task, axis=0)

    return stratified_interval([*ours, *theirs], wins, resamples=resamples, seed=seed)


def performance_profile(
    tasks: Sequence[Scores],
    thresholds: Float[np.ndarray, " thresholds"],
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[
    Float[np.ndarray, " thresholds"],
    Float[np.ndarray, " thresholds"],
    Float[np.ndarray, " thresholds"],
]:
    """The share of runs whose score is above each threshold, and its 95 % band.

    Args:
        tasks: scores per task; every run counts the same.
        thresholds: scores to look at.

    Returns:
        share, lower end, upper end.
    """
    scores = np.concatenate([np.asarray(each, float) for each in tasks])
    share = (scores[:, None] > thresholds).mean(axis=0)
    drawn = np.concatenate(_resampled(tasks, resamples, seed), axis=1)
    shares = np.stack([(drawn > threshold).mean(axis=1) for threshold in thresholds], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(shares, [tail, 1 - tail], axis=0)
    return share, low, high


def agreement(ours: Sequence[int | float], theirs: Sequence[int | float]) -> tuple[int, int]:
    """How many pairs two lists order the same way, of how many that both order at all.

    Args:
        ours, theirs: one number per method, in the same order of methods.

    Returns:
        pairs in the same order, pairs that are tied in neither list.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} numbers against {len(theirs)}")
    first, second = np.triu_indices(len(ours), 1)
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    signs = np.sign(a[first] - a[second]) * np.sign(b[first] - b[second])
    return int((signs > 0).sum()), int((signs != 0).sum())


def smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The paper's filter over a curve's evaluations; for pictures, never for numbers.

    Savitzky and Golay's, 21 evaluations and a parabola; fewer for a shorter curve, and nothing below four.

    Source: MAST, Appendix B.
    """
    values = np.asarray(values, float)
    window = min(FILTER_WINDOW, len(values) - (len(values) + 1) % 2)
    if window <= FILTER_ORDER + 1:
        return values
    half = window // 2
    powers = np.vander(np.arange(-half, half + 1), FILTER_ORDER + 1, increasing=True)
    fit = powers @ np.linalg.pinv(powers)  # a window to the parabola through it
    filtered = np.convolve(values, fit[half][::-1], mode="same")
    # The ends lie on the parabolas through the first and the last window.
    filtered[:half] = (fit @ values[:window])[:half]
    filtered[-half:] = (fit @ values[-window:])[-half:]
    return filtered


def _resampled(tasks: Sequence[Scores], resamples: int, seed: int) -> list[np.ndarray]:
    """Each task's seeds drawn again with replacement, [resamples, seeds] per task."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    return [
        np.asarray(scores, float)[rng.integers(len(scores), size=(resamples, len(scores)))]
        for scores in tasks
    ]
