import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.kernels import from_dense


@settings(max_examples=6, deadline=None, derandomize=True)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 99))
def test_to_dense_inverts_from_dense(rows: int, columns: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((rows, columns)) < 0.4
    weight = np.where(mask, generator.normal(size=mask.shape), 0).astype("float32")
    matrix = from_dense(jnp.asarray(weight), jnp.asarray(mask))
    assert matrix.values.shape == (mask.sum(),)
    assert matrix.shape == (rows, columns)
    np.testing.assert_array_equal(matrix.to_dense(), weight)
    np.testing.assert_array_equal(matrix.rows(), np.nonzero(mask)[0])
    np.testing.assert_array_equal(matrix.columns, np.nonzero(mask)[1])
    np.testing.assert_array_equal(matrix.gather(jnp.asarray(weight)), matrix.values)
    assert matrix.density == mask.mean()


def test_conversion_under_jit_is_that_on_the_host() -> None:
    generator = np.random.default_rng(0)
    mask = jnp.asarray(generator.permutation(48).reshape(6, 8) < 15)
    weight = jnp.asarray(generator.normal(size=(6, 8)), jnp.float32)
    on_host = from_dense(weight, mask)
    on_device = jax.jit(lambda w, m: from_dense(w, m, active=15))(weight, mask)
    for a, b in zip(jax.tree.leaves(on_host), jax.tree.leaves(on_device), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
