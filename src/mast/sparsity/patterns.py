"""Which weights may be active together: unstructured, or a pattern that hardware likes.

A pattern is a record beside drop score, growth score and schedule, found by name. It says how many weights
a matrix can have, which are the best ones, and how they evolve. Importable without JAX, so that sizes can
be counted before it is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    Mask = Bool[Array, "rows inputs"]
    Score = Float[Array, "rows inputs"]
    Count = Int[Array, ""] | int
else:  # without JAX there are no arrays to name
    Mask = Score = Count = Any

FLOOR = 1 / 16
"""The share of a layer's neurons that patterns of whole neurons always keep, and ablation leaves."""
SALIENT_SHARE = 0.3
"""Of its fan-in: a neuron with fewer salient weights is ablated (SRigL's γ_sal for convolutions)."""


class Matrix(NamedTuple):
    """A layer's weight as a pattern sees it: one row for each output."""

    rows: int
    inputs: int
    copies: int = 1
    """Of stacked networks: that many blocks of rows."""
    gates: int = 1
    """Rows that belong to one neuron, as the three gates of a GRU's do: in each copy one block after the
    other."""
    is_output: bool = False
    """Whether a network's results are read from its rows: no row is emptied as a whole."""

    @property
    def neurons(self) -> int:
        """How many neurons the layer makes, of all copies together."""
        return self.rows // self.gates

    @property
    def weights(self) -> int:
        """Number of entries."""
        return self.rows * self.inputs


@runtime_checkable
class Pattern(Protocol):
    """What a pattern is; a user's own is any object with this name and these methods."""

    @property
    def name(self) -> str:
        """As settings and tables call it."""
        ...

    def counts(self, matrix: Matrix) -> Sequence[int]:
        """Every number of active weights that the matrix can have, rising; the first is at least 1."""
        ...

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        """Whether a mask (NumPy, `[rows, inputs]`) has the pattern."""
        ...

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        """The mask of that many weights with the largest scores; what is no number comes last.

        Args:
            score: of each entry; sums count where a unit has several.
            active: one of `counts`.
            matrix: the layer.
        """
        ...

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        """One drop and grow that keeps the pattern.

        Args:
            mask: has the pattern.
            drop_score: the smallest active ones go.
            growth_score: the largest inactive ones come.
            drop, grow: weights, before they are rounded to what the pattern can do.
            matrix: the layer.
        """
        ...


@dataclass(frozen=True)
class Unstructured:
    """Any weights: drop and grow run over the whole layer."""

    name: str = "unstructured"

    def counts(self, matrix: Matrix) -> Sequence[int]:
        return range(1, matrix.weights + 1)

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        return bool(mask.any())

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        from mast.sparsity import structured

        return structured.best_entries(score, active)

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        import jax.numpy as jnp

        from mast.sparsity.topology import evolve_mask

        drop, grow = jnp.asarray(drop), jnp.asarray(grow)
        return evolve_mask(mask, drop_score, growth_score, drop, grow)


@dataclass(frozen=True)
class FanIn:
    """Every row has as many weights, but for neurons that were ablated and have none.

    The smallest weights of the layer are dropped, wherever they are; then each row grows its best ones back
    to the constant fan-in. A neuron of whose weights few are salient (kept, or among the best to grow) loses
    all of them, and the others' fan-in rises: as many neurons go as leave a number that divides the layer's
    weights, so that the count stays exact; a share of each copy's neurons always stays. Rows of a GRU and of
    a network's results are never ablated.

    Source: SRigL (Lasby et al. 2023), Section 3.1. There the count may fall short of the budget instead.
    """

    salient_share: float = SALIENT_SHARE
    """0: no ablation."""
    floor: float = FLOOR
    name: str = "fan-in"

    def counts(self, matrix: Matrix) -> Sequence[int]:
        return range(matrix.rows, matrix.weights + 1, matrix.rows)

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        fan_in = mask.sum(1)
        has = fan_in[fan_in > 0]
        full = len(has) == matrix.rows
        if self.ablates(matrix):
            living = (fan_in.reshape(matrix.copies, -1) > 0).sum(1)
            full = bool((living >= _share(self.floor, matrix)).all())
        return len(has) > 0 and full and bool((has == has[0]).all())

    def ablates(self, matrix: Matrix) -> bool:
        """Whether neurons of such a layer may lose all weights."""
        return self.salient_share > 0 and matrix.gates == 1 and not matrix.is_output

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        from mast.sparsity import structured

        return structured.best_in_groups(score, active // matrix.rows)

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        from mast.sparsity import structured

        share = self.salient_share if self.ablates(matrix) else 0.0
        return structured.evolve_fan_in(
            mask,
            drop_score,
            growth_score,
            drop,
            grow,
            share,
            _share(self.floor, matrix),
            matrix.copies,
        )


@dataclass(frozen=True)
class NOfM:
    """N of every M consecutive inputs of a row, in every row; a last, shorter group has ⌈N · length / M⌉.

    The smallest weights of the layer are dropped, wherever they are; then each group grows its best ones
    back to N.
    """

    m: int
    n: int | None = None
    """None: as many as the layer's budget gives, at least 1."""

    @property
    def name(self) -> str:
        return f"{'n' if self.n is None else self.n}:{self.m}"

    def groups(self, matrix: Matrix) -> tuple[int, int]:
        """How many whole groups a row has, and how long the last, shorter one is."""
        return divmod(matrix.inputs, self._length(matrix))

    def _length(self, matrix: Matrix) -> int:
        return min(self.m, matrix.inputs) if self.n is None else self.m

    def in_last(self, n: int, matrix: Matrix) -> int:
        """How many weights the last, shorter group has."""
        return -(-n * self.groups(matrix)[1] // self._length(matrix))

    def counts(self, matrix: Matrix) -> Sequence[int]:
        whole, _ = self.groups(matrix)
        each = [self.n] if self.n is not None else range(1, self._length(matrix) + 1)
        return [matrix.rows * (whole * n + self.in_last(n, matrix)) for n in each]

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        counts = self.counts(matrix)
        if int(mask.sum()) not in counts:
            return False
        n = self.n or counts.index(int(mask.sum())) + 1
        whole, _ = self.groups(matrix)
        end = whole * self._length(matrix)
        in_whole = mask[:, :end].reshape(matrix.rows, whole, self._length(matrix)).sum(2)
        in_last = mask[:, end:].sum(1)
        return bool((in_whole == n).all() and (in_last == self.in_last(n, matrix)).all())

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        from mast.sparsity import structured

        return structured.best_in_groups(score, *self._quota(active, matrix))

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        from mast.sparsity import structured

        wanted = mask.sum() - drop + grow
        return structured.evolve_groups(
            mask, drop_score, growth_score, drop, *self._quota(wanted, matrix)
        )

    def _quota(self, active: Count, matrix: Matrix) -> tuple[Any, Any, int]:
        """N and that of the last group for a number of active weights, and the groups' length."""
        from mast.sparsity import structured

        length, last = self._length(matrix), self.groups(matrix)[1]
        n: Any = self.n
        if n is None:
            n = structured.place_among(self.counts(matrix), active) + 1
        return n, -(-n * last // length), length


@dataclass(frozen=True)
class Blocks:
    """Whole blocks of R rows and C inputs; an axis that does not divide takes its largest divisor below.

    Blocks are dropped and grown by the sums of their weights' scores. One block always stays in each copy,
    and in each row of blocks of a layer that makes a network's results.
    """

    r: int
    c: int

    @property
    def name(self) -> str:
        return f"block-{self.r}x{self.c}"

    def block(self, matrix: Matrix) -> tuple[int, int]:
        """Rows and inputs of the blocks of such a layer."""
        outputs = matrix.rows // (matrix.copies * matrix.gates)
        return _divisor(outputs, self.r), _divisor(matrix.inputs, self.c)

    def parts(self, matrix: Matrix) -> int:
        """How many parts of such a layer keep at least one block each."""
        return matrix.rows // self.block(matrix)[0] if matrix.is_output else matrix.copies

    def counts(self, matrix: Matrix) -> Sequence[int]:
        size = math.prod(self.block(matrix))
        return range(self.parts(matrix) * size, matrix.weights + 1, size)

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        r, c = self.block(matrix)
        sums = mask.reshape(matrix.rows // r, r, matrix.inputs // c, c).sum((1, 3))
        has = (sums > 0).reshape(self.parts(matrix), -1).any(1)
        return bool(has.all() and ((sums == 0) | (sums == r * c)).all())

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        from mast.sparsity import structured

        view, floor = structured.blocks(*self.block(matrix)), structured.Floor(self.parts(matrix))
        return structured.best_units(score, active, view, floor)

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        from mast.sparsity import structured

        view, floor = structured.blocks(*self.block(matrix)), structured.Floor(self.parts(matrix))
        return structured.evolve_units(mask, drop_score, growth_score, drop, grow, view, floor)


@dataclass(frozen=True)
class Neurons:
    """Whole neurons, with all their inputs or none; in a GRU the rows of all gates of a matrix go together.

    Neurons are dropped and grown by the sums of their weights' scores; a share of each copy's always stays. A
    layer that makes a network's results has a constant fan-in instead.
    """

    floor: float = FLOOR
    name: str = "neuron"

    def fewest(self, matrix: Matrix) -> int:
        """How many neurons each copy of such a layer has at least."""
        return _share(self.floor, matrix)

    def counts(self, matrix: Matrix) -> Sequence[int]:
        if matrix.is_output:
            return FanIn().counts(matrix)
        size = matrix.gates * matrix.inputs
        return range(matrix.copies * self.fewest(matrix) * size, matrix.weights + 1, size)

    def holds(self, mask: Any, matrix: Matrix) -> bool:
        if matrix.is_output:
            return FanIn().holds(mask, matrix)
        neurons = mask.reshape(matrix.copies, matrix.gates, -1, matrix.inputs).sum((1, 3))
        size = matrix.gates * matrix.inputs
        is_whole = bool(((neurons == 0) | (neurons == size)).all())
        return is_whole and bool(((neurons > 0).sum(1) >= self.fewest(matrix)).all())

    def best(self, score: Score, active: Count, matrix: Matrix) -> Mask:
        from mast.sparsity import structured

        if matrix.is_output:
            return FanIn().best(score, active, matrix)
        view = structured.neurons(matrix.copies, matrix.gates)
        floor = structured.Floor(matrix.copies, self.fewest(matrix))
        return structured.best_units(score, active, view, floor)

    def evolve(
        self,
        mask: Mask,
        drop_score: Score,
        growth_score: Score,
        drop: Count,
        grow: Count,
        matrix: Matrix,
    ) -> Mask:
        from mast.sparsity import structured

        if matrix.is_output:
            return FanIn().evolve(mask, drop_score, growth_score, drop, grow, matrix)
        view = structured.neurons(matrix.copies, matrix.gates)
        floor = structured.Floor(matrix.copies, self.fewest(matrix))
        return structured.evolve_units(mask, drop_score, growth_score, drop, grow, view, floor)


UNSTRUCTURED = Unstructured()


def _share(floor: float, matrix: Matrix) -> int:
    """That share of each copy's neurons, at least one."""
    return max(1, math.ceil(floor * matrix.neurons / matrix.copies))


def _divisor(axis: int, most: int) -> int:
    """The largest number that divides an axis and is at most `most`."""
    return next(each for each in range(min(axis, most), 0, -1) if axis % each == 0)
