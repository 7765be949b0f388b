"""Scores as functions and chosen by number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.sparsity.scores import (
    DROP_SCORES,
    GROWTH_SCORES,
    Score,
    gradient_magnitude,
    magnitude,
    random_score,
    relative_gradient,
    score_by_number,
    sensitivity,
)

WEIGHT, GRADIENT = jnp.array([[0.0, -2.0, 1.0]]), jnp.array([[5.0, 0.5, -3.0]])
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(magnitude, [0, 2, 1]), (gradient_magnitude, [5, 0.5, 3]), (sensitivity, [0, 1, 3])],
)
def test_scores_by_hand(score: Score, expected: list[float]) -> None:
    np.testing.assert_array_equal(score(WEIGHT, GRADIENT, KEY), [expected])


def test_a_random_score_comes_from_the_key_alone() -> None:
    score = random_score(WEIGHT, GRADIENT, KEY)
    np.testing.assert_array_equal(score, random_score(GRADIENT, WEIGHT, KEY))
    assert (score != random_score(WEIGHT, GRADIENT, jax.random.key(1))).all()


def test_sensitivity_is_what_removing_a_weight_costs() -> None:
    """To first order: here the loss is linear, so exactly."""
    slopes, weight = jnp.array([3.0, -1.0]), jnp.array([2.0, 4.0])
    score = sensitivity(weight, jax.grad(lambda w: (slopes * w).sum())(weight), KEY)
    removed = jnp.array([[0.0, 4.0], [2.0, 0.0]])
    np.testing.assert_array_equal(score, jnp.abs(removed @ slopes - weight @ slopes))


@pytest.mark.parametrize("scores", [DROP_SCORES, GROWTH_SCORES], ids=["drop", "growth"])
def test_rules_are_data(scores: dict[str, Score]) -> None:
    choices = list(scores.values())
    together = jax.jit(
        jax.vmap(lambda number: score_by_number(number, choices)(WEIGHT, GRADIENT, KEY))
    )(jnp.arange(len(choices)))
    for found, score in zip(together, choices, strict=True):
        np.testing.assert_array_equal(found, score(WEIGHT, GRADIENT, KEY))


def test_numbers_stay_what_they_were() -> None:
    """They are the places of the names: a new rule comes behind."""
    assert list(DROP_SCORES)[:3] == ["magnitude", "random", "sensitivity"]
    assert list(GROWTH_SCORES)[:3] == ["gradient", "random", "relative_gradient"]


def test_relative_gradient_takes_out_what_rows_and_columns_have_in_common() -> None:
    """Of an outer product nothing is left but ones; a row or a column of zeros scores zero."""
    rows, columns = jnp.array([1e-9, 3.0, 0.0]), jnp.array([2.0, -5e4, 0.0, 1.0])
    score = relative_gradient(jnp.zeros((3, 4)), jnp.outer(rows, columns), KEY)
    expected = np.outer(np.array(rows) != 0, np.array(columns) != 0) * 1.0
    mean = np.abs(rows).mean() * np.abs(columns).mean()
    np.testing.assert_allclose(score, expected / mean, rtol=1e-5)
    bias = jnp.array([-2.0, 1.0])
    np.testing.assert_array_equal(relative_gradient(bias, bias, KEY), [2.0, 1.0])
    assert relative_gradient(bias[0], bias[0], KEY) == 2.0
    stacked = jnp.stack([GRADIENT, 7 * GRADIENT])
    each = [relative_gradient(WEIGHT, layer, KEY) for layer in stacked]
    np.testing.assert_array_equal(relative_gradient(stacked, stacked, KEY), jnp.stack(each))
