"""Steps that fit the density: the factor of each leaf, by hand, and where in an optimizer it acts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mast.sparsity import StepRule, scale_by_density, sparse, sparsify
from mast.sparsity.step_size import Count, step_factors

PARAMS = {
    "first": {"weight": jnp.ones((4, 5)), "bias": jnp.ones(4)},
    "second": {"weight": jnp.ones((2, 4)), "bias": jnp.ones(2)},
    "norm": jnp.ones(3),
}
MASKS = {
    "first.weight": jnp.arange(20).reshape(4, 5) < 2,  # a tenth
    "second.weight": jnp.ones((2, 4), bool),
}
GRADIENT = jax.tree.map(jnp.ones_like, PARAMS)


def updates_of(optimizer: optax.GradientTransformation) -> Any:
    whole = sparse(optimizer, MASKS)
    return whole.update(GRADIENT, whole.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize(
    ("rule", "first", "first_bias", "second", "elsewhere"),
    [
        (StepRule(1.0), 2.8, 2.8, 2.8, 2.8),  # 10 of 28 weights
        (StepRule(0.5), 2.8**0.5, 2.8**0.5, 2.8**0.5, 2.8**0.5),
        (StepRule(1.0, with_dense=False), 2.8, 1.0, 2.8, 1.0),
        (StepRule(1.0, by_layer=True), 10.0, 10.0, 1.0, 2.8),
        (StepRule(1.0, by_layer=True, with_dense=False), 10.0, 1.0, 1.0, 1.0),
        (StepRule(1.0, by_layer=True, cap=4.0), 4.0, 4.0, 1.0, 2.8),
        (StepRule(0.0), 1.0, 1.0, 1.0, 1.0),
    ],
)
def test_factors_by_hand(
    rule: StepRule, first: float, first_bias: float, second: float, elsewhere: float
) -> None:
    updates = updates_of(optax.chain(optax.sgd(0.1), scale_by_density(rule)))
    for mask, update in zip(
        MASKS.values(), (updates["first"]["weight"], updates["second"]["weight"]), strict=True
    ):
        np.testing.assert_array_equal(update[~mask], 0)
    np.testing.assert_allclose(updates["first"]["weight"][0, :2], -0.1 * first, rtol=1e-6)
    np.testing.assert_allclose(updates["first"]["bias"], -0.1 * first_bias, rtol=1e-6)
    np.testing.assert_allclose(updates["second"]["weight"], -0.1 * second, rtol=1e-6)
    np.testing.assert_allclose(updates["norm"], -0.1 * elsewhere, rtol=1e-6)


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_dense_network_keeps_its_steps_to_the_bit(by_layer: bool) -> None:
    rule = StepRule(0.77, by_layer=by_layer)
    counts = {name: Count(jnp.float32(size), size) for name, size in (("a.w", 4160), ("b.w", 7))}
    factors = step_factors(counts, rule)
    assert {float(x) for x in jax.tree.leaves(factors)} == {1.0}


def test_rules_are_data() -> None:
    rules = StepRule(
        jnp.array([0.5, 1.0, 0.0]),
        jnp.full(3, 9.0),
        jnp.array([True, False, True]),
        jnp.ones(3, bool),
    )
    counts = {"a.weight": Count(2, 20), "b.weight": Count(8, 8)}
    together = jax.jit(jax.vmap(lambda rule: step_factors(counts, rule)))(rules)
    for run in range(3):
        alone = step_factors(counts, jax.tree.map(lambda leaf, run=run: leaf[run], rules))
        for found, wanted in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(found[run], wanted, rtol=1e-6)


def test_weight_decay_stays_where_the_factor_comes_before_it() -> None:
    updates = updates_of(
        optax.chain(
            optax.scale_by_adam(),
            scale_by_density(StepRule(1.0, by_layer=True)),
            optax.add_decayed_weights(0.5),
            optax.scale(-0.1),
        )
    )
    np.testing.assert_allclose(updates["first"]["weight"][0, 0], -0.1 * (10.0 + 0.5), rtol=1e-4)


@pytest.mark.parametrize("optimizer", [optax.rmsprop(0.01), optax.adam(0.01), optax.sgd(0.01)])
def test_sparsify_takes_steps_by_density(optimizer: optax.GradientTransformation) -> None:
    params = {"w": jnp.ones((10, 10)), "b": jnp.zeros(10)}
    updates = {}
    for steps in ("flat", "density", StepRule(1.0)):
        masked, wrapped = sparsify(params, optimizer, 0.9, key=jax.random.key(0), steps=steps)
        gradient = jax.tree.map(jnp.ones_like, params)
        updates[steps] = wrapped.update(gradient, wrapped.init(masked), masked)[0]
    active = updates["flat"]["w"] != 0
    for steps, factor in (("density", 0.1**-0.77), (StepRule(1.0), 10.0)):
        for name in params:
            np.testing.assert_allclose(
                updates[steps][name], factor * updates["flat"][name], rtol=1e-5
            )
    assert active.sum() == 10


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match=r"inside mast\.sparsity\.sparse"):
        scale_by_density().update(GRADIENT, optax.EmptyState())
    with pytest.raises(ValueError, match="'flat', 'density' or a StepRule"):
        sparsify(PARAMS, optax.sgd(0.1), 0.5, key=jax.random.key(0), steps="sparse")
