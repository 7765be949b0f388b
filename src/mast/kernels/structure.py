"""Sparse matrices of constant size: the active values, and where they are."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


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

    def to_dense(self) -> Float[np.ndarray, "rows columns"]:
        """The matrix with its zeros."""
        parts = (self.row_pointers, self.columns, self.values)
        return scattered(self.shape, *map(np.asarray, parts))


def scattered(
    shape: tuple[int, int],
    row_pointers: Int[np.ndarray, " rows_and_one"],
    columns: Int[np.ndarray, " active"],
    values: Shaped[np.ndarray, " active"] | bool,
) -> Shaped[np.ndarray, "rows columns"]:
    """A dense array with values at the active places of a `SparseMatrix`, or True; 0 elsewhere."""
    dense = np.zeros(shape, np.result_type(values))
    dense[np.repeat(np.arange(shape[0]), np.diff(row_pointers)), columns] = values
    return dense


def from_dense(weight: Float[Any, "rows columns"], mask: Bool[Any, "rows columns"]) -> SparseMatrix:
    """The active entries of a dense matrix.

    On the host, as the way back: JAX would compile two dozen programs for every new shape.
    """
    weight, mask = np.asarray(weight), np.asarray(mask)
    rows, columns = np.nonzero(mask)
    return SparseMatrix(
        values=weight[rows, columns],
        row_pointers=np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int32),
        columns=columns.astype(np.int32),
        shape=weight.shape,
    )
