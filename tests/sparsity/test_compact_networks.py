"""Compact networks: the numbers of masked ones, forward, backward and through evolutions."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kernels.cases import INSTRUCTION_SETS, needs_kernels
from mast.kernels.matrices import product, structure_of
from mast.sparsity import (
    CompactMatrix,
    compact,
    compact_state,
    density,
    every,
    masked,
    masked_state,
    sparsify,
)
from mast.sparsity.compact_matrix import has_compact

CLOSE = 1e-5
KEY = jax.random.key(0)


def _error(found: Any, exact: np.ndarray) -> float:
    found = np.asarray(found, np.float64)
    return float(np.linalg.norm(found - exact) / max(np.linalg.norm(exact), 1e-30))


def _matrix(rows: int, columns: int, share: float, batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(rows + columns + batch)
    mask = rng.random((rows, columns)) < share
    weight = rng.normal(size=(rows, columns)) * mask
    x, d_y = rng.normal(size=(batch, columns)), rng.normal(size=(batch, rows))
    return {"mask": mask, "weight": weight, "x": x, "d_y": d_y}


SHAPES = [(130, 300, 0.05), (3, 13, 0.4), (33, 5, 0.5), (64, 128, 0.0), (17, 40, 1.0)]
BATCHES = (0, 1, 2, 3, 4, 7, 33, 200)


@needs_kernels
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_gradients_are_those_of_float64(
    name: str, shape: tuple[int, int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAST_KERNELS", name)
    jax.clear_caches()  # a program keeps the library that it was lowered with
    for batch in BATCHES:
        of = _matrix(*shape, batch)
        structure = structure_of(of["mask"])
        values, x, d_y = (
            jnp.asarray(each, jnp.float32)
            for each in (of["weight"][of["mask"]], of["x"], of["d_y"])
        )
        for threads in (1, 3):
            applied = partial(product, structure=structure, threads=threads)
            y, back = jax.vjp(applied, x, values)
            d_x, d_values = back(d_y)
            assert _error(y, of["x"] @ of["weight"].T) < CLOSE
            assert _error(d_x, of["d_y"] @ of["weight"]) < CLOSE
            assert _error(d_values, (of["d_y"].T @ of["x"])[of["mask"]]) < CLOSE
            if threads == 1:
                alone = y, d_x, d_values
            else:
                for one, other in zip(alone, (y, d_x, d_values), strict=True):
                    np.testing.assert_array_equal(one, other)
    jax.clear_caches()


@needs_kernels
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_a_row_with_an_infinite_weight_spoils_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAST_KERNELS", name)
    jax.clear_caches()
    of = _matrix(30, 50, 0.2, 1)
    of["weight"][7][of["mask"][7]] = np.inf
    values, x = (jnp.asarray(each, jnp.float32) for each in (of["weight"][of["mask"]], of["x"]))
    y = np.asarray(product(x, values, structure_of(of["mask"])))[0]
    others = np.arange(30) != 7
    assert not np.isfinite(y[7])
    assert _error(y[others], of["weight"][others] @ of["x"][0]) < CLOSE
    jax.clear_caches()


@needs_kernels
def test_a_gradient_of_a_vmap_is_one_call_over_all_rows() -> None:
    of = _matrix(20, 30, 0.2, 9)
    structure = structure_of(of["mask"])
    values, x = (jnp.asarray(each, jnp.float32) for each in (of["weight"][of["mask"]], of["x"]))

    def loss(values: Any) -> Any:
        each = jax.vmap(lambda row: product(row[None], values, structure)[0])(x)
        return jnp.sum(each**2)

    text = str(jax.make_jaxpr(jax.grad(loss))(values))
    assert text.count("mast_matrix_gradient") == 1
    assert "scan" not in text
    exact = (2 * (of["x"] @ of["weight"].T).T @ of["x"])[of["mask"]]
    assert _error(jax.grad(loss)(values), exact) < CLOSE


@needs_kernels
def test_per_example_gradients_second_derivatives_and_batched_values() -> None:
    of = _matrix(6, 8, 0.4, 4)
    structure = structure_of(of["mask"])
    values, x, d_y = (
        jnp.asarray(each, jnp.float32) for each in (of["weight"][of["mask"]], of["x"], of["d_y"])
    )

    def loss(values: Any, row: Any, d: Any) -> Any:
        return jnp.sum(jnp.tanh(product(row[None], values, structure)[0]) * d)

    def dense_loss(values: Any, row: Any, d: Any) -> Any:
        weight = jnp.zeros(of["mask"].shape).at[of["mask"].nonzero()].set(values)
        return jnp.sum(jnp.tanh(weight @ row) * d)

    for derivative in (jax.grad, jax.hessian):
        each = jax.vmap(derivative(loss), (None, 0, 0))(values, x, d_y)
        exact = jax.vmap(derivative(dense_loss), (None, 0, 0))(values, x, d_y)
        assert each.shape == exact.shape
        assert _error(each, np.asarray(exact, np.float64)) < CLOSE
    several = jnp.stack([values, 2 * values])
    doubled = jax.vmap(lambda v: product(x, v, structure))(several)
    assert _error(doubled[1], 2 * of["x"] @ of["weight"].T) < CLOSE


def test_without_kernels_and_in_other_types_the_dense_matrix_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAST_KERNELS", "off")
    jax.clear_caches()
    of = _matrix(6, 8, 0.4, 4)
    structure = structure_of(of["mask"])
    for kind, close in ((jnp.float32, CLOSE), (jnp.bfloat16, 0.03)):
        values, x = (jnp.asarray(each, kind) for each in (of["weight"][of["mask"]], of["x"]))
        y, back = jax.vjp(lambda x, v: product(x, v, structure), x, values)
        assert y.dtype == kind
        assert _error(y, of["x"] @ of["weight"].T) < close
        assert _error(back(y)[0], of["x"] @ of["weight"].T @ of["weight"]) < close
    jax.clear_caches()


@needs_kernels
@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_compact_matrix_is_used_like_the_array(is_transposed: bool) -> None:
    of = _matrix(12, 10, 0.3, 5)
    weight, mask = (each.T if is_transposed else each for each in (of["weight"], of["mask"]))
    dense = jnp.asarray(weight, jnp.float32)
    matrix = compact({"w": dense}, {"w": mask}, densest=1.0)["w"]
    if not isinstance(matrix, CompactMatrix):
        pytest.fail("it stayed dense")
    x = jnp.asarray(of["x"], jnp.float32)
    right = x if matrix.shape[0] == 10 else jnp.asarray(of["d_y"], jnp.float32)
    left = x if matrix.shape[1] == 10 else jnp.asarray(of["d_y"], jnp.float32)
    np.testing.assert_allclose(right @ matrix, right @ dense, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(left @ matrix.T, left @ dense.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(matrix @ left.T, dense @ left.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(matrix @ left[0], dense @ left[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(right) @ matrix, right @ dense, rtol=1e-5, atol=1e-5)
    stacked = jnp.stack([right, 2 * right])
    np.testing.assert_allclose(stacked @ matrix, stacked @ dense, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(masked({"w": matrix})["w"], dense)
    np.testing.assert_array_equal(matrix.mask(), mask)
    assert (matrix.ndim, matrix.size, matrix.dtype) == (2, 120, jnp.float32)
    with pytest.raises(TypeError, match="do not fit"):
        right[:, :3] @ matrix
    with pytest.raises(TypeError, match="no parts"):
        matrix[0]


# --- networks ---


class Recurrent(eqx.Module):
    """A GRU cell along a sequence, and a layer upon it."""

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        self.cell = eqx.nn.GRUCell(20, 24, key=key)
        self.head = eqx.nn.Linear(24, 30, key=key)

    def __call__(self, x: Any) -> Any:
        state = jnp.zeros(24)
        states = [state := self.cell(row, state) for row in x.reshape(3, 20)]
        return self.head(states[-1])


def _dictionary(key: Any) -> dict[str, Any]:
    keys = jax.random.split(key)
    return {
        "one": {"kernel": jax.random.normal(keys[0], (60, 40)) / 8, "bias": jnp.zeros(40)},
        "two": {"kernel": jax.random.normal(keys[1], (40, 30)) / 6},
    }


def _apply_dictionary(params: Any, x: Any) -> Any:
    hidden = jax.nn.relu(x @ params["one"]["kernel"] + params["one"]["bias"])
    return hidden @ params["two"]["kernel"]


def _apply_each(model: Any, x: Any) -> Any:
    return jax.vmap(model)(x)


def _flax(key: Any) -> Any:
    nnx = pytest.importorskip("flax.nnx")

    class Flax(nnx.Module):  # type: ignore[name-defined, misc]
        def __init__(self, rngs: Any) -> None:
            self.one = nnx.Linear(60, 40, rngs=rngs)
            self.two = nnx.Linear(40, 30, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.two(nnx.relu(self.one(x)))

    return Flax(nnx.Rngs(0))


NETWORKS = {
    "equinox": (lambda key: eqx.nn.MLP(60, 30, 40, 2, key=key), _apply_each),
    "gru": (Recurrent, _apply_each),
    "dictionary": (_dictionary, _apply_dictionary),
    "flax": (_flax, lambda model, x: model(x)),
}


@needs_kernels
@pytest.mark.parametrize(
    ("name", "pattern"),
    [(name, "unstructured") for name in NETWORKS] + [("equinox", "fan-in"), ("dictionary", "n:8")],
)
def test_a_compact_network_trains_and_evolves_as_the_masked_one(name: str, pattern: str) -> None:
    make, apply = NETWORKS[name]
    key = jax.random.key(2)
    x = jax.random.normal(key, (16, 60))
    y = jnp.sin(jax.random.normal(key, (16, 30)))
    inner = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
    model, optimizer = sparsify(make(key), inner, 0.85, key=key, pattern=pattern, steps="density")

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient_of(model: Any) -> Any:
        return jnp.mean((apply(model, x) - y) ** 2)

    @eqx.filter_jit
    def step_of(model: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state

    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    small = compact(model, state.masks, densest=1.0)
    assert has_compact(small)
    small_state = optimizer.init(small)
    active = sum(int(mask.sum()) for mask in state.masks.values())
    values = [each for each in jax.tree.leaves(small, is_leaf=_is) if _is(each)]
    assert sum(each.values.size for each in values) == active
    evolve = every(3, optimizer.evolve)
    for step in range(7):
        gradient = gradient_of(model)
        model, state = step_of(model, state, gradient)
        model, state, _ = evolve(model, state, gradient, step=step, total=9, key=key)
        old = masked(small)
        small, small_state = step_of(small, small_state, gradient_of(small))
        small, small_state, done = evolve(
            small, small_state, lambda _, old=old: gradient_of(old), step=step, total=9, key=key
        )
        assert (done is not None) == (step % 3 == 2)
        for path, mask in state.masks.items():
            np.testing.assert_array_equal(mask, small_state.masks[path])
    _assert_same(masked(small), model)
    _assert_same(masked_state(optimizer, small_state, small).inner, state.inner)
    _assert_same(compact_state(optimizer, state, small).inner, small_state.inner)
    assert float(density(small_state)) == float(density(state))


def _is(node: Any) -> bool:
    return isinstance(node, CompactMatrix)


def _assert_same(found: Any, expected: Any) -> None:
    found, expected = (eqx.filter(each, eqx.is_inexact_array) for each in (found, expected))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@needs_kernels
def test_a_layer_of_flax_has_its_own_functions_again_and_keeps_its_type() -> None:
    nnx = pytest.importorskip("flax.nnx")
    small, x = {"kernel": np.eye(8)}, jnp.ones((2, 8))
    layer = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    functions = layer.promote_dtype, layer.dot_general
    for _ in range(2):
        layer_small = compact(compact(layer, small), small)
        assert has_compact(layer_small)
        layer = masked(layer_small)
    assert (layer.promote_dtype, layer.dot_general) == functions
    np.testing.assert_allclose(layer_small(x), layer(x), rtol=1e-6)
    half = nnx.Linear(8, 8, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="computes in bfloat16: compact layers of Flax compute"):
        compact(half, small)
    assert compact(half, {"kernel": np.tri(8)})(x).dtype == jnp.bfloat16  # it stays dense


@needs_kernels
def test_dense_layers_convolutions_and_other_types_stay_arrays() -> None:
    params = {"a": jnp.ones((8, 8)), "b": jnp.ones((8, 8)), "c": jnp.ones((4, 2, 2))}
    params["d"] = jnp.ones((8, 8), jnp.bfloat16)
    masks = {"a": np.eye(8), "b": np.tri(8), "c": np.ones((4, 2, 2)), "d": np.eye(8)}
    small = compact(params, masks)
    assert isinstance(small["a"], CompactMatrix)
    np.testing.assert_array_equal(small["b"], np.tri(8))
    assert small["c"].shape == (4, 2, 2)
    assert small["d"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(small["d"].astype(jnp.float32), np.eye(8))


@needs_kernels
def test_it_may_be_made_within_a_program_but_not_of_masks_that_are_not_known() -> None:
    weight, mask = jax.random.normal(KEY, (8, 8)), jnp.eye(8, dtype=bool)
    x = jnp.ones((2, 8))

    def loss(weight: Any) -> Any:
        return jnp.sum((x @ compact({"w": weight}, {"w": mask})["w"]) ** 2)

    exact = jax.grad(lambda weight: jnp.sum((x @ (weight * mask)) ** 2))(weight)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(weight), exact, rtol=1e-5)
    with pytest.raises(ValueError, match="the mask of w is traced: call compact outside of jit"):
        jax.jit(lambda mask: compact({"w": weight}, {"w": mask}))(mask)


@needs_kernels
def test_gradients_of_jax_itself_are_taken_too() -> None:
    params, optimizer = sparsify(_dictionary(KEY), optax.adam(1e-2), 0.9, key=KEY)
    small = compact(params, optimizer.init(params).masks)
    state, x = optimizer.init(small), jnp.ones((4, 60))

    def loss(params: Any) -> Any:
        return jnp.mean(_apply_dictionary(params, x) ** 2)

    found = []
    for gradient in (jax.grad(loss, allow_int=True)(small), eqx.filter_grad(loss)(small)):
        updates, _ = optimizer.update(gradient, state, small)
        found.append(masked(eqx.apply_updates(small, updates)))
    _assert_same(*found)
    moved = found[0]["one"]["kernel"] != params["one"]["kernel"]
    assert moved.any()


@needs_kernels
def test_what_a_compact_network_cannot_do_is_said() -> None:
    params, optimizer = sparsify(
        {"a": jnp.ones((8, 8))}, optax.sgd(0.1), 0.8, key=jax.random.key(0)
    )
    small = compact(params, optimizer.init(params).masks)
    state = optimizer.init(small)
    how = {"step": 0, "total": 1, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=r"evolve needs the dense gradient: take it of masked\("):
        optimizer.evolve(small, state, small, **how)
    with pytest.raises(ValueError, match="a compact network keeps its number of weights"):
        optimizer.evolve(small, state, params, **how, active={"a": 3})
    with pytest.raises(ValueError, match="masks name no leaf"):
        compact(params, {"z": np.ones((8, 8))})
    with pytest.raises(TypeError, match="is used in products only"):
        jnp.asarray(small["a"])


def test_without_a_compiler_the_network_stays_masked_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAST_KERNELS", "off")
    monkeypatch.setattr("mast.sparsity.compacting._said", set())
    for _ in range(2):
        same = compact({"a": jnp.ones((8, 8))}, {"a": np.eye(8)})
        np.testing.assert_array_equal(same["a"], np.eye(8))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["mast: the network stays masked, as fast as dense: MAST_KERNELS is off"]
