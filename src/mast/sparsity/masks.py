"""Masks: which entries of a weight exist, one bool array per sparse leaf, kept by the leaf's path."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from mast.draws import permutations
from mast.sparsity.compact_matrix import is_compact
from mast.sparsity.layout import Patterns

Masks = dict[str, Array]
"""Masks by leaf path (`"agent.fc1.weight"`); leaves without one are dense."""

INITIAL_MASKS = ("random", "largest", "ones")
_VALUE = jax.tree_util.GetAttrKey("value")


def leaf_path(path: tuple[Any, ...]) -> str:
    """The name of a leaf: its keys joined by dots, as in `agent.fc1.weight`.

    The `value` of a variable of Flax NNX is left out: `nnx.Optimizer` shows an optimizer the bare arrays.
    """
    if len(path) > 1 and path[-1] == _VALUE:
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator=".")


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Every leaf of a tree by its path; a compact matrix is one.

    Raises:
        ValueError: two leaves have one path, as in {"a.b": …, "a": {"b": …}}.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_compact):
        name = leaf_path(path)
        if name in found:
            places = [
                jax.tree_util.keystr(other)
                for other, _ in jax.tree_util.tree_leaves_with_path(tree)
                if leaf_path(other) == name
            ]
            raise ValueError(f"two leaves are called {name}: {' and '.join(places)}; rename one")
        found[name] = leaf
    return found


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


def random_mask_per_unit(
    key: PRNGKeyArray, shape: tuple[int, ...], active: Int[Array, " units"]
) -> Bool[Array, " units *rest"]:
    """A random mask whose part at each index of the leading axis has its own exact count.

    Args:
        key: random key.
        shape: of the whole array; the leading axis is that of the units (agents).
        active: active entries of each unit.
    """

    def of_unit(unit_key: PRNGKeyArray, count: Int[Array, ""]) -> Bool[Array, "..."]:
        size = 1
        for axis in shape[1:]:
            size *= axis
        return (jax.random.permutation(unit_key, size) < count).reshape(shape[1:])

    return jax.vmap(of_unit)(jax.random.split(key, shape[0]), active)


def largest_mask_per_unit(
    weight: Float[Array, " units *rest"], active: Int[Array, " units"]
) -> Bool[Array, " units *rest"]:
    """The mask of each unit's `active` largest |w|; ties go to the lowest index."""

    def of_unit(part: Float[Array, "..."], count: Int[Array, ""]) -> Bool[Array, "..."]:
        return rank_among(-jnp.abs(part), jnp.ones(part.shape, bool)) < count

    return jax.vmap(of_unit)(weight, active)


def draw_masks(
    key: PRNGKeyArray,
    params: Any,
    counts: Mapping[str, int],
    initial_mask: str = "random",
    patterns: Patterns | None = None,
) -> Masks:
    """A mask for each named leaf, with exactly that many active weights (`"ones"`: with all of them).

    Args:
        key: random key; the k-th leaf in the order of names draws from `fold_in(key, k)`.
        params: any tree that holds the leaves.
        counts: active weights by leaf path.
        initial_mask: `"random"`, `"largest"` for the largest |w| as they stand, or `"ones"` where pruning
            is to come to the counts later.
        patterns: of the leaves that are not unstructured; `counts` must be what they can have
            (`held_counts`).

    Raises:
        ValueError: `initial_mask` is none of these.
    """
    if initial_mask not in INITIAL_MASKS:
        allowed = ", ".join(INITIAL_MASKS)
        raise ValueError(f"initial_mask {initial_mask!r} is unknown: one of {allowed}")
    weights = leaves_by_path(params)
    masks = {}
    indices: dict[str, int] = {}  # of the leaves that are drawn at random
    for index, (name, count) in enumerate(sorted(counts.items())):
        if initial_mask == "ones":
            masks[name] = jnp.ones(weights[name].shape, bool)
        elif patterns and name in patterns:
            weight, own_key = jnp.asarray(weights[name]), jax.random.fold_in(key, index)
            masks[name] = patterns[name].best(first_score(own_key, weight, initial_mask), count)
        elif initial_mask == "largest":
            masks[name] = largest_mask(weights[name], count)
        else:
            indices[name] = index
    return masks | _random_masks(key, indices, weights, counts)


def _random_masks(
    key: PRNGKeyArray,
    indices: Mapping[str, int],
    weights: Mapping[str, Any],
    counts: Mapping[str, int],
) -> Masks:
    """`random_mask` of several leaves, the k-th in the order of all leaves from `fold_in(key, k)`."""
    if not indices:
        return {}
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.array([*indices.values()]))
    orders = permutations(keys, [weights[name].size for name in indices])
    return {
        name: (order < counts[name]).reshape(weights[name].shape)
        for name, order in zip(indices, orders, strict=True)
    }


def first_score(
    key: PRNGKeyArray, weight: Float[Array, "*shape"], initial_mask: str
) -> Float[Array, "*shape"]:
    """By what a pattern chooses its first weights: |w|, or chance."""
    if initial_mask == "largest":
        return jnp.abs(weight)
    return jax.random.uniform(key, weight.shape)


def apply_masks(tree: Any, masks: Masks) -> Any:
    """The tree with zeros at inactive weights; leaves without a mask and compact matrices are unchanged."""

    def masked(path: tuple[Any, ...], leaf: Any) -> Any:
        mask = masks.get(leaf_path(path))
        return leaf if mask is None or is_compact(leaf) else jnp.where(mask, leaf, 0)

    return jax.tree_util.tree_map_with_path(masked, tree, is_leaf=is_compact)


def rank_among(
    values: Shaped[Array, "*shape"], members: Bool[Array, "*shape"]
) -> Int[Array, "*shape"]:
    """Each member's place (from 0) in ascending order of the members; elsewhere without meaning.

    Equal values go in order of their index and NaN comes last, so that exactly k members have a place
    below k whatever the values are. Needs one sort, and no value is set apart to mark what is no member.
    """
    order = jnp.argsort(values.ravel(), stable=True)
    places = jnp.cumsum(members.ravel()[order], dtype=jnp.int32) - 1
    return jnp.zeros(values.size, jnp.int32).at[order].set(places).reshape(values.shape)
