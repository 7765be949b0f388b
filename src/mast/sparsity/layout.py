"""From the leaf of a model to the matrix that a pattern sees, and back."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from mast.sparsity.patterns import Matrix, Pattern

Count = Int[Array, ""] | int


@dataclass(frozen=True)
class Layout:
    """Which axis of a leaf is that of its outputs, and what else a pattern wants to know of a layer.

    All other axes together are its inputs, in their order.
    """

    axis: int = 0
    """Of the outputs, after the leading axis of copies where there is one; −1 is the last."""
    stacked: bool = False
    """Whether the leading axis is one of copies (agents, ensemble members)."""
    gates: int = 1
    """How many rows belong to one neuron: 3 of a GRU, 4 of an LSTM, stacked in the axis of the outputs."""
    is_output: bool = False
    """Whether the network's results are read from it: no neuron of it may lose all its weights."""

    def matrix(self, shape: Sequence[int]) -> Matrix:
        """A leaf of this shape as a pattern sees it."""
        copies, axes = (shape[0], shape[1:]) if self.stacked else (1, shape)
        outputs = axes[self.axis]
        inputs = math.prod(axes) // outputs
        return Matrix(copies * outputs, inputs, copies, self.gates, self.is_output)

    def rows(self, leaf: Shaped[Array, "*shape"]) -> Shaped[Array, "rows inputs"]:
        """The leaf as a matrix, one row per output; the copies' rows below each other."""
        matrix = self.matrix(leaf.shape)
        return jnp.moveaxis(leaf, self._axis(leaf.ndim), int(self.stacked)).reshape(
            matrix.rows, matrix.inputs
        )

    def leaf(
        self, rows: Shaped[Array, "rows inputs"], shape: Sequence[int]
    ) -> Shaped[Array, "..."]:
        """The inverse of `rows` for a leaf of this shape."""
        axis, first = self._axis(len(shape)), int(self.stacked)
        axes = list(shape)
        axes.insert(first, axes.pop(axis))
        return jnp.moveaxis(rows.reshape(axes), first, axis)

    def _axis(self, axes: int) -> int:
        return axes + self.axis if self.axis < 0 else int(self.stacked) + self.axis


def layout_by_name(path: str, leaf: Any) -> Layout:
    """Outputs first (Equinox, PyTorch); last where the leaf is a `kernel` (Flax, Haiku's is a `w`)."""
    names = path.split(".")
    return Layout(axis=-1) if names[-1] in ("kernel", "w") else Layout()


@dataclass(frozen=True)
class LeafPattern:
    """A pattern, and how the leaf that has it is to be read."""

    pattern: Pattern
    layout: Layout

    def possible(self, shape: Sequence[int]) -> Sequence[int]:
        """Every number of active weights that a leaf of this shape can have."""
        return self.pattern.counts(self.layout.matrix(shape))

    def holds(self, mask: Bool[Any, "*shape"]) -> bool:
        """Whether a mask has the pattern."""
        rows = np.asarray(self.layout.rows(jnp.asarray(mask)))
        return self.pattern.holds(rows, self.layout.matrix(np.shape(mask)))

    def best(self, score: Shaped[Array, "*shape"], active: Count) -> Bool[Array, "*shape"]:
        """The mask of that many weights with the largest scores."""
        matrix = self.layout.matrix(score.shape)
        return self.layout.leaf(
            self.pattern.best(self.layout.rows(score), active, matrix), score.shape
        )

    def evolve(
        self,
        mask: Bool[Array, "*shape"],
        drop_score: Shaped[Array, "*shape"],
        growth_score: Shaped[Array, "*shape"],
        drop: Count,
        grow: Count,
    ) -> Bool[Array, "*shape"]:
        """One drop and grow that keeps the pattern; arguments as in `evolve_mask`."""
        rows = self.layout.rows
        evolved = self.pattern.evolve(
            rows(mask),
            rows(drop_score),
            rows(growth_score),
            drop,
            grow,
            self.layout.matrix(mask.shape),
        )
        # Where nothing is dropped a mask may be one without the pattern: dense, until it is pruned.
        return jnp.where(jnp.asarray(drop) > 0, self.layout.leaf(evolved, mask.shape), mask)

    def of_unit(self) -> "LeafPattern":
        """That of one entry of the leading axis."""
        return replace(self, layout=replace(self.layout, stacked=False))


Patterns = Mapping[str, LeafPattern]
"""By leaf path; leaves that are not named are unstructured."""

LayoutOf = Callable[[str, Any], Layout]
"""From a leaf's path and the leaf to how it is read."""
