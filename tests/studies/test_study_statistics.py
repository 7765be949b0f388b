"""Statistics against hands, exhaustive enumeration and scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mast.studies.statistics import (
    agreement,
    interquartile_mean,
    mean_over_tasks,
    performance_profile,
    probability_of_improvement,
    ratio_interval,
    smoothed,
    stratified_interval,
)

SCORES = st.lists(st.floats(0, 1, allow_nan=False, width=32), min_size=1, max_size=9)


def array(*values: float) -> np.ndarray:
    return np.array(values, float)


def test_interquartile_mean_by_hand() -> None:
    # Eight scores of two tasks: two go at each end, the rest is 3, 4, 5, 6.
    tasks = [array(1, 8, 3, 6)[None], array(2, 7, 4, 5)[None]]
    assert interquartile_mean(tasks)[0] == 4.5
    # Of four, one goes at each end: an outlier is not seen.
    assert interquartile_mean([array(0.9, 0.8, 0.85, 0.0)[None]])[0] == pytest.approx(0.825)


@given(SCORES)
@settings(deadline=None)
def test_interquartile_mean_is_scipys_trimmed_mean(scores: list[float]) -> None:
    ours = interquartile_mean([np.array(scores, float)[None]])[0]
    assert ours == pytest.approx(stats.trim_mean(scores, 0.25), abs=1e-12)


def test_the_interval_of_two_seeds_by_hand() -> None:
    # The mean of two draws from 0 and 1 is 0, 1/2 or 1 with shares 1/4, 1/2, 1/4: both ends are reached.
    interval = stratified_interval([array(0, 1)], mean_over_tasks)
    assert interval == (0.5, 0.0, 1.0)
    # Two tasks are drawn each on its own: the ends have 1/16 each, which is more than 2.5 %.
    interval = stratified_interval([array(0, 1), array(0, 1)], mean_over_tasks)
    assert interval == (0.5, 0.0, 1.0)
    # Without strata the first of four tasks of one seed each could be drawn twice; with them it cannot.
    assert stratified_interval([array(0.0), array(1.0)], mean_over_tasks) == (0.5, 0.5, 0.5)


def test_the_interval_is_that_of_all_resamples() -> None:
    scores = array(0.1, 0.4, 0.5, 0.9)
    every = sorted(np.mean(draw) for draw in itertools.product(scores, repeat=4))
    low, high = np.quantile(every, [0.025, 0.975])
    interval = stratified_interval([scores], mean_over_tasks, resamples=40_000)
    assert interval.mean == pytest.approx(0.475)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.026)


def test_the_interval_agrees_with_scipys() -> None:
    scores = np.random.default_rng(0).uniform(size=12)
    theirs = stats.bootstrap(
        (scores,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = stratified_interval([scores], mean_over_tasks, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_probability_of_improvement_by_hand() -> None:
    # 0.5 beats 0.3, ties with 0.5, loses to 0.7; 0.9 beats all three: (1.5 + 3) / 6.
    ours, theirs = [array(0.5, 0.9)], [array(0.3, 0.5, 0.7)]
    assert probability_of_improvement(ours, theirs).mean == pytest.approx(0.75)
    both = probability_of_improvement([*ours, array(0.0)], [*theirs, array(1.0)])
    assert both.mean == pytest.approx(0.375)
    assert probability_of_improvement([array(1, 1)], [array(0, 0)]) == (1.0, 1.0, 1.0)


@given(SCORES, SCORES)
@settings(deadline=None, max_examples=30)
def test_improvement_is_the_mann_whitney_statistic(a: list[float], b: list[float]) -> None:
    ours, theirs = array(*a), array(*b)
    interval = probability_of_improvement([ours], [theirs], resamples=50)
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert interval.mean == pytest.approx(u / (len(a) * len(b)))
    other = probability_of_improvement([theirs], [ours], resamples=50)
    assert interval.mean + other.mean == pytest.approx(1)


def test_profiles_by_hand() -> None:
    share, low, high = performance_profile([array(0.2, 0.6), array(0.9)], array(0.0, 0.5, 0.6, 1.0))
    np.testing.assert_allclose(share, [1, 2 / 3, 1 / 3, 0])
    assert (low <= share).all()
    assert (share <= high).all()
    np.testing.assert_allclose([low[1], high[1]], [1 / 3, 1])


def test_ratio_to_dense() -> None:
    ratio = ratio_interval(array(0.8, 0.9), array(0.9, 1.0))
    assert ratio.mean == pytest.approx(0.85 / 0.95)
    assert ratio.low == pytest.approx(0.8 / 1.0)
    assert ratio.high == pytest.approx(0.9 / 0.9)
    assert ratio_interval(array(0.5), array(0.0, 1.0)).mean == 1.0
    with pytest.raises(ValueError, match="mean other than 0"):
        ratio_interval(array(0.5), array(0.0))


def test_agreement_of_two_orders() -> None:
    assert agreement([3, 2, 1], [30, 20, 10]) == (3, 3)
    assert agreement([3, 2, 1], [20, 30, 10]) == (2, 3)
    assert agreement([2, 2, 1], [20, 30, 10]) == (2, 2)


def test_the_papers_filter_leaves_parabolas_and_the_mean_of_noise() -> None:
    parabola = (np.arange(40.0) - 15) ** 2
    np.testing.assert_allclose(smoothed(parabola), parabola, atol=1e-9)
    np.testing.assert_allclose(smoothed(parabola[:5]), parabola[:5], atol=1e-9)
    np.testing.assert_allclose(smoothed(array(1, 5, 2)), [1, 5, 2])
    noise = np.random.default_rng(0).normal(size=200)
    assert smoothed(noise).std() < noise.std() / 2


def test_a_task_without_a_score_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        stratified_interval([array()], mean_over_tasks)
    with pytest.raises(ValueError, match="1 tasks against 2"):
        probability_of_improvement([array(1)], [array(1), array(1)])
    with pytest.raises(ValueError, match="1 numbers against 2"):
        agreement([1], [1, 2])
