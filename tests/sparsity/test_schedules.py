"""Drop fractions over time and the counts of gradual magnitude pruning."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.sparsity.schedules import (
    SCHEDULES,
    constant_drop_fraction,
    cosine_drop_fraction,
    cubic_count,
    cubic_density,
    linear_drop_fraction,
    pruning_counts,
    schedule_by_number,
)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 1.0), (100, 0.75), (150, 0.5), (200, 0.25), (300, 0.0), (301, 0.0), (10**7, 0.0)],
)
def test_cosine_drop_fraction(step: int, share: float) -> None:
    fraction = cosine_drop_fraction(0.4, step, 300)
    assert float(fraction) == pytest.approx(0.4 * share, abs=1e-7)
    assert float(fraction) == pytest.approx(
        0.2 * (1 + math.cos(math.pi * min(step, 300) / 300)), abs=1e-7
    )


def test_cosine_drop_fraction_is_data() -> None:
    initial, steps, totals = jnp.array([0.5, 0.3]), jnp.array([50, 10]), jnp.array([100, 40])
    together = jax.jit(jax.vmap(cosine_drop_fraction))(initial, steps, totals)
    alone = [cosine_drop_fraction(0.5, 50, 100), cosine_drop_fraction(0.3, 10, 40)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (75, 0.75), (300, 0.0), (10**7, 0.0)])
def test_linear_and_constant_drop_fractions(step: int, share: float) -> None:
    assert float(linear_drop_fraction(0.4, step, 300)) == pytest.approx(0.4 * share, abs=1e-7)
    assert float(constant_drop_fraction(0.4, step, 300)) == pytest.approx(0.4)


def test_the_schedule_is_data_too() -> None:
    assert list(SCHEDULES)[:3] == ["cosine", "linear", "constant"], "numbers are these places"
    schedules = list(SCHEDULES.values())

    def drop_fraction(number: jax.Array, step: jax.Array) -> jax.Array:
        return schedule_by_number(number, schedules)(0.3, step, 600)

    for step in jnp.array([10, 100, 700]):
        together = jax.jit(jax.vmap(partial(drop_fraction, step=step)))(jnp.arange(3))
        alone = [schedule(0.3, step, 600) for schedule in schedules]
        np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize("step", [0, 99, 100, 150, 175, 299, 300, 1000])
def test_cubic_density_is_zhu_and_guptas(step: int) -> None:
    sparsity_now, initial, final = 1 - float(cubic_density(0.1, step, 100, 300, 0.8)), 0.2, 0.9
    share = min(max((step - 100) / 200, 0.0), 1.0)
    expected = final + (initial - final) * (1 - share) ** 3
    assert sparsity_now == pytest.approx(expected, abs=1e-6)


@given(
    st.integers(1, 2**26), st.floats(0, 1), st.integers(0, 10**6), st.integers(0, 10**6), st.data()
)
@settings(max_examples=60, deadline=None)
def test_cubic_count_goes_from_all_to_exactly_the_final_count(
    weights: int, share: float, begin: int, duration: int, data: st.DataObject
) -> None:
    final, end = math.floor(share * weights), begin + duration
    assert int(cubic_count(weights, final, begin - 1, begin, end)) == weights
    assert int(cubic_count(weights, final, end, begin, end)) == final
    assert int(cubic_count(weights, final, end + 1, begin, end)) == final
    one, other = sorted(data.draw(st.tuples(st.integers(begin, end), st.integers(begin, end))))
    earlier, later = (int(cubic_count(weights, final, at, begin, end)) for at in (one, other))
    assert weights >= earlier >= later >= final


def test_pruning_counts_of_each_layer() -> None:
    masks = {"a": jnp.ones((4, 5), bool), "b": jnp.ones((10, 10), bool)}
    counts = jax.jit(lambda step: pruning_counts(masks, {"a": 4, "b": 20}, step, 0, 100))(50)
    # An eighth of what goes is still there: 4 + 16/8 and 20 + 80/8.
    assert {name: int(count) for name, count in counts.items()} == {"a": 6, "b": 30}
