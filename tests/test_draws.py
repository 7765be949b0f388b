"""Arrays drawn together are bit for bit those that JAX draws one by one."""

import jax
import numpy as np
import pytest

from mast import draws

SIZES = [1, 2, 7, 300, 1625, 1626, 5000]


@pytest.fixture(params=["typed", "raw", "rbg"])
def keys(request: pytest.FixtureRequest) -> jax.Array:
    if request.param == "raw":
        return jax.random.split(jax.random.PRNGKey(3), len(SIZES))
    impl = {"typed": "threefry2x32", "rbg": "rbg"}[request.param]
    return jax.random.split(jax.random.key(3, impl=impl), len(SIZES))


def test_uniform_numbers(keys: jax.Array) -> None:
    bounds = 1 / np.arange(1, len(SIZES) + 1, dtype=np.float32)
    found = jax.jit(lambda keys: draws.uniforms(keys, SIZES, bounds))(keys)
    for key, size, bound, drawn in zip(keys, SIZES, bounds, found, strict=True):
        alone = jax.random.uniform(key, (size,), minval=-bound, maxval=bound)
        np.testing.assert_array_equal(drawn, alone)


def test_permutations(keys: jax.Array) -> None:
    found = jax.jit(lambda keys: draws.permutations(keys, SIZES))(keys)
    for key, size, drawn in zip(keys, SIZES, found, strict=True):
        np.testing.assert_array_equal(drawn, jax.random.permutation(key, size))


def test_large_arrays_are_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "LARGEST", 300)
    keys = jax.random.split(jax.random.key(4), len(SIZES))
    lengths = [each.shape for each in draws.permutations(keys, SIZES)]
    assert lengths == [(size,) for size in SIZES]
    test_permutations(keys)
    test_uniform_numbers(keys)


def test_several_runs_in_one_vmap() -> None:
    runs = jax.random.split(jax.random.key(5), 3)

    def of_run(key: jax.Array) -> list[jax.Array]:
        return draws.permutations(jax.random.split(key, 2), [20, 2000])

    for run, found in zip(runs, zip(*jax.vmap(of_run)(runs), strict=True), strict=True):
        for each, alone in zip(found, of_run(run), strict=True):
            np.testing.assert_array_equal(each, alone)


def test_nothing_to_draw() -> None:
    assert draws.permutations(jax.random.split(jax.random.key(0), 0), []) == []
