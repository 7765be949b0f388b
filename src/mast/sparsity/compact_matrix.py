"""A weight matrix of which only the active entries are there, and which is used like an array."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class CompactMatrix(eqx.Module):
    """Stands where a weight matrix stood: `x @ w`, `w @ x` and `w.T` are those of the dense matrix.

    `values` is what is trained; a network with such matrices is a pytree with fewer numbers. A layer that
    asks more of its weight than products with it (a sum, a transpose with other axes) needs the masked
    network.
    """

    values: Float[Any, " active"]
    structure: Any
    """A `mast.kernels.matrices.Structure`; of Nones in a tree of what has a gradient."""
    shape: tuple[int, int] = eqx.field(static=True)
    threads: int = eqx.field(static=True)
    is_transposed: bool = eqx.field(static=True, default=False)
    """Whether it stands for the transpose of what is stored."""

    __array_priority__ = 1000
    """NumPy's arrays leave products with it to it."""
    __array_ufunc__ = None

    def __array__(self, *_: Any, **__: Any) -> Any:
        """None: what asks for it does more than products."""
        raise TypeError(
            "a compact matrix is used in products only (x @ w, w @ x, w.T), and here an array is needed: "
            "leave its mask out of compact's, or take mast.sparsity.masked(network)"
        )

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self.values.dtype

    @property
    def size(self) -> int:
        """Entries of the dense matrix."""
        return self.shape[0] * self.shape[1]

    @property
    def T(self) -> "CompactMatrix":
        """The transpose; nothing is copied."""
        return CompactMatrix(
            self.values, self.structure, self.shape[::-1], self.threads, not self.is_transposed
        )

    def __matmul__(self, x: Any) -> Float[Array, "..."]:
        """W x for a vector or a matrix."""
        x = jnp.asarray(x)
        if x.ndim > 2:
            raise TypeError(
                "a compact matrix from the left takes a vector or a matrix; write x @ w.T"
            )
        return self._applied(x.T, forward=True).T

    def __rmatmul__(self, x: Any) -> Float[Array, "..."]:
        """x W over the last axis of x."""
        return self._applied(jnp.asarray(x), forward=False)

    def __getitem__(self, index: Any) -> "CompactMatrix":
        """Itself, at `[...]` only: how Flax reads a variable."""
        if index is not Ellipsis:
            raise TypeError("a compact matrix has no parts; mast.sparsity.masked gives the array")
        return self

    def _applied(self, x: Array, forward: bool) -> Float[Array, "..."]:
        """Each row of x times the matrix's transpose, or times the matrix."""
        from mast.kernels.matrices import product  # kernels import networks, and these this room

        inputs = self.shape[1] if forward else self.shape[0]
        if x.shape[-1] != inputs:
            raise TypeError(f"shapes {x.shape} and {self.shape} do not fit in a product")
        y = product(
            x.reshape(-1, inputs),
            self.values,
            self.structure,
            transposed=forward == self.is_transposed,
            threads=self.threads,
        )
        return y.reshape(*x.shape[:-1], y.shape[-1])

    def scattered(self, values: Any) -> Float[Array, "rows columns"]:
        """A dense array with these numbers (weights, or a slot of the optimizer) at the active entries."""
        return jnp.zeros(self.shape, values.dtype).at[self._places()].set(values)

    def gathered(self, dense: Any) -> Float[Array, " active"]:
        """The inverse of `scattered`."""
        return jnp.asarray(dense)[self._places()]

    def mask(self) -> Bool[Array, "rows columns"]:
        """Which entries are active."""
        return jnp.zeros(self.shape, bool).at[self._places()].set(True)

    def _places(self) -> tuple[Array, Array]:
        s = self.structure
        counts = jnp.diff(s.row_pointers)
        active = s.columns.size
        rows = jnp.repeat(jnp.arange(counts.size), counts, total_repeat_length=active)
        return (s.columns, rows) if self.is_transposed else (rows, s.columns)


def compact_matrix(
    weight: Float[Any, "rows columns"],
    mask: Bool[Any, "rows columns"],
    threads: int,
    active: int | None = None,
    is_transposed: bool = False,
) -> CompactMatrix:
    """The active entries of a weight.

    Args:
        weight, mask: as they are in the network.
        threads: at most as many of XLA's threads take part.
        active: how many entries the mask has; must be given where it is traced.
        is_transposed: whether the weight is `[inputs, outputs]`, so that its columns are stored as rows.
    """
    from mast.kernels.matrices import structure_of

    shape = (weight.shape[0], weight.shape[1])
    if not isinstance(mask, jax.core.Tracer) and active is None:
        mask = np.asarray(mask)
    structure = structure_of(mask.T if is_transposed else mask, active)
    empty = CompactMatrix(jnp.zeros(0), structure, shape, threads, is_transposed)
    return eqx.tree_at(lambda each: each.values, empty, empty.gathered(weight))


def is_compact(node: Any) -> bool:
    """Whether something is a compact matrix."""
    return isinstance(node, CompactMatrix)


def has_compact(tree: Any) -> bool:
    """Whether there are compact matrices in a tree."""
    return any(map(is_compact, jax.tree.leaves(tree, is_leaf=is_compact)))
