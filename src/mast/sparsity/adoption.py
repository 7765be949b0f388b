"""Sparse training of any model in two lines: wrap model and optimizer, evolve now and then."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from mast.sparsity.allocation import TensorShape, active_counts, allocate
from mast.sparsity.masks import apply_masks, draw_masks, leaves_by_path
from mast.sparsity.optimizer import SparseState, sparse
from mast.sparsity.schedules import DropSchedule, Number, cosine_drop_fraction
from mast.sparsity.scores import Score, gradient_magnitude, magnitude
from mast.sparsity.slots import GrownState
from mast.sparsity.step_size import scale_by_density
from mast.sparsity.topology import Evolution, evolve

Include = Callable[[str, Any], bool]
"""From a leaf's path and the leaf to whether it is sparse."""


class SparseOptimizer(optax.GradientTransformationExtraArgs):
    """A sparse optimizer that can evolve its masks; usable wherever an Optax transformation is.

    The masks that count are those in its state, so one optimizer serves every run of a vmap.
    """

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
        )


def sparse_counts(
    model: Any,
    sparsity: float,
    allocation: str = "erdos_renyi",
    include: Include | None = None,
) -> dict[str, int]:
    """Active weights that each leaf of a model has at a sparsity, by leaf path.

    Args:
        model: any pytree.
        sparsity: share of the sparse leaves' weights that are zero, in [0, 1).
        allocation: a name of `allocation.ALLOCATIONS`.
        include: chooses the sparse leaves among the float arrays that are neither scalars nor empty; where
            None, those with at least two axes.

    Raises:
        UserError: sparsity outside [0, 1), or unknown allocation.
        ValueError: no leaf is sparse.
    """
    layers = [
        TensorShape(name, leaf.shape)
        for name, leaf in leaves_by_path(model).items()
        if _is_float_array(leaf)
        and leaf.size > 0
        and (leaf.ndim >= 2 if include is None else leaf.ndim >= 1 and include(name, leaf))
    ]
    if not layers:
        raise ValueError("no leaf is sparse: none is a float array that was chosen")
    return active_counts(layers, allocate(layers, sparsity, allocation))


def sparsify(
    model: Any,
    optimizer: optax.GradientTransformation,
    sparsity: float,
    *,
    key: PRNGKeyArray,
    allocation: str = "erdos_renyi",
    initial_mask: str = "random",
    include: Include | None = None,
    steps: str = "flat",
) -> tuple[Any, SparseOptimizer]:
    """The model with its inactive weights set to zero, and an optimizer that keeps them so.

    Args:
        model: any pytree (an Equinox module, nested dicts of Flax or Haiku); leaves that are no float arrays
            are left alone.
        optimizer: any Optax transformation. A chain goes in whole, so that clipping sees masked gradients.
        sparsity, allocation, include: as in `sparse_counts`. All chosen leaves share one budget.
        key: random key of the masks.
        initial_mask: `"random"`, `"largest"` for the largest |w|, or `"ones"`: dense until it is pruned.
        steps: `"flat"`, the optimizer's own; `"density"`, larger ones the fewer weights there are, so that a
            learning rate tuned on a dense network fits (RMSProp, Adam and their like, and SGD). Decoupled
            weight decay grows with them: to keep it, or for another exponent, put `scale_by_density` into
            the chain yourself.

    Raises:
        UserError: sparsity outside [0, 1), or unknown allocation.
        ValueError: no leaf is sparse, or unknown `initial_mask` or `steps`.
    """
    counts = sparse_counts(model, sparsity, allocation, include)
    masks = draw_masks(key, model, counts, initial_mask)
    if steps not in ("flat", "density"):
        raise ValueError(f"steps is {steps!r}: must be 'flat' or 'density'")
    if steps == "density":
        optimizer = optax.chain(optimizer, scale_by_density())
    return apply_masks(model, masks), SparseOptimizer(*sparse(optimizer, masks))


def _is_float_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
