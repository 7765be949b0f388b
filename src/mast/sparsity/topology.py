"""Which weights exist: masks inside the optimizer state, and their evolution by drop and grow.

Masks are kept by path (`"agent.fc1.weight"`), one bool array per sparse leaf; leaves without a mask are
dense. The invariant: values, gradients given to the optimizer, and (except under `grown_state="keep"`)
optimizer slots of inactive weights are exactly zero at all times.
"""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Masks = dict[str, Array]


class Growth(enum.IntEnum):
    """What a candidate's score is: the size of its gradient (RigL, MAST) or chance (SET)."""

    GRADIENT = 0
    RANDOM = 1


class GrownState(enum.IntEnum):
    """What the optimizer remembers of a newly grown weight (spec §2)."""

    GRAD = 0
    ZERO = 1
    MEAN = 2
    KEEP = 3


class SparseState(NamedTuple):
    """The state of a sparse optimizer: the masks ride beside the wrapped optimizer's own state."""

    masks: Masks
    inner: optax.OptState


class Evolution(NamedTuple):
    """What one evolution did, counted over all layers."""

    dropped: Int[Array, ""]
    """Weights dropped and not grown again at once."""
    grown: Int[Array, ""]
    """Weights that were inactive before; equal to `dropped`."""
    active: Int[Array, ""]
    """Active weights; never changes."""


def leaf_path(path: tuple[Any, ...]) -> str:
    """The name of a leaf: its keys joined by dots, as in `agent.fc1.weight`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def random_mask(key: PRNGKeyArray, shape: tuple[int, ...], active: int) -> Bool[Array, "..."]:
    """A uniformly random mask with exactly `active` entries set."""
    size = 1
    for axis in shape:
        size *= axis
    return (jax.random.permutation(key, size) < active).reshape(shape)


def largest_mask(weight: Float[Array, "..."], active: int) -> Bool[Array, "..."]:
    """The mask of the `active` largest |w|; ties go to the lowest index (RLx2's code)."""
    order = jnp.argsort(-jnp.abs(weight).ravel(), stable=True)
    return jnp.zeros(weight.size, bool).at[order[:active]].set(True).reshape(weight.shape)


def apply_masks(tree: Any, masks: Masks) -> Any:
    """The tree with zeros at inactive weights; leaves without a mask are unchanged."""

    def masked(path: tuple[Any, ...], leaf: Array) -> Array:
        mask = masks.get(leaf_path(path))
        return leaf if mask is None else jnp.where(mask, leaf, 0)

    return jax.tree_util.tree_map_with_path(masked, tree)


def sparse(
    inner: optax.GradientTransformation, masks: Masks
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimizer so that it never touches an inactive weight.

    Gradients are masked before `inner` sees them (so a clipping norm is over the masked gradient) and its
    updates after, so that weight decay cannot wake what is asleep. `update` takes the masks from its state,
    where `evolve` changes them.

    Args:
        inner: any Optax transformation.
        masks: the initial masks by leaf path.
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> SparseState:
        return SparseState(masks, inner.init(params))

    def update(
        updates: Any, state: SparseState, params: Any = None, **extra: Any
    ) -> tuple[Any, SparseState]:
        updates = apply_masks(updates, state.masks)
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        return apply_masks(updates, state.masks), SparseState(state.masks, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def cosine_drop_fraction(
    initial: Float[Array, ""] | float,
    step: Int[Array, ""] | Float[Array, ""] | int,
    total: Int[Array, ""] | Float[Array, ""] | int,
) -> Float[Array, ""]:
    """ζ_t = ζ_0/2 · (1 + cos(π t / T_end)); 0 from T_end on (MAST §4.1)."""
    progress = jnp.clip(jnp.asarray(step, jnp.float32) / total, 0.0, 1.0)
    return 0.5 * initial * (1.0 + jnp.cos(jnp.pi * progress))


def evolve_mask(
    weight: Float[Array, "..."],
    mask: Bool[Array, "..."],
    score: Float[Array, "..."],
    count: Int[Array, ""],
) -> Bool[Array, "..."]:
    """Drop the `count` smallest active |w|, grow as many of the highest scores (MAST, Algorithm 1).

    A weight dropped is at once a candidate again. Ties go to the lowest index. By rank threshold, so that
    `count` is data: no shape depends on it. The number of active weights does not change.

    Args:
        weight: values; whatever stands at inactive entries is ignored.
        mask: active entries.
        score: larger is grown first.
        count: k, at most the number of active entries.
    """
    magnitude = jnp.where(mask, jnp.abs(weight), jnp.inf)
    kept = mask & (_rank(magnitude) >= count)
    candidate = jnp.where(kept, jnp.inf, -score)
    return kept | (~kept & (_rank(candidate) < count))


def _rank(values: Array) -> Array:
    """Each entry's place in ascending order, equal values in order of their index."""
    order = jnp.argsort(values.ravel(), stable=True)
    ranks = (
        jnp.zeros(values.size, jnp.int32).at[order].set(jnp.arange(values.size, dtype=jnp.int32))
    )
    return ranks.reshape(values.shape)


def evolve(
    params: Any,
    state: SparseState,
    optimizer: optax.GradientTransformation,
    gradient: Any,
    *,
    key: PRNGKeyArray,
    drop_fraction: Float[Array, ""] | float,
    growth: Int[Array, ""] | int = Growth.GRADIENT,
    grown_state: Int[Array, ""] | int = GrownState.GRAD,
) -> tuple[Any, SparseState, Evolution]:
    """One topology evolution of all sparse leaves: k = ⌊ζ_t · n_l⌋ drop and grow in each (spec §2).

    A weight that is dropped and at once grown again keeps its value and its slots. A newly grown one starts
    at 0 with the slots that `grown_state` says.

    Args:
        params: the parameters, zero at inactive weights.
        state: the sparse optimizer's state.
        optimizer: the transformation that `sparse` returned (its slots are found through it).
        gradient: the *dense*, unmasked, unclipped gradient of the current batch.
        key: random key, used by random growth.
        drop_fraction: ζ_t.
        growth: a `Growth`.
        grown_state: a `GrownState`.

    Returns:
        New parameters, state, and what was done.
    """
    masks = dict(state.masks)
    weights = {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    scores = {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)}
    grown_total = jnp.zeros((), jnp.int32)
    for index, (name, mask) in enumerate(sorted(state.masks.items())):
        chance = jax.random.uniform(jax.random.fold_in(key, index), mask.shape)
        score = jnp.where(growth == Growth.RANDOM, chance, jnp.abs(scores[name]))
        count = jnp.floor(drop_fraction * mask.sum()).astype(jnp.int32)
        masks[name] = evolve_mask(weights[name], mask, score, count)
        grown_total += (masks[name] & ~mask).sum()
    inner = _reset_slots(optimizer, state, masks, gradient, params, grown_state)
    active = sum((mask.sum() for mask in masks.values()), start=jnp.zeros((), jnp.int32))
    done = Evolution(dropped=grown_total, grown=grown_total, active=active)
    return apply_masks(params, masks), SparseState(masks, inner), done


def _reset_slots(
    optimizer: optax.GradientTransformation,
    state: SparseState,
    masks: Masks,
    gradient: Any,
    params: Any,
    grown_state: Int[Array, ""] | int,
) -> optax.OptState:
    """Slots after an evolution: what stayed is kept, the rest set as `grown_state` says.

    Zeroing goes through `optax.tree_map_params`, whatever the optimizer; only slots named `nu` (second
    moments) can get another value, and those are found by their path.
    """
    stayed = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            state.masks[name] & masks[name]
            if (name := leaf_path(path)) in masks
            else jnp.ones(leaf.shape, bool)
        ),
        params,
    )
    keep = grown_state == GrownState.KEEP

    def is_elsewhere(slot: Any) -> bool:
        return isinstance(slot, optax.MaskedNode)  # that parameter has another transform's slots

    def zeroed(slot: Any, stays: Array) -> Any:
        if is_elsewhere(slot):
            return slot
        return jnp.where(stays | keep, slot, 0).astype(slot.dtype)

    fresh = optax.tree_map_params(optimizer, zeroed, state, stayed, is_leaf=is_elsewhere).inner
    squares = {
        leaf_path(path): jnp.square(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
    }

    def second_moment(path: tuple[Any, ...], slot: Array, old: Array) -> Array:
        name = _slot_of(path, "nu")
        if name not in masks:
            return slot
        grown = masks[name] & ~state.masks[name]
        mean = old.sum(where=state.masks[name]) / jnp.maximum(state.masks[name].sum(), 1)
        value = jnp.where(grown_state == GrownState.GRAD, squares[name], mean)
        chosen = (grown_state == GrownState.GRAD) | (grown_state == GrownState.MEAN)
        return jnp.where(grown & chosen, value, slot)

    return jax.tree_util.tree_map_with_path(second_moment, fresh, state.inner)


def _slot_of(path: tuple[Any, ...], slot: str) -> str | None:
    """The parameter that a state leaf belongs to, if it lies in a slot of that name."""
    for place, entry in enumerate(path):
        if getattr(entry, "name", None) == slot:
            return leaf_path(path[place + 1 :])
    return None
