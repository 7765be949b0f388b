import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import networks_by_definition as golden
from mast.networks.gru import Gates, gru_sequence, gru_step, split_gates
from mast.networks.linear import Linear, torch_layers, torch_linear
from mast.networks.spec import GRU, Sizes, recurrent_agent_spec

INPUTS, HIDDEN, TIME, ROWS = 3, 4, 6, 2

gru_step_jitted = jax.jit(gru_step)
gru_sequence_jitted = jax.jit(gru_sequence)


@pytest.fixture(scope="module")
def layers() -> tuple[Linear, Linear]:
    """The input's and the recurrent matrix of a GRU, larger than at initialisation."""
    keys = jax.random.split(jax.random.key(0))
    gru_input = torch_linear(keys[0], INPUTS, 3 * HIDDEN, fan_in=1)
    return gru_input, torch_linear(keys[1], HIDDEN, 3 * HIDDEN, fan_in=1)


@jax.jit
def gates_of(gru_input: Linear, x: jax.Array) -> Gates:
    reset, update, new = (gate(x) for gate in split_gates(gru_input))
    return reset, update, new


def inputs(seed: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(TIME, ROWS, INPUTS)), jnp.float32)
    return x, jnp.asarray(rng.uniform(-1, 1, size=(ROWS, HIDDEN)), jnp.float32)


def scanned(hidden_layer: Linear, gates: Gates, initial: jax.Array) -> jax.Array:
    """What `gru_sequence` is, without its own backward pass."""

    def step(hidden: jax.Array, gate: Gates) -> tuple[jax.Array, jax.Array]:
        hidden = gru_step(hidden_layer, gate, hidden)
        return hidden, hidden

    return jax.lax.scan(step, initial, gates)[1]


def test_linear_is_the_affine_map_over_any_leading_axes() -> None:
    layer = torch_linear(jax.random.key(1), 3, 2)
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    y = layer(jnp.asarray(x))
    assert y.shape == (5, 4, 2)
    expected = [[golden.linear(layer, row) for row in rows] for rows in x]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(jnp.asarray(x[0, 0])), expected[0][0], rtol=1e-5, atol=1e-6)


def test_torch_layers_are_each_the_torch_linear_of_its_own_key() -> None:
    """Runs are repeated from their keys, so what a layer draws from must not change."""
    spec, key = recurrent_agent_spec(Sizes(5, 0, 3, 2, HIDDEN)), jax.random.key(3)
    found = jax.jit(lambda key: torch_layers(key, spec))(key)
    for layer, own in zip(spec.layers, jax.random.split(key, len(spec.layers)), strict=True):
        fan_in = layer.units if layer.group == GRU else layer.inputs
        alone = torch_linear(own, layer.inputs, layer.outputs, fan_in)
        np.testing.assert_array_equal(found[layer.name].weight, alone.weight)
        np.testing.assert_array_equal(found[layer.name].bias, alone.bias)


@pytest.mark.parametrize(("fan_in", "bound"), [(None, 1 / 5), (100, 1 / 10)])
def test_torch_linear_fills_the_range_of_its_fan_in(fan_in: int | None, bound: float) -> None:
    layer = torch_linear(jax.random.key(2), 25, 400, fan_in=fan_in)
    for leaf in (layer.weight, layer.bias):
        assert float(jnp.abs(leaf).max()) <= bound
        assert float(leaf.max()) > 0.97 * bound
        assert float(leaf.min()) < -0.97 * bound
        assert abs(float(leaf.mean())) < 0.1 * bound
    assert not np.intersect1d(layer.weight, layer.bias).size


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_gru_step_is_torchs_definition(layers: tuple[Linear, Linear], seed: int) -> None:
    gru_input, gru_hidden = layers
    x, hidden = inputs(seed)
    after = gru_step_jitted(gru_hidden, gates_of(gru_input, x[0]), hidden)
    for row in range(ROWS):
        expected = golden.gru_step(
            gru_input, gru_hidden, np.float64(x[0, row]), np.float64(hidden[row])
        )
        np.testing.assert_allclose(after[row], expected, rtol=1e-5, atol=1e-6)


def test_gru_sequence_is_one_step_after_the_other(layers: tuple[Linear, Linear]) -> None:
    gru_input, gru_hidden = layers
    x, initial = inputs(3)
    states = gru_sequence_jitted(gru_hidden, gates_of(gru_input, x), initial)
    assert states.shape == (TIME, ROWS, HIDDEN)
    for row in range(ROWS):
        hidden = np.float64(initial[row])
        for t in range(TIME):
            hidden = golden.gru_step(gru_input, gru_hidden, np.float64(x[t, row]), hidden)
            np.testing.assert_allclose(states[t, row], hidden, rtol=1e-5, atol=2e-6)


def test_forward_under_differentiation_is_the_same(layers: tuple[Linear, Linear]) -> None:
    """A custom backward pass has a second forward pass, which could differ."""
    gru_input, gru_hidden = layers
    x, initial = inputs(4)
    gates = gates_of(gru_input, x)
    plain = gru_sequence_jitted(gru_hidden, gates, initial)
    differentiated = jax.jit(lambda *args: jax.vjp(gru_sequence, *args)[0])(
        gru_hidden, gates, initial
    )
    np.testing.assert_allclose(differentiated, plain, rtol=1e-6, atol=1e-7)


def test_backward_pass_is_the_automatic_one(layers: tuple[Linear, Linear]) -> None:
    gru_input, gru_hidden = layers

    @jax.jit
    def both(cotangent: jax.Array, x: jax.Array, initial: jax.Array) -> tuple:
        gates = gates_of(gru_input, x)
        own = jax.vjp(gru_sequence, gru_hidden, gates, initial)[1](cotangent)
        automatic = jax.vjp(scanned, gru_hidden, gates, initial)[1](cotangent)
        return own, automatic

    for seed in range(5):
        x, initial = inputs(seed)
        cotangent = np.random.default_rng(seed + 100).normal(size=(TIME, ROWS, HIDDEN))
        own, automatic = both(jnp.asarray(cotangent, jnp.float32), x, initial)
        for ours, theirs in zip(
            jax.tree.leaves(own[:2]), jax.tree.leaves(automatic[:2]), strict=True
        ):
            assert float(jnp.abs(theirs).max()) > 0.1
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(own[2], 0)  # by contract nothing flows to the initial state


def test_split_gates_are_thirds_in_torchs_order() -> None:
    layer = Linear(jnp.arange(12.0).reshape(6, 2), jnp.arange(6.0))
    reset, update, new = split_gates(layer)
    np.testing.assert_array_equal(reset.weight, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(update.weight, [[4, 5], [6, 7]])
    np.testing.assert_array_equal(new.weight, [[8, 9], [10, 11]])
    np.testing.assert_array_equal(new.bias, [4, 5])
