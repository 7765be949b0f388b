"""The sparse optimizer: any Optax transformation, blind to inactive weights.

The invariant: values of inactive weights, and the gradients of them that the optimizer is given, are exactly
zero at all times. So are their slots where the optimizer begins them at zero (but under `GrownState.KEEP`).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mast.sparsity.compact_matrix import has_compact
from mast.sparsity.masks import Masks, apply_masks, leaves_by_path


class SparseState(NamedTuple):
    """The state of a sparse optimizer: the masks ride beside the wrapped optimizer's own state."""

    masks: Masks
    inner: optax.OptState


def sparse(
    inner: optax.GradientTransformation, masks: Masks
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that it never touches an inactive weight.

    Gradients are masked before `inner` sees them (so a clipping norm is over the masked gradient) and its
    updates after, so that weight decay cannot wake what is asleep. `update` takes the masks from its state,
    where `evolve` changes them.

    Args:
        inner: any Optax transformation.
        masks: the initial masks by leaf path; `init` raises ValueError where they do not fit the parameters.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> SparseState:
        check_masks(masks, params)
        return SparseState(masks, inner.init(_trained(params)))

    def update(
        updates: Any, state: SparseState, params: Any = None, **extra: Any
    ) -> tuple[Any, SparseState]:
        lacking = sorted(state.masks.keys() - leaves_by_path(updates).keys())
        if lacking:  # else they would be trained, and be dense soon
            raise ValueError(f"the gradient lacks sparse leaves: {', '.join(lacking)}")
        updates = apply_masks(_trained(updates), state.masks)
        updates, inner_state = inner.update(
            updates, state.inner, _trained(params), masks=state.masks, **extra
        )
        return apply_masks(updates, state.masks), SparseState(state.masks, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _trained(params: Any) -> Any:
    """Parameters or gradients; of compact matrices without their structure, which is not trained."""
    return eqx.filter(params, eqx.is_inexact_array) if has_compact(params) else params


def density(state: SparseState) -> Float[Array, ""]:
    """Share of active weights among those that have a mask."""
    active = sum((mask.sum() for mask in state.masks.values()), start=jnp.zeros((), jnp.int32))
    return active / sum(mask.size for mask in state.masks.values())


def check_masks(masks: Masks, params: Any) -> None:
    """Refuse masks that do not fit.

    Raises:
        ValueError: a mask names no leaf of the parameters, or has another shape than its leaf.
    """
    leaves = leaves_by_path(params)
    if not leaves:
        return  # `optax.tree_map_params` calls every `init` with an empty stand-in for the parameters
    unknown = sorted(masks.keys() - leaves.keys())
    if unknown:
        raise ValueError(
            f"masks name no leaf of the parameters: {', '.join(unknown)}; the leaves are "
            f"{', '.join(sorted(leaves))}"
        )
    for name, mask in masks.items():
        if jnp.shape(leaves[name]) != mask.shape:
            raise ValueError(
                f"the mask of {name} has shape {mask.shape}, the leaf {jnp.shape(leaves[name])}"
            )
