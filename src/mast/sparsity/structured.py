"""Drop and grow within a pattern: in groups that each keep their number, and of units that go as a whole."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from mast.sparsity.masks import rank_among

Count = Int[Array, ""] | int


def place_among(counts: Sequence[int], active: Count) -> Int[Array, ""]:
    """The place of the largest of some rising counts that is at most `active`; 0 where none is."""
    place = jnp.searchsorted(jnp.asarray(list(counts)), jnp.asarray(active), side="right") - 1
    return jnp.maximum(place, 0)


def best_entries(score: Shaped[Array, "*shape"], active: Count) -> Bool[Array, "*shape"]:
    """The entries of largest score."""
    return rank_among(-score, jnp.ones(score.shape, bool)) < active


# --- groups that each keep their number: rows of a constant fan-in, N of M ---


def best_in_groups(
    score: Shaped[Array, "rows inputs"],
    quota: Count,
    last_quota: Count | None = None,
    length: int | None = None,
) -> Bool[Array, "rows inputs"]:
    """In each group the `quota` entries of largest score.

    Args:
        score: of each entry.
        quota: of each group.
        last_quota: of a row's last group, where that is shorter.
        length: inputs of a group; the whole row where None.
    """
    groups = _Groups(score.shape, length)
    quotas = groups.quotas(quota, last_quota)
    ranks = jax.vmap(rank_among)(-groups.split(score), groups.members)
    return groups.joined(groups.members & (ranks < quotas[:, None]))


def evolve_groups(
    mask: Bool[Array, "rows inputs"],
    drop_score: Shaped[Array, "rows inputs"],
    growth_score: Shaped[Array, "rows inputs"],
    drop: Count,
    quota: Count,
    last_quota: Count | None = None,
    length: int | None = None,
) -> Bool[Array, "rows inputs"]:
    """Drop the `drop` smallest of the layer, then grow the best of each group to its quota.

    A group whose growth scores are all alike, as a dead neuron's are, keeps what it has, and the others drop
    the same share as ever: what it grew would stay zero, be the smallest next time, and use up what the layer
    may drop.

    Args:
        mask: active entries.
        drop_score: smallest is dropped; ignored at inactive entries.
        growth_score: largest is grown, among a group's inactive entries (those just dropped among them).
        drop: of all active entries, and at most their number.
        quota, last_quota, length: as in `best_in_groups`.
    """
    groups = _Groups(mask.shape, length)
    quotas = groups.quotas(quota, last_quota)
    kept = _kept(mask, drop_score, drop, groups.choosing(growth_score))
    return groups.joined(
        _filled(groups, groups.split(kept), groups.split(drop_score), growth_score, quotas)
    )


def evolve_fan_in(
    mask: Bool[Array, "rows inputs"],
    drop_score: Shaped[Array, "rows inputs"],
    growth_score: Shaped[Array, "rows inputs"],
    drop: Count,
    grow: Count,
    salient_share: float,
    fewest: int,
    copies: int = 1,
) -> Bool[Array, "rows inputs"]:
    """`evolve_groups` with the fan-in as the quota, after neurons with few salient weights were ablated.

    Of a dead neuron, whose growth scores are all alike, no weight is salient.

    Args:
        mask, drop_score, growth_score, drop: as in `evolve_groups`.
        grow: weights that come back, and how many of the best candidates count as salient.
        salient_share: γ, of the fan-in; 0 ablates nothing.
        fewest: neurons that stay in each copy.
        copies: blocks of rows.

    Source: SRigL (Lasby et al. 2023), Section 3.1, steps 3 to 7.
    """
    wanted = mask.sum() - drop + grow
    groups = _Groups(mask.shape, None)
    choosing = groups.choosing(growth_score)
    kept = _kept(mask, drop_score, drop, choosing)
    lives = mask.any(axis=1)
    if salient_share > 0:
        candidates = ~kept & lives[:, None]
        promising = candidates & (rank_among(-growth_score, candidates) < grow)
        salient = ((kept | promising) & choosing).sum(axis=1)
        stays = _leading(_from_best(salient, lives), copies, fewest) & lives
        lives = _ablated(lives, stays, salient, wanted, salient_share, mask.shape[1])
    fan_in = jnp.maximum(1, wanted // lives.sum())
    quotas = jnp.where(lives, fan_in, 0)
    return _filled(groups, kept & lives[:, None], drop_score, growth_score, quotas)


def _kept(
    mask: Bool[Array, "rows inputs"],
    drop_score: Shaped[Array, "rows inputs"],
    drop: Count,
    choosing: Bool[Array, "rows inputs"],
) -> Bool[Array, "rows inputs"]:
    """What is left when of the groups that have a choice as large a share went as `drop` is of all."""
    candidates = mask & choosing
    # In float32: a product of two counts of a large layer is beyond int32.
    among, active = candidates.sum(), mask.sum()
    share = jnp.floor(jnp.float32(drop) * among / jnp.maximum(active, 1)).astype(jnp.int32)
    dropped = jnp.where(among == active, drop, share)
    return mask & ~(candidates & (rank_among(drop_score, candidates) < dropped))


def _ablated(
    lives: Bool[Array, " rows"],
    stays: Bool[Array, " rows"],
    salient: Int[Array, " rows"],
    weights: Int[Array, ""],
    salient_share: float,
    inputs: int,
) -> Bool[Array, " rows"]:
    """The neurons that stay: of those below the share as many go as leave a constant fan-in.

    Those with the fewest salient weights go first, the lowest index among equals; none of `stays`.
    """
    now = lives.sum()
    below = lives & ~stays & (salient < salient_share * (weights // now))
    number = jnp.arange(lives.size + 1)
    divides = (weights % jnp.maximum(number, 1) == 0) & (weights <= number * inputs)
    allowed = divides & (number >= now - below.sum()) & (number <= now)
    stay = jnp.where(allowed.any(), jnp.argmax(allowed), now)  # the smallest allowed
    return lives & ~(below & (rank_among(salient, below) < now - stay))


class _Groups:
    """The entries of a matrix by group, `[groups, length]`; a row's last group is filled up."""

    def __init__(self, shape: tuple[int, ...], length: int | None) -> None:
        self.rows, self.inputs = shape
        self.length = self.inputs if length is None else length
        self.per_row = -(-self.inputs // self.length)
        self.members = self.split(jnp.ones(shape, bool))

    def split(self, array: Shaped[Array, "rows inputs"]) -> Shaped[Array, "groups length"]:
        missing = self.per_row * self.length - self.inputs
        return jnp.pad(array, ((0, 0), (0, missing))).reshape(-1, self.length)

    def joined(self, array: Shaped[Array, "groups length"]) -> Shaped[Array, "rows inputs"]:
        return array.reshape(self.rows, -1)[:, : self.inputs]

    def choosing(self, growth_score: Shaped[Array, "rows inputs"]) -> Bool[Array, "rows inputs"]:
        """The entries of groups whose growth scores differ."""
        score = self.split(growth_score)
        alike = ((score == score[:, :1]) | ~self.members).all(axis=1)
        return self.joined(self.members & ~alike[:, None])

    def quotas(self, quota: Count, last: Count | None) -> Int[Array, " groups"]:
        each = jnp.broadcast_to(jnp.asarray(quota, jnp.int32), (self.rows, self.per_row))
        if last is not None and self.inputs % self.length:
            each = each.at[:, -1].set(jnp.asarray(last, jnp.int32))
        return each.ravel()


def _filled(
    groups: _Groups,
    kept: Bool[Array, "groups length"],
    drop_score: Shaped[Array, "groups length"],
    growth_score: Shaped[Array, "rows inputs"],
    quotas: Int[Array, " groups"],
) -> Bool[Array, "groups length"]:
    """Each group with exactly its quota: of what is kept at most that many, the rest grown."""
    ranks = jax.vmap(rank_among)
    too_many = kept.sum(axis=1) - quotas  # only while the layer is being pruned
    kept &= ranks(drop_score, kept) >= too_many[:, None]
    candidates = groups.members & ~kept
    lacking = quotas - kept.sum(axis=1)
    best = ranks(-groups.split(growth_score), candidates) < lacking[:, None]
    return kept | (candidates & best)


# --- units that go as a whole: blocks, neurons ---


class Units(NamedTuple):
    """Entries by unit, and back."""

    split: Callable[[Shaped[Array, "rows inputs"]], Shaped[Array, "units size"]]
    joined: Callable[[Bool[Array, " units"], tuple[int, ...]], Bool[Array, "rows inputs"]]


def blocks(r: int, c: int) -> Units:
    """Blocks of r rows and c inputs, which divide both axes."""

    def split(array: Shaped[Array, "rows inputs"]) -> Shaped[Array, "units size"]:
        rows, inputs = array.shape
        return array.reshape(rows // r, r, inputs // c, c).swapaxes(1, 2).reshape(-1, r * c)

    def joined(unit: Bool[Array, " units"], shape: tuple[int, ...]) -> Bool[Array, "rows inputs"]:
        grid = unit.reshape(shape[0] // r, shape[1] // c)
        return jnp.repeat(jnp.repeat(grid, r, axis=0), c, axis=1)

    return Units(split, joined)


def neurons(copies: int, gates: int) -> Units:
    """Rows, those of all gates of a neuron together."""

    def split(array: Shaped[Array, "rows inputs"]) -> Shaped[Array, "units size"]:
        inputs = array.shape[1]
        each = array.reshape(copies, gates, -1, inputs).swapaxes(1, 2)
        return each.reshape(-1, gates * inputs)

    def joined(unit: Bool[Array, " units"], shape: tuple[int, ...]) -> Bool[Array, "rows inputs"]:
        each = jnp.repeat(unit.reshape(copies, 1, -1), gates, axis=1)
        return jnp.broadcast_to(each.reshape(-1, 1), shape)

    return Units(split, joined)


class Floor(NamedTuple):
    """How many units stay in each part of a layer: in each copy, or in each band of rows."""

    parts: int = 1
    """As many units of a layer, one part after the other, in each."""
    fewest: int = 1


def best_units(
    score: Shaped[Array, "rows inputs"], active: Count, units: Units, floor: Floor
) -> Bool[Array, "rows inputs"]:
    """The units of the largest sums, that have `active` entries together."""
    each = units.split(score)
    sums = each.sum(axis=1)
    order = rank_among(-sums, jnp.ones(sums.shape, bool))
    return units.joined(_first(order, active // each.shape[1], floor), score.shape)


def _from_best(
    score: Shaped[Array, " units"], among: Bool[Array, " units"]
) -> Int[Array, " units"]:
    """Places in the reverse of the order in which units are dropped; the others come after these."""
    return jnp.where(among, among.sum() - 1 - rank_among(score, among), among.size)


def _leading(order: Int[Array, " units"], parts: int, fewest: int) -> Bool[Array, " units"]:
    """The first `fewest` of each part."""
    each = order.reshape(parts, -1)
    return (jnp.argsort(jnp.argsort(each, axis=1), axis=1) < fewest).ravel()


def _first(order: Int[Array, " units"], count: Count, floor: Floor) -> Bool[Array, " units"]:
    """The first units of an order, those that the floor keeps before all others."""
    stays = _leading(order, *floor)
    order = jnp.where(stays, order - order.size, order)
    return jnp.argsort(jnp.argsort(order)) < jnp.maximum(count, floor.parts * floor.fewest)


def evolve_units(
    mask: Bool[Array, "rows inputs"],
    drop_score: Shaped[Array, "rows inputs"],
    growth_score: Shaped[Array, "rows inputs"],
    drop: Count,
    grow: Count,
    units: Units,
    floor: Floor,
) -> Bool[Array, "rows inputs"]:
    """`evolve_mask` of whole units by the sums of their entries' scores.

    A part that would have fewer units than its floor keeps or grows its best ones in the place of others.

    Args:
        mask: units with all their entries or none.
        drop_score, growth_score: of each entry.
        drop, grow: entries; rounded down to whole units.
        units: which entries go together.
        floor: units that stay.
    """
    lives = units.split(mask).any(axis=1)
    size = mask.size // lives.size
    now = lives.sum()
    least = jnp.minimum(floor.parts * floor.fewest, now)
    wanted = jnp.clip((mask.sum() - drop + grow) // size, least, now)
    renewed = grow // size
    dropped = jnp.minimum(now, renewed + now - wanted)
    dropping, growing = (units.split(score).sum(axis=1) for score in (drop_score, growth_score))
    kept = lives & (rank_among(dropping, lives) >= dropped)
    grown = kept.sum() + rank_among(-growing, ~kept)
    order = jnp.where(kept, _from_best(dropping, kept), grown)
    return units.joined(_first(order, wanted, floor), mask.shape)
