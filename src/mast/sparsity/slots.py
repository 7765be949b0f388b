"""What the optimizer remembers after an evolution: slots of kept, dropped and grown weights."""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from mast.sparsity.masks import Masks, leaf_path, leaves_by_path
from mast.sparsity.optimizer import SparseState


class GrownState(enum.IntEnum):
    """What the optimizer remembers of a newly grown weight.

    - GRAD: nothing (slots begin as in `init`), but a second moment (a slot named `nu`) that is the square of
      the growth gradient.
    - ZERO: nothing.
    - MEAN: nothing, but a second moment that is the mean of those of the layer's active weights.
    - KEEP: whatever was left of it and decayed while it was inactive (RLx2's code).
    """

    GRAD = 0
    ZERO = 1
    MEAN = 2
    KEEP = 3


def reset_slots(
    optimizer: optax.GradientTransformation,
    state: SparseState,
    masks: Masks,
    params: Any,
    gradient: Any,
    grown_state: Int[Array, ""] | int,
) -> optax.OptState:
    """The wrapped optimizer's state after an evolution: what stayed is kept bit for bit, the rest is reset.

    A slot begins with what the optimizer's own `init` gives it, whatever the optimizer; only slots named `nu`
    (second moments) can get another value, and those are found by their path. A slot that is not of its
    weight's shape is no number per weight (one per layer, or a factored moment) and stays.

    First moments are as after `init` wherever `nu` is set, so that a variance nu − mu² (centred RMSProp)
    stays ≥ 0. KEEP is sound there too: with zero gradients nu shrinks as d^k and mu² as d^2k.

    Args:
        optimizer: the transformation that `sparse` returned.
        state: its state before the evolution.
        masks: the masks after it.
        params: the parameters after it.
        gradient: the dense gradient.
        grown_state: a `GrownState`.
    """
    stayed = {name: state.masks[name] & mask for name, mask in masks.items()}
    keep = grown_state == GrownState.KEEP

    def reset(name: str, slot: Any, first: Any) -> Any:
        stays = stayed.get(name)
        if stays is None or not _is_per_weight(slot, stays):
            return slot
        return jnp.where(stays | keep, slot, first).astype(slot.dtype)

    # A model may hold more than has a gradient (functions, None); the optimizer knows of what has one.
    values = leaves_by_path(params)
    trained = jax.tree_util.tree_map_with_path(lambda path, _: values[leaf_path(path)], gradient)
    names = _parameters_of_slots(optimizer, state)
    fresh = jax.tree.map(reset, names, state.inner, optimizer.init(trained).inner)
    gradients = leaves_by_path(gradient)

    def second_moment(path: tuple[Any, ...], slot: Any, old: Any) -> Any:
        name = _parameter_of(path, "nu")
        if name not in masks or slot.shape != masks[name].shape:
            return slot
        was_active = state.masks[name]
        grown = masks[name] & ~was_active
        mean = old.sum(where=was_active) / jnp.maximum(was_active.sum(), 1)
        square = jnp.square(gradients[name])
        value = jnp.where(grown_state == GrownState.GRAD, square, mean)
        chosen = (grown_state == GrownState.GRAD) | (grown_state == GrownState.MEAN)
        return jnp.where(grown & chosen, value, slot).astype(slot.dtype)

    return jax.tree_util.tree_map_with_path(second_moment, fresh, state.inner)


def _parameters_of_slots(optimizer: optax.GradientTransformation, state: SparseState) -> Any:
    """The path of the parameter that each leaf of the wrapped state belongs to; "" where to none.

    Each copy of the parameter tree in the state is taken as a whole: copies may lack leaves
    (`multi_transform`, Equinox's None).
    """
    return optax.tree_map_params(
        optimizer,
        lambda copy: jax.tree_util.tree_map_with_path(lambda path, _: leaf_path(path), copy),
        state,
        transform_non_params=lambda _: "",
        is_leaf=lambda _: True,
    ).inner


def _is_per_weight(slot: Any, mask: Array) -> bool:
    """Whether a slot has the mask's shape, alone or behind axes of its own (a history)."""
    shape = jnp.shape(slot)
    return len(shape) >= mask.ndim and shape[len(shape) - mask.ndim :] == mask.shape


def _parameter_of(path: tuple[Any, ...], slot: str) -> str | None:
    """The parameter that a state leaf belongs to, if it lies in a slot of that name."""
    for place, entry in enumerate(path):
        if getattr(entry, "name", None) == slot:
            return leaf_path(path[place + 1 :])
    return None
