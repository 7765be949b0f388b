"""Sparse training of any model in two lines: wrap model and optimizer, evolve now and then."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from mast.sparsity.allocation import TensorShape, active_counts, allocate
from mast.sparsity.layout import LayoutOf, LeafPattern, Patterns, layout_by_name
from mast.sparsity.masks import apply_masks, draw_masks, leaves_by_path
from mast.sparsity.optimizer import SparseState, check_masks, sparse
from mast.sparsity.pattern_names import check_sparsity, held_counts, pattern_of
from mast.sparsity.patterns import UNSTRUCTURED, Pattern
from mast.sparsity.schedules import DropSchedule, Number, cosine_drop_fraction
from mast.sparsity.scores import Score, gradient_magnitude, magnitude
from mast.sparsity.slots import GrownState
from mast.sparsity.step_size import scale_by_density
from mast.sparsity.topology import Evolution, evolve

Include = Callable[[str, Any], bool]
"""From a leaf's path and the leaf to whether it is sparse."""

PatternOf = str | Pattern | Callable[[str, Any], str | Pattern]
"""A pattern by name or as it is, or a function from a leaf's path and the leaf to one."""


class SparseOptimizer(optax.GradientTransformationExtraArgs):
    """A sparse optimizer that can evolve its masks; usable wherever an Optax transformation is.

    The masks that count are those in its state, so one optimizer serves every run of a vmap.
    """

    patterns: Patterns = MappingProxyType({})
    """Of the leaves that are not unstructured."""

    def evolve(
        self,
        model: Any,
        state: SparseState,
        gradient: Any,
        *,
        step: Number,
        total: Number,
        key: PRNGKeyArray,
        initial_drop_fraction: Number = 0.5,
        schedule: DropSchedule = cosine_drop_fraction,
        drop_score: Score = magnitude,
        growth_score: Score = gradient_magnitude,
        grown_state: Int[Array, ""] | int = GrownState.GRAD,
        active: Mapping[str, Any] | None = None,
        per_unit: bool | Collection[str] = False,
    ) -> tuple[Any, SparseState, Evolution]:
        """One drop and grow in every sparse leaf: RigL where nothing else is said.

        When to call it is the caller's: `if step % 100 == 0` on the host is cheapest.

        Args:
            model: as `sparsify` returned it, or its arrays alone.
            state: of this optimizer.
            gradient: of the current batch, as it came from `jax.grad`.
            step, total: now and when training ends, for the schedule; in one unit.
            key: random key, for scores that use one.
            initial_drop_fraction: ζ_0.
            schedule: from ζ_0, step and total to ζ_t.
            drop_score, growth_score, grown_state, active, per_unit: as in `topology.evolve`.

        Returns:
            New model, state, and what was done.
        """
        return evolve(
            model,
            state,
            self,
            gradient,
            key=key,
            drop_fraction=schedule(initial_drop_fraction, step, total),
            drop_score=drop_score,
            growth_score=growth_score,
            grown_state=grown_state,
            active=active,
            per_unit=per_unit,
            patterns=self.patterns,
        )


def sparse_counts(
    model: Any,
    sparsity: float,
    allocation: str = "erdos_renyi",
    include: Include | None = None,
    pattern: PatternOf = "unstructured",
    layout: LayoutOf = layout_by_name,
) -> dict[str, int]:
    """Active weights that each leaf of a model has at a sparsity, by leaf path.

    Args:
        model: any pytree.
        sparsity: share of the sparse leaves' weights that are zero, in [0, 1).
        allocation: a name of `allocation.ALLOCATIONS`.
        include: chooses the sparse leaves among the float arrays that are neither scalars nor empty; where
            None, those with at least two axes.
        pattern, layout: as in `sparsify`; each leaf's count is one that its pattern can have.

    Raises:
        UserError: sparsity outside [0, 1), unknown allocation or pattern.
        ValueError: no leaf is sparse.
    """
    leaves = _sparse_leaves(model, include)
    layers = [TensorShape(name, leaf.shape) for name, leaf in leaves.items()]
    counts = active_counts(layers, allocate(layers, sparsity, allocation))
    if isinstance(pattern, str):
        check_sparsity(pattern, sparsity)
    patterns = _patterns(leaves, pattern, layout)
    possible = {name: each.possible(leaves[name].shape) for name, each in patterns.items()}
    return held_counts(counts, possible)


def sparsify(
    model: Any,
    optimizer: optax.GradientTransformation,
    sparsity: float | None = None,
    *,
    key: PRNGKeyArray | None = None,
    allocation: str = "erdos_renyi",
    initial_mask: str = "random",
    include: Include | None = None,
    steps: str = "flat",
    pattern: PatternOf = "unstructured",
    layout: LayoutOf = layout_by_name,
    masks: Mapping[str, Any] | None = None,
) -> tuple[Any, SparseOptimizer]:
    """The model with its inactive weights set to zero, and an optimizer that keeps them so.

    Args:
        model: any pytree (an Equinox module, nested dicts of Flax or Haiku); leaves that are no float arrays
            are left alone.
        optimizer: any Optax transformation. A chain goes in whole, so that clipping sees masked gradients.
        sparsity, allocation, include: as in `sparse_counts`. All chosen leaves share one budget.
        key: random key of the masks; none is needed for given ones.
        initial_mask: `"random"`, `"largest"` for the largest |w|, or `"ones"`: dense until it is pruned.
        steps: `"flat"`, the optimizer's own; `"density"`, larger ones the fewer weights there are, so that a
            learning rate tuned on a dense network fits (RMSProp, Adam and their like, and SGD). Decoupled
            weight decay grows with them: to keep it, or for another exponent, put `scale_by_density` into
            the chain yourself. They stay as large to the end: let a schedule lower the learning rate there.
        pattern: which weights may be active together, kept by `evolve`: a name of `pattern_names.NAMES`,
            "package.module:OBJECT", a `Pattern`, or a function from path and leaf to one of these. Leaves
            with one axis are unstructured.
        layout: which axis of a leaf is that of its outputs, for patterns; where not given, the last of a
            `kernel` or `w` and the first of everything else.
        masks: by leaf path, in the place of sparsity, allocation, include and initial_mask.

    Raises:
        UserError: sparsity outside [0, 1), unknown allocation or pattern.
        ValueError: no leaf is sparse, unknown `initial_mask` or `steps`, or masks that do not fit the model
            or lack the pattern.
    """
    if steps not in ("flat", "density"):
        raise ValueError(f"steps is {steps!r}: must be 'flat' or 'density'")
    if masks is not None:
        if sparsity is not None:
            raise ValueError("both sparsity and masks are given: masks have their own")
        if not masks:
            raise ValueError("masks are empty: at least one leaf is sparse")
        masks = {name: jnp.asarray(mask, bool) for name, mask in masks.items()}
        check_masks(masks, model)
        leaves = {name: leaf for name, leaf in leaves_by_path(model).items() if name in masks}
        patterns = _patterns(leaves, pattern, layout)
        for name, each in patterns.items():
            if not each.holds(masks[name]):
                raise ValueError(
                    f"the mask of {name} does not have the pattern {each.pattern.name}"
                )
    else:
        if sparsity is None or key is None:
            raise ValueError("sparsity and key are needed, or masks")
        counts = sparse_counts(model, sparsity, allocation, include, pattern, layout)
        patterns = _patterns(_sparse_leaves(model, include), pattern, layout)
        masks = draw_masks(key, model, counts, initial_mask, patterns)
    if steps == "density":
        optimizer = optax.chain(optimizer, scale_by_density())
    wrapped = SparseOptimizer(*sparse(optimizer, masks))
    wrapped.patterns = patterns
    return apply_masks(model, masks), wrapped


def _sparse_leaves(model: Any, include: Include | None) -> dict[str, Any]:
    """The leaves that are to be sparse, by path."""
    found = {
        name: leaf
        for name, leaf in leaves_by_path(model).items()
        if _is_float_array(leaf)
        and leaf.size > 0
        and (leaf.ndim >= 2 if include is None else leaf.ndim >= 1 and include(name, leaf))
    }
    if not found:
        raise ValueError("no leaf is sparse: none is a float array that was chosen")
    return found


def _patterns(leaves: Mapping[str, Any], pattern: PatternOf, layout: LayoutOf) -> Patterns:
    """Of the leaves that are not unstructured."""
    found = {}
    for name, leaf in leaves.items():
        chosen = pattern if isinstance(pattern, str | Pattern) else pattern(name, leaf)
        of_leaf = pattern_of(chosen)
        if of_leaf != UNSTRUCTURED and leaf.ndim >= 2:
            found[name] = LeafPattern(of_leaf, layout(name, leaf))
    return found


def _is_float_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
