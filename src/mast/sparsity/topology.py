"""The evolution of masks by drop and grow.

Four plugs are independent: drop score and growth score (`scores`), the drop fraction over time (`schedules`)
and the split over layers (`allocation`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from mast.draws import LARGEST
from mast.sparsity.compact_matrix import has_compact
from mast.sparsity.layout import Patterns
from mast.sparsity.masks import Masks, apply_masks, leaves_by_path, rank_among
from mast.sparsity.optimizer import SparseState
from mast.sparsity.scores import Score, gradient_magnitude, magnitude
from mast.sparsity.slots import GrownState, reset_slots


class Evolution(NamedTuple):
    """What one evolution did, by leaf path; a weight dropped and grown again at once counts as neither."""

    dropped: dict[str, Int[Array, ""]]
    """Weights that were active and no longer are."""
    grown: dict[str, Int[Array, ""]]
    """Weights that are active and were not."""
    active: dict[str, Int[Array, ""]]
    """Active weights now."""


def total(counts: Mapping[str, Int[Array, ""]]) -> Int[Array, ""]:
    """The sum over all layers of one field of an `Evolution`."""
    return sum(counts.values(), start=jnp.zeros((), jnp.int32))


def evolve_mask(
    mask: Bool[Array, "*shape"],
    drop_score: Shaped[Array, "*shape"],
    growth_score: Shaped[Array, "*shape"],
    drop: Int[Array, ""],
    grow: Int[Array, ""],
) -> Bool[Array, "*shape"]:
    """Drop the `drop` active entries of smallest score, then grow the `grow` best of all inactive ones.

    A weight dropped is at once a candidate again. Ties go to the lowest index; NaN is dropped and grown last.
    By rank threshold, so that both counts are data: no shape depends on them.

    Args:
        mask: active entries.
        drop_score: smaller is dropped first; ignored at inactive entries.
        growth_score: larger is grown first.
        drop: at most the number of active entries.
        grow: at most the number of entries that are inactive after the drop.

    Source: MAST, Algorithm 1; RigL (Evci et al. 2020), Algorithm 1.
    """
    kept = mask & (rank_among(drop_score, mask) >= drop)
    candidates = ~kept
    return kept | (candidates & (rank_among(-growth_score, candidates) < grow))


def evolve(
    params: Any,
    state: SparseState,
    optimizer: optax.GradientTransformation,
    gradient: Any,
    *,
    key: PRNGKeyArray,
    drop_fraction: Float[Array, ""] | float,
    drop_score: Score = magnitude,
    growth_score: Score = gradient_magnitude,
    grown_state: Int[Array, ""] | int = GrownState.GRAD,
    active: Mapping[str, Any] | None = None,
    per_unit: bool | Collection[str] = False,
    patterns: Patterns | None = None,
) -> tuple[Any, SparseState, Evolution]:
    """One topology evolution of all sparse leaves: k = ⌊ζ_t · n_l⌋ drop and grow in each (spec §2).

    A weight that is dropped and at once grown again keeps its value and its slots. A newly grown one starts
    at 0 with the slots that `grown_state` says.

    Args:
        params: the parameters, zero at inactive weights; leaves that are no arrays may be among them, and
            matrices that are compact (then the gradient is that of the masked network).
        state: the sparse optimizer's state.
        optimizer: the transformation that `sparse` returned (its slots are found through it).
        gradient: the *dense*, unmasked, unclipped gradient of the current batch.
        key: random key, for scores that use one.
        drop_fraction: ζ_t, in [0, 1].
        drop_score: smallest is dropped, among active weights.
        growth_score: largest is grown, among the weights that are inactive after the drop.
        grown_state: a `GrownState`.
        active: by leaf path, how many active weights a layer has afterwards if it has more now (no layer
            gains any); layers not named keep theirs. Shrinking it with ζ_t = 0 is gradual magnitude pruning
            (`pruning_counts`). For a leaf taken per unit a number per unit or one for all.
        per_unit: which leaves have a leading axis of units (independent agents, `[units, outputs, inputs]`)
            that each keep their own count; True for all. Elsewhere ranks run over the whole leaf, so that
            the density of each unit emerges.
        patterns: of the leaves that are not unstructured; their masks have them before and afterwards, and
            k is rounded to what they can do.

    Returns:
        New parameters, state, and what was done.

    Raises:
        ValueError: a sparse leaf has no gradient, or `active` names a leaf that is not sparse; or the network
            is compact, and the gradient too, or `active` is given.
    """
    if has_compact(params):
        from mast.sparsity.compacting import evolve_compact

        plugs: dict[str, Any] = {
            "drop_fraction": drop_fraction,
            "drop_score": drop_score,
            "patterns": patterns,
        }
        plugs |= {"growth_score": growth_score, "grown_state": grown_state, "per_unit": per_unit}
        return evolve_compact(
            evolve, params, state, optimizer, gradient, key=key, active=active, **plugs
        )
    weights, gradients = leaves_by_path(params), leaves_by_path(gradient)
    _check_names("the gradient lacks sparse leaves", state.masks.keys() - gradients.keys())
    _check_names("`active` names leaves that are not sparse", (active or {}).keys() - state.masks)
    masks: Masks = {}
    free: list[_Leaf] = []
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(2 * len(state.masks)))
    for index, (name, mask) in enumerate(sorted(state.masks.items())):
        alone = per_unit if isinstance(per_unit, bool) else name in per_unit
        drop, grow = _counts(mask, drop_fraction, (active or {}).get(name), alone)
        layer = weights[name], gradients[name]
        # The growth key is the older one: runs from before drop scores had a key stay as they were.
        drop_key, growth_key = keys[len(state.masks) + index], keys[index]
        scores = drop_score(*layer, drop_key), growth_score(*layer, growth_key)
        if name not in (patterns or {}) and mask.size <= LARGEST:
            free.append(_Leaf(name, mask.shape[0] if alone else 1, mask, *scores, drop, grow))
        else:
            masks[name] = _evolution_of(name, alone, patterns)(mask, *scores, drop, grow)
    kinds = sorted({each.kind for each in free})
    for kind in kinds:
        masks |= _evolve_together([each for each in free if each.kind == kind])
    evolved = apply_masks(params, masks)
    inner = reset_slots(optimizer, state, masks, evolved, gradient, grown_state)
    done = Evolution(
        dropped={name: (state.masks[name] & ~mask).sum() for name, mask in masks.items()},
        grown={name: (mask & ~state.masks[name]).sum() for name, mask in masks.items()},
        active={name: mask.sum() for name, mask in masks.items()},
    )
    return evolved, SparseState(masks, inner), done


def _evolution_of(name: str, alone: bool, patterns: Patterns | None) -> Callable[..., Any]:
    """How a leaf's mask evolves by itself; `alone`: each of its units."""
    pattern = (patterns or {}).get(name)
    if pattern is None:
        return jax.vmap(evolve_mask) if alone else evolve_mask
    return jax.vmap(pattern.of_unit().evolve) if alone else pattern.evolve


class _Leaf(NamedTuple):
    """A small leaf without a pattern, as `evolve_mask` takes it, whose `units` keep their own counts."""

    name: str
    units: int
    mask: Array
    drop_score: Array
    growth_score: Array
    drop: Array
    grow: Array

    @property
    def kind(self) -> tuple[str, str]:
        """Scores of other types have another order."""
        return str(self.drop_score.dtype), str(self.growth_score.dtype)


def _evolve_together(leaves: Sequence[_Leaf]) -> Masks:
    """`evolve_mask` of every unit of every leaf, end to end in one array.

    Two sorts instead of two a leaf: compiling a sort, a sum and a scatter for each took most of the time of
    compiling an evolution. It runs longer, by 40 % for leaves of a million entries: these evolve alone.
    """
    firsts, start = [], 0
    for leaf in leaves:
        each = leaf.mask.size // leaf.units
        starts = start + each * jnp.arange(leaf.units, dtype=jnp.int32)
        firsts.append(_per_entry(starts, leaf))
        start += leaf.mask.size
    first = jnp.concatenate(firsts)  # of the entries of a unit, the first one's place
    mask = jnp.concatenate([leaf.mask.ravel() for leaf in leaves])
    drop_score = jnp.concatenate([leaf.drop_score.ravel() for leaf in leaves])
    growth_score = jnp.concatenate([leaf.growth_score.ravel() for leaf in leaves])
    drop = jnp.concatenate([_per_entry(leaf.drop, leaf) for leaf in leaves])
    grow = jnp.concatenate([_per_entry(leaf.grow, leaf) for leaf in leaves])
    kept = mask & (_rank_in_unit(drop_score, mask, first) >= drop)
    candidates = ~kept
    evolved = kept | (candidates & (_rank_in_unit(-growth_score, candidates, first) < grow))
    ends = np.cumsum([leaf.mask.size for leaf in leaves])[:-1]
    parts = jnp.split(evolved, ends)
    return {
        leaf.name: part.reshape(leaf.mask.shape) for leaf, part in zip(leaves, parts, strict=True)
    }


def _per_entry(numbers: Int[Array, "*units"], leaf: _Leaf) -> Int[Array, " entries"]:
    """A number of each unit, at each of its entries."""
    each = jnp.reshape(numbers, (leaf.units, 1))
    return jnp.broadcast_to(each, (leaf.units, leaf.mask.size // leaf.units)).ravel()


def _rank_in_unit(
    values: Shaped[Array, " entries"],
    members: Bool[Array, " entries"],
    first: Int[Array, " entries"],
) -> Int[Array, " entries"]:
    """`rank_among` of each unit by itself; `first` tells the units apart and where each begins."""
    places = jnp.arange(values.size, dtype=jnp.int32)
    order = jax.lax.sort((first, values, places), num_keys=2, is_stable=True)[2]
    count = jnp.cumsum(members[order], dtype=jnp.int32)
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), count])[first]
    return jnp.zeros_like(places).at[order].set(count - 1 - before, unique_indices=True)


def _counts(
    mask: Bool[Array, "..."],
    drop_fraction: Float[Array, ""] | float,
    active: Any,
    per_unit: bool,
) -> tuple[Int[Array, "*units"], Int[Array, "*units"]]:
    """How many to drop and to grow, of the leaf or of each of its units.

    ⌊ζ n⌋ are renewed and what is too much is dropped as well; never more than there are, so that the wanted
    number comes out even if everything is renewed.
    """
    now = mask.sum(axis=tuple(range(1, mask.ndim)) if per_unit else None)
    wanted = now if active is None else jnp.clip(jnp.asarray(active, jnp.int32), 0, now)
    renewed = jnp.floor(drop_fraction * now).astype(jnp.int32)
    drop = jnp.minimum(now, renewed + now - wanted)
    return drop, wanted - (now - drop)


def _check_names(complaint: str, names: Collection[str]) -> None:
    if names:
        raise ValueError(f"{complaint}: {', '.join(sorted(names))}")
