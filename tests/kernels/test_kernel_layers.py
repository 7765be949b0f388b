import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.cases import (
    INSTRUCTION_SETS,
    REFUSED,
    TOLERANCE,
    distance,
    instruction_set,
    needs_kernels,
    places,
    random_mask,
)
from mast.kernels import SparseMatrix, apply_layers, apply_linear, from_dense
from mast.kernels.networks import SparseFeedForwardMixer, SparseLinear

pytestmark = needs_kernels


def layer_and_rows(
    rows: int, inputs: int, outputs: int, density: float, seed: int
) -> tuple[SparseLinear, Any, Any]:
    generator = np.random.default_rng(seed)
    mask = random_mask(generator, (outputs, inputs), density)
    weight = generator.normal(size=mask.shape).astype(np.float32)
    bias = jnp.asarray(generator.normal(size=outputs).astype(np.float32))
    x, factor = generator.normal(size=(rows, inputs)), generator.normal(size=(rows, outputs))
    return (
        SparseLinear(from_dense(jnp.asarray(weight), jnp.asarray(mask)), bias),
        jnp.asarray(x.astype(np.float32)),
        jnp.asarray(factor.astype(np.float32)),
    )


def results(layer: SparseLinear, x: Any, factor: Any, threads: int = 1) -> Any:
    def loss(both: Any) -> Any:
        y = apply_linear(*both, threads=threads)
        return (factor * y).sum(), y

    compute = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, y), gradient = compute((layer, x))
    return y, gradient


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 300),
    inputs=st.integers(1, 130),
    outputs=st.integers(1, 130),
    density=st.sampled_from([0.005, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
@example(rows=1, inputs=1, outputs=1, density=1.0, seed=0)
@example(rows=97, inputs=1024, outputs=1024, density=0.005, seed=0)
@example(rows=16, inputs=16, outputs=16, density=1.0, seed=0)
def test_every_instruction_set_agrees_with_float64(
    rows: int, inputs: int, outputs: int, density: float, seed: int
) -> None:
    layer, x, factor = layer_and_rows(rows, inputs, outputs, density, seed)
    where = places(layer.weight)
    weight = np.zeros(layer.weight.shape)
    weight[where] = layer.weight.values
    x64, factor64 = np.asarray(x, np.float64), np.asarray(factor, np.float64)
    for name in INSTRUCTION_SETS:
        with instruction_set(name):
            y, (d_layer, d_x) = results(layer, x, factor)
        assert distance(y, x64 @ weight.T + np.asarray(layer.bias, np.float64)) < TOLERANCE
        assert distance(d_x, factor64 @ weight) < TOLERANCE
        assert distance(d_layer.weight.values, (factor64.T @ x64)[where]) < TOLERANCE
        assert distance(d_layer.bias, factor64.sum(0)) < TOLERANCE


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    times=st.integers(1, 9),
    episodes=st.integers(1, 40),
    widths=st.lists(st.integers(1, 70), min_size=3, max_size=4),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
@example(times=1, episodes=1, widths=[1, 1, 1], density=1.0, seed=0)
@example(times=9, episodes=32, widths=[75, 256, 256, 1], density=0.05, seed=0)
def test_several_layers_agree_with_float64_and_only_up_to_each_episodes_end(
    times: int, episodes: int, widths: list[int], density: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    layers = [layer_and_rows(1, inputs, outputs, density, seed)[0] for inputs, outputs in pairs]
    names = SparseFeedForwardMixer.NAMES[: len(layers)]
    rest = [layer_and_rows(1, 1, 1, 1.0, seed)[0]] * (6 - len(layers))
    packed = SparseFeedForwardMixer.pack(
        dict(zip(SparseFeedForwardMixer.NAMES, [*layers, *rest], strict=True))
    )
    rows = generator.integers(0, times + 1, episodes).astype(np.int32)
    x = generator.normal(size=(times, episodes, widths[0])).astype(np.float32)
    visited = (np.arange(times)[:, None] < rows)[..., None]
    factor = (generator.normal(size=(times, episodes, widths[-1])) * visited).astype(np.float32)

    def loss(network: Any, x: Any) -> Any:
        y = apply_layers(network.part(*names), x, jnp.asarray(rows))
        return (factor * y).sum(), y

    def reference_loss(weights: Any, x: Any) -> Any:
        y = x
        for number, (weight, bias) in enumerate(weights):
            y = y @ weight.T + bias
            y = jax.nn.relu(y) if number + 1 < len(weights) else y
        return (factor * y).sum(), y * visited

    with jax.enable_x64(True):
        dense = [
            (np.asarray(each.weight.to_dense(), np.float64), np.asarray(each.bias, np.float64))
            for each in layers
        ]
        (_, y), (d_dense, d_x) = jax.value_and_grad(reference_loss, (0, 1), has_aux=True)(
            dense, x.astype(np.float64)
        )
    for name in INSTRUCTION_SETS:
        with instruction_set(name):
            compute = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
            (_, found), gradient = compute(packed, jnp.asarray(x))
            found_d_x = jax.jit(jax.grad(lambda x: loss(packed, x)[0]))(jnp.asarray(x))
        assert distance(found, y) < TOLERANCE
        assert distance(found_d_x, d_x) < TOLERANCE
        found_layers = eqx.combine(gradient, packed).layers()
        for layer, (d_weight, d_bias) in zip(names, d_dense, strict=True):
            where = places(found_layers[layer].weight)
            assert distance(found_layers[layer].weight.values, d_weight[where]) < TOLERANCE
            assert distance(found_layers[layer].bias, d_bias) < TOLERANCE


def test_layers_that_do_not_fit_each_other_are_refused() -> None:
    layers = [layer_and_rows(1, inputs, 5, 0.5, 0)[0] for inputs in (7, 5, 6, 5, 5, 5)]
    names = SparseFeedForwardMixer.NAMES
    network = SparseFeedForwardMixer.pack(dict(zip(names, layers, strict=True)))
    x, rows = jnp.ones((2, 3, 7)), jnp.full(3, 2)
    jax.block_until_ready(apply_layers(network.part(*names[:2]), x, rows))
    with pytest.raises(REFUSED, match="layer 3 is"):
        jax.block_until_ready(apply_layers(network.part(*names[:3]), x, rows))


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_results_do_not_depend_on_the_number_of_threads(name: str) -> None:
    case = layer_and_rows(999, 40, 30, 0.2, 0)
    with instruction_set(name):
        one, two = results(*case, threads=1), results(*case, threads=2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    layer, x, _ = layer_and_rows(50, 20, 10, 0.3, 0)
    together = apply_linear(layer, x)
    for rows in (slice(0, 1), slice(7, 40)):
        np.testing.assert_array_equal(apply_linear(layer, x[rows]), together[rows])


def test_a_traced_structure_is_checked_when_it_runs() -> None:
    layer, x, _ = layer_and_rows(5, 20, 10, 0.3, 0)

    @jax.jit
    def shifted(x: Any, by: Any) -> Any:
        weight = layer.weight
        matrix = SparseMatrix(weight.values, weight.row_pointers, weight.columns + by, weight.shape)
        return apply_linear(SparseLinear(matrix, layer.bias), x)

    jax.block_until_ready(shifted(x, 0))
    with pytest.raises(REFUSED, match="column index"):
        jax.block_until_ready(shifted(x, 15))
