"""Sparse matrices of constant size: the active values, and where they are."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class SparseMatrix(eqx.Module):
    """A matrix as compressed sparse rows. The number of values is a shape, what they are and where is data.

    A kernel that is given an impossible structure (an index out of range, row pointers that fall or do not
    end at the number of values) refuses with an error; nothing is read beyond.
    """

    values: Float[Any, " active"]
    row_pointers: Int[Any, " rows_and_one"]
    """Row r's values are those from row_pointers[r] to row_pointers[r + 1]."""
    columns: Int[Any, " active"]
    shape: tuple[int, int] = eqx.field(static=True)
    """Rows (outputs) and columns (inputs)."""

    @property
    def density(self) -> float:
        """Share of the entries that are active."""
        return self.values.shape[0] / (self.shape[0] * self.shape[1])

    def rows(self) -> Int[Array, " active"]:
        """The row of every value."""
        counts = jnp.diff(self.row_pointers)
        return jnp.repeat(
            jnp.arange(self.shape[0], dtype=jnp.int32),
            counts,
            total_repeat_length=self.values.shape[0],
        )

    def gather(self, dense: Float[Array, "rows columns"]) -> Float[Array, " active"]:
        """The entries of a dense array of this shape at the active places, in the order of `values`."""
        return dense[self.rows(), self.columns]

    def scatter(self, values: Float[Array, " active"]) -> Float[Array, "rows columns"]:
        """The inverse of `gather`; 0 at inactive places."""
        return jnp.zeros(self.shape, values.dtype).at[self.rows(), self.columns].set(values)

    def to_dense(self) -> Float[Array, "rows columns"]:
        """The matrix with its zeros."""
        return self.scatter(jnp.asarray(self.values))


def from_dense(
    weight: Float[Any, "rows columns"], mask: Bool[Any, "rows columns"], active: int | None = None
) -> SparseMatrix:
    """The active entries of a dense matrix.

    Args:
      weight: values.
      mask: which of them are active.
      active: how many that are; must be given where `mask` is traced (under jit), where every matrix of
        one layer has as many.
    """
    rows, columns = weight.shape
    xp: Any
    places: Any
    if active is None:  # on the host: JAX would compile two dozen programs for every new shape
        xp, weight, mask = np, np.asarray(weight), np.asarray(mask)
        places = np.flatnonzero(mask)
    else:
        xp, places = jnp, jnp.nonzero(jnp.ravel(mask), size=active)[0]
    row_pointers = xp.concatenate([xp.zeros(1, xp.int32), xp.cumsum(xp.sum(mask, axis=1))])
    return SparseMatrix(
        values=jnp.asarray(xp.ravel(weight)[places]),
        row_pointers=jnp.asarray(row_pointers.astype(xp.int32)),
        columns=jnp.asarray((places % columns).astype(xp.int32)),
        shape=(rows, columns),
    )
