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
    np.testing.assert_array_equal(matrix.columns, np.nonzero(mask)[1])
    np.testing.assert_array_equal(weight[mask], matrix.values)
    assert matrix.density == mask.mean()
