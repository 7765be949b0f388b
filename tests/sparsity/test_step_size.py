"""Steps that fit the density: the factor by hand, and where in an optimizer it acts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mast.sparsity import density_factor, scale_by_density, sparse, sparsify

PARAMS = {
    "first": {"weight": jnp.ones((4, 5)), "bias": jnp.ones(4)},
    "second": {"weight": jnp.ones((2, 4)), "bias": jnp.ones(2)},
}
MASKS = {
    "first.weight": jnp.arange(20).reshape(4, 5) < 2,
    "second.weight": jnp.ones((2, 4), bool),
}
"""10 of 28 weights."""
GRADIENT = jax.tree.map(jnp.ones_like, PARAMS)


def updates_of(optimizer: optax.GradientTransformation) -> Any:
    whole = sparse(optimizer, MASKS)
    return whole.update(GRADIENT, whole.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize(
    ("exponent", "cap", "factor"),
    [(1.0, 50.0, 2.8), (0.5, 50.0, 2.8**0.5), (1.0, 2.0, 2.0), (0.0, 9.0, 1.0)],
)
def test_every_update_is_multiplied_by_the_factor(
    exponent: float, cap: float, factor: float
) -> None:
    updates = updates_of(optax.chain(optax.sgd(0.1), scale_by_density(exponent, cap)))
    np.testing.assert_array_equal(updates["first"]["weight"][~MASKS["first.weight"]], 0)
    for moved in (updates["first"]["weight"][0, :2], updates["second"]["weight"]):
        np.testing.assert_allclose(moved, -0.1 * factor, rtol=1e-6)
    for layer in updates.values():
        np.testing.assert_allclose(layer["bias"], -0.1 * factor, rtol=1e-6)


def test_annealed_steps_lie_on_the_line_to_the_final_one() -> None:
    for annealed, factor in ((0.0, 2.8), (0.5, 1.9), (1.0, 1.0)):
        steps = scale_by_density(1.0, annealed=annealed)
        updates = updates_of(optax.chain(optax.sgd(0.1), steps))
        np.testing.assert_allclose(updates["second"]["weight"], -0.1 * factor, rtol=1e-6)
    assert float(density_factor(0.5, 1.0, annealed=0.75, final=0.4)) == pytest.approx(0.8)


@pytest.mark.parametrize("annealed", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("exponent", [0.0, 0.77, 2.0])
def test_a_dense_network_keeps_its_steps_to_the_bit(exponent: float, annealed: float) -> None:
    assert float(jax.jit(density_factor)(1.0, exponent, annealed=annealed)) == 1.0
    assert float(density_factor(0.05, 0.0)) == 1.0


def test_the_default_is_ten_times_the_rate_at_95_percent() -> None:
    assert float(density_factor(0.05)) == pytest.approx(10.04, abs=0.01)


def test_weight_decay_stays_where_the_factor_comes_before_it() -> None:
    adamw = (optax.add_decayed_weights(0.5), optax.scale(-0.1))
    updates = updates_of(optax.chain(optax.scale_by_adam(), scale_by_density(1.0), *adamw))
    np.testing.assert_allclose(updates["second"]["weight"], -0.1 * (2.8 + 0.5), rtol=1e-4)


@pytest.mark.parametrize("optimizer", [optax.rmsprop(0.01), optax.adam(0.01), optax.sgd(0.01)])
def test_sparsify_takes_steps_by_density(optimizer: optax.GradientTransformation) -> None:
    params = {"w": jnp.ones((10, 10)), "b": jnp.zeros(10)}
    gradient = jax.tree.map(jnp.ones_like, params)
    updates = {}
    for steps in ("flat", "density"):
        masked, wrapped = sparsify(params, optimizer, 0.9, key=jax.random.key(0), steps=steps)
        updates[steps] = wrapped.update(gradient, wrapped.init(masked), masked)[0]
    assert (updates["flat"]["w"] != 0).sum() == 10
    for name in params:
        expected = 0.1**-0.77 * updates["flat"][name]
        np.testing.assert_allclose(updates["density"][name], expected, rtol=1e-5)


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match=r"inside mast\.sparsity\.sparse"):
        scale_by_density().update(GRADIENT, optax.EmptyState())
    with pytest.raises(ValueError, match="'flat' or 'density'"):
        sparsify(PARAMS, optax.sgd(0.1), 0.5, key=jax.random.key(0), steps="sparse")
