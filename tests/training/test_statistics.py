import itertools
from typing import Any

import numpy as np
import pytest

from mast.training.statistics import bootstrap_interval, score


@pytest.mark.parametrize("samples", [[0.7], [0.1] * 7, np.array([3.0, 3.0])])
def test_one_sample_or_equal_samples_have_an_interval_without_width(
    samples: list[float] | np.ndarray,
) -> None:
    interval = bootstrap_interval(samples)
    assert interval == (samples[0], samples[0], samples[0])


def test_interval_of_two_samples_by_hand() -> None:
    """Of (0, 1) the resampled means are 0, ½, 1 with chances ¼, ½, ¼."""
    assert bootstrap_interval([0.0, 1.0]) == (0.5, 0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5, 0.5)


def test_interval_agrees_with_all_resamples_of_four_samples() -> None:
    samples = np.array([0.0, 1.0, 3.0, 10.0])
    means = [np.mean(resample) for resample in itertools.product(samples, repeat=4)]
    low, high = np.quantile(means, [0.1, 0.9])
    interval = bootstrap_interval(samples, confidence=0.8, resamples=50_000)
    assert interval.mean == 3.5
    assert interval.low == pytest.approx(low, abs=0.26)  # the steps between possible means
    assert interval.high == pytest.approx(high, abs=0.26)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        interval = bootstrap_interval(rng.normal(5.0, 2.0, 40), resamples=400, seed=seed)
        covered += interval.low <= 5.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_is_the_same_for_the_same_seed_and_not_for_another() -> None:
    samples = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(samples) == bootstrap_interval(list(samples))
    assert bootstrap_interval(samples, seed=1) != bootstrap_interval(samples, seed=2)


def test_interval_of_wins_counts_them_as_ones() -> None:
    interval = bootstrap_interval(np.array([True, False, True, True]))
    assert interval.mean == 0.75
    assert 0.0 <= interval.low < 0.75 < interval.high <= 1.0


def test_interval_of_many_samples_goes_by_blocks() -> None:
    samples = np.random.default_rng(3).normal(size=300_000)
    interval = bootstrap_interval(samples, resamples=20)
    assert interval.low < interval.mean < interval.high
    assert interval.high - interval.low == pytest.approx(3.9 / np.sqrt(300_000), rel=0.6)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([], {}, "non-empty"),
        (np.zeros((2, 2)), {}, "non-empty list"),
        ([1.0, np.nan], {}, "finite"),
        ([1.0, 2.0], {"confidence": 1.0}, "confidence"),
        ([1.0, 2.0], {"confidence": 0.0}, "confidence"),
        ([1.0, 2.0], {"resamples": 0}, "resamples"),
    ],
)
def test_interval_of_nonsense_is_refused(
    samples: list[float] | np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(samples, **options)


@pytest.mark.parametrize(
    ("win_rates", "last", "expected"),
    [
        ([0.0] * 30 + [1.0] * 15 + [0.5] * 5, 20, 0.875),
        ([0.5, 1.0], 20, 0.75),
        ([0.0, None, 0.5, None, 1.0, None], 2, 0.75),
        ([0.25, 0.75], 1, 0.75),
        ([], 20, None),
        ([None, None], 20, None),
    ],
)
def test_score_is_the_mean_of_the_last_known_win_rates(
    win_rates: list[float | None], last: int, expected: float | None
) -> None:
    assert score(win_rates, last) == expected


def test_score_of_the_last_none_is_refused() -> None:
    with pytest.raises(ValueError, match="last"):
        score([1.0], last=0)
