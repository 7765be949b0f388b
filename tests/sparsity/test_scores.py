"""Scores as functions and chosen by number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.sparsity.scores import (
    Drop,
    Growth,
    Score,
    drop_rule,
    gradient_magnitude,
    growth_rule,
    magnitude,
    random_score,
    sensitivity,
)

WEIGHT, GRADIENT = jnp.array([[0.0, -2.0, 1.0]]), jnp.array([[5.0, 0.5, -3.0]])
KEY = jax.random.key(0)
BY_DROP = {Drop.MAGNITUDE: magnitude, Drop.RANDOM: random_score, Drop.SENSITIVITY: sensitivity}
BY_GROWTH = {Growth.GRADIENT: gradient_magnitude, Growth.RANDOM: random_score}


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


@pytest.mark.parametrize(
    ("rule", "by_number"), [(drop_rule, BY_DROP), (growth_rule, BY_GROWTH)], ids=["drop", "growth"]
)
def test_rules_are_data(rule, by_number) -> None:
    numbers = jnp.array(list(by_number))
    together = jax.jit(jax.vmap(lambda number: rule(number)(WEIGHT, GRADIENT, KEY)))(numbers)
    for scores, score in zip(together, by_number.values(), strict=True):
        np.testing.assert_array_equal(scores, score(WEIGHT, GRADIENT, KEY))


def test_every_number_has_a_score() -> None:
    assert BY_DROP.keys() == set(Drop)
    assert BY_GROWTH.keys() == set(Growth)
