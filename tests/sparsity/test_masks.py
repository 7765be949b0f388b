"""Masks with exact counts, by chance and by size, and how they are applied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_tree import named, normal_tree, random_masks

from mast.sparsity.masks import (
    apply_masks,
    draw_masks,
    largest_mask,
    largest_mask_per_unit,
    random_mask,
    random_mask_per_unit,
    rank_among,
)
from mast.sparsity.optimizer import SparseState


@pytest.mark.parametrize("active", [0, 1, 7, 12])
def test_random_mask_has_exactly_the_wanted_number(active: int) -> None:
    mask = random_mask(jax.random.key(active), (3, 4), active)
    assert mask.shape == (3, 4)
    assert int(mask.sum()) == active


def test_random_masks_are_uniform() -> None:
    keys = jax.random.split(jax.random.key(0), 2000)
    masks = jax.jit(jax.vmap(lambda key: random_mask(key, (2, 5), 3)))(keys)
    share = np.asarray(masks, float).mean(0)
    # Five standard deviations of a share of 2000 at 0.3 are 0.051.
    np.testing.assert_allclose(share, 0.3, atol=0.051)


def test_largest_mask_breaks_ties_by_index() -> None:
    weight = jnp.array([[1.0, -3.0, 2.0], [-1.0, 1.0, 0.5]])
    np.testing.assert_array_equal(
        largest_mask(weight, 3), [[True, True, True], [False, False, False]]
    )
    np.testing.assert_array_equal(
        largest_mask(weight, 4), [[True, True, True], [True, False, False]]
    )


def test_masks_per_unit_have_each_units_own_count() -> None:
    counts = jnp.array([0, 5, 12])
    mask = random_mask_per_unit(jax.random.key(1), (3, 3, 4), counts)
    np.testing.assert_array_equal(mask.sum((1, 2)), counts)
    weight = jax.random.normal(jax.random.key(2), (3, 3, 4))
    mask = largest_mask_per_unit(weight, counts)
    for unit, count in enumerate(counts):
        np.testing.assert_array_equal(mask[unit], largest_mask(weight[unit], int(count)))


def test_random_masks_of_two_units_differ() -> None:
    mask = random_mask_per_unit(jax.random.key(1), (2, 8, 8), jnp.array([32, 32]))
    assert (mask[0] != mask[1]).any()


def test_draw_masks_draws_each_named_leaf_by_its_place_among_the_names() -> None:
    """Runs are repeated from their keys, so what a leaf draws from must not change."""
    tree, key, counts = normal_tree(1), jax.random.key(7), {"third.weight": 4, "first.weight": 9}
    masks = draw_masks(key, tree, counts)
    for place, name in enumerate(["first.weight", "third.weight"]):
        expected = random_mask(jax.random.fold_in(key, place), (6, 5), counts[name])
        np.testing.assert_array_equal(masks[name], expected)
    largest = draw_masks(key, tree, counts, "largest")
    np.testing.assert_array_equal(largest["first.weight"], largest_mask(tree["first"]["weight"], 9))
    assert all(bool(mask.all()) for mask in draw_masks(key, tree, counts, "ones").values())
    with pytest.raises(ValueError, match=r"initial_mask 'smallest'.*random, largest, ones"):
        draw_masks(key, tree, counts, "smallest")


def test_apply_masks_leaves_what_has_no_mask() -> None:
    tree, masks = normal_tree(1), random_masks(1)
    before, after = named(tree), named(apply_masks(tree, masks))
    for name in before:
        mask = masks.get(name, True)
        np.testing.assert_array_equal(after[name], np.where(mask, before[name], 0))


def test_leaf_path_joins_keys_attributes_and_places() -> None:
    tree = {"a": [jnp.zeros(1), SparseState({}, jnp.ones(1))]}
    assert list(named(tree)) == ["a.0", "a.1.inner"]


any_numbers = arrays.arrays(
    np.float32, (3, 4), elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, np.inf, np.nan])
)
some_members = arrays.arrays(bool, (3, 4))


@given(any_numbers, some_members)
@settings(max_examples=100, deadline=None)
def test_rank_among_counts_members_only_whatever_the_values(
    values: np.ndarray, members: np.ndarray
) -> None:
    """Infinite and missing values must not cost a layer weights."""
    ranks = np.asarray(rank_among(jnp.asarray(values), jnp.asarray(members)))
    chosen = values[members].tolist()
    order = sorted(
        range(len(chosen)), key=lambda place: (np.isnan(chosen[place]), chosen[place], place)
    )
    assert ranks[members].tolist() == [order.index(place) for place in range(len(chosen))]
