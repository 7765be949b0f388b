"""Drop and grow: which entries exist after an evolution."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tree import (
    ACTIVE,
    DROPS,
    GROWTHS,
    evolve_jitted,
    filled,
    named,
    normal_tree,
    one_evolution,
    one_update,
    pymarls_rmsprop,
    start,
)

from golden import topology_by_definition as golden
from mast.draws import LARGEST
from mast.sparsity import topology
from mast.sparsity.optimizer import sparse
from mast.sparsity.scores import random_score
from mast.sparsity.slots import GrownState
from mast.sparsity.topology import evolve, evolve_mask, total

# --- evolve_mask ---

evolve_mask_jitted = jax.jit(evolve_mask)
any_scores = st.sampled_from([-np.inf, -2.0, -0.5, -0.0, 0.0, 0.5, 1.0, np.inf])


@st.composite
def layers_with_ties(
    draw: st.DrawFn,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    size = 12
    scores = st.lists(any_scores, min_size=size, max_size=size)
    drop_score, growth_score = (np.array(draw(scores), np.float32) for _ in range(2))
    mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    active = int(mask.sum())
    drop = draw(st.one_of(st.integers(0, active), st.sampled_from([0, active])))
    grow = draw(st.one_of(st.just(drop), st.integers(0, size - active + drop)))
    return mask, drop_score, growth_score, drop, grow


@given(layers_with_ties())
@settings(max_examples=200, deadline=None)
def test_evolve_mask_is_sorting_and_cutting(
    layer: tuple[np.ndarray, np.ndarray, np.ndarray, int, int],
) -> None:
    mask, drop_score, growth_score, drop, grow = layer
    shaped = [jnp.asarray(each.reshape(3, 4)) for each in (mask, drop_score, growth_score)]
    evolved = np.asarray(evolve_mask_jitted(*shaped, jnp.int32(drop), jnp.int32(grow))).ravel()
    expected = golden.evolve_mask(
        mask.tolist(), drop_score.tolist(), growth_score.tolist(), drop, grow
    )
    np.testing.assert_array_equal(evolved, expected)
    assert evolved.sum() == mask.sum() - drop + grow


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_dropped_are_the_smallest_and_grown_the_best_of_all_not_kept(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    weight, score = rng.normal(size=(2, 5, 6)).astype(np.float32)
    mask = (rng.permutation(30) < 12).reshape(5, 6)
    arrays = [jnp.asarray(each) for each in (mask, np.abs(weight), score)]
    evolved = np.asarray(evolve_mask_jitted(*arrays, jnp.int32(count), jnp.int32(count)))
    kept = mask & (np.abs(weight) > np.sort(np.abs(weight[mask]))[count - 1] if count else True)
    assert kept.sum() == 12 - count
    assert (evolved >= kept).all()
    grown = evolved & ~kept
    left_out = ~evolved
    assert grown.sum() == count
    if count:
        assert score[grown].min() >= score[left_out].max()


def test_evolve_mask_by_hand() -> None:
    magnitude = jnp.array([0.5, 0.1, 0.0, 0.2, 0.0, 3.0])
    mask = jnp.array([True, True, False, True, False, True])
    score = jnp.array([9.0, 0.3, 0.4, 0.2, 0.1, 9.0])
    # Drops 0.1 and 0.2. Of these and the two inactive ones, 0.4 and 0.3 score best.
    evolved = evolve_mask(mask, magnitude, score, jnp.int32(2), jnp.int32(2))
    np.testing.assert_array_equal(evolved, [True, True, True, False, False, True])
    evolved = evolve_mask(mask, magnitude, score, jnp.int32(2), jnp.int32(0))
    np.testing.assert_array_equal(evolved, [True, False, False, False, False, True])


def test_drop_scores_at_inactive_entries_are_ignored() -> None:
    score = jnp.array([0.5, 1e-6, 0.1, 99.0])
    mask, growth_score = jnp.array([True, False, True, False]), jnp.array([0.0, 0.0, 0.0, 1.0])
    evolved = evolve_mask(mask, score, growth_score, jnp.int32(1), jnp.int32(1))
    np.testing.assert_array_equal(evolved, [True, False, False, True])


def test_a_dense_layer_stays_as_it_is() -> None:
    score, mask = jnp.array([[0.1, -0.2], [0.3, 0.0]]), jnp.ones((2, 2), bool)
    for count in range(5):
        k = jnp.int32(count)
        assert bool(evolve_mask_jitted(mask, score, jnp.zeros((2, 2)), k, k).all())


def test_missing_scores_cost_no_weights() -> None:
    """A gradient that is NaN must not change how many weights there are."""
    mask, nan = jnp.array([True, False, True, False, False]), jnp.full(5, jnp.nan)
    evolved = evolve_mask(mask, nan, nan, jnp.int32(2), jnp.int32(2))
    assert int(evolved.sum()) == 2
    score = nan.at[4].set(-1.0)
    evolved = evolve_mask(mask, jnp.arange(5.0), score, jnp.int32(1), jnp.int32(1))
    np.testing.assert_array_equal(evolved, [False, False, True, False, True])


# --- evolution ---


@pytest.mark.parametrize("largest", [LARGEST, 0], ids=["together", "one by one"])
def test_evolution_of_each_layer_is_evolve_mask_with_its_own_count(
    monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(topology, "LARGEST", largest)
    inner = pymarls_rmsprop()
    params, state = start(inner, 6)
    gradient = normal_tree(60)
    for drop_fraction in (0.0, 0.1, 0.3, 0.5, 1.0):
        _, evolved, done = one_evolution(
            inner, params, state, gradient, drop_fraction=drop_fraction
        )
        for name, n in ACTIVE.items():
            old = np.asarray(state.masks[name])
            count = math.floor(drop_fraction * n)
            expected = golden.evolve_mask(
                old.ravel().tolist(),
                np.abs(named(params)[name]).ravel().tolist(),
                np.abs(named(gradient)[name]).ravel().tolist(),
                count,
                count,
            )
            new = np.asarray(evolved.masks[name])
            np.testing.assert_array_equal(new.ravel(), expected)
            assert int(done.grown[name]) == int(done.dropped[name]) == (new & ~old).sum()
            assert int(done.active[name]) == n


def test_without_a_drop_fraction_nothing_changes() -> None:
    inner = pymarls_rmsprop()
    params, state = start(inner, 7)
    params, state = one_update(inner, params, state, normal_tree(70))
    same_params, same_state, done = one_evolution(
        inner, params, state, normal_tree(71), drop_fraction=0.0
    )
    for before, after in zip(
        jax.tree.leaves((params, state)), jax.tree.leaves((same_params, same_state)), strict=True
    ):
        np.testing.assert_array_equal(after, before)
    assert int(total(done.grown)) == 0


def test_a_weight_dropped_and_grown_at_once_keeps_value_and_slots() -> None:
    """The smallest weights have by far the largest gradients: all that is dropped grows again."""
    inner = pymarls_rmsprop()
    params, state = start(inner, 9)
    state = filled(state, 90, leftovers=False)
    gradient = jax.tree.map(lambda leaf: jnp.where(leaf != 0, 1e3, 1.0), params)
    for grown_state in GrownState:
        after = one_evolution(inner, params, state, gradient, grown_state=grown_state)
        assert int(total(after[2].grown)) == 0
        for before, now in zip(
            jax.tree.leaves((params, state)), jax.tree.leaves(after[:2]), strict=True
        ):
            np.testing.assert_array_equal(now, before)


def test_random_growth_reads_no_gradient_and_reaches_every_candidate() -> None:
    inner = pymarls_rmsprop()
    params, state = start(inner, 13)
    key, other_key = jax.random.split(jax.random.key(1))
    arguments: dict[str, Any] = {"growth": GROWTHS.index("random"), "grown_state": GrownState.ZERO}
    one = one_evolution(inner, params, state, normal_tree(130), key, **arguments)
    two = one_evolution(inner, params, state, normal_tree(131), key, **arguments)
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    three = one_evolution(inner, params, state, normal_tree(130), other_key, **arguments)
    assert (one[1].masks["first.weight"] != three[1].masks["first.weight"]).any()

    @jax.jit
    @jax.vmap
    def mask_of(key: jax.Array) -> jax.Array:
        evolved = one_evolution(inner, params, state, params, key, **arguments)[1]
        return evolved.masks["first.weight"]

    often = np.asarray(mask_of(jax.random.split(key, 1000)), float).mean(0)
    # 5 of 11 dropped, 5 of the 24 that are then inactive grown: each of them with chance 5/24.
    weight = np.abs(named(params)["first.weight"])
    kept = weight > np.sort(weight[weight > 0])[4]
    np.testing.assert_array_equal(often[kept], 1.0)
    np.testing.assert_allclose(often[~kept], 5 / 24, atol=5 * (0.165 / 1000) ** 0.5)


def test_layers_of_one_shape_grow_at_different_places() -> None:
    params, state = start(optax.identity())
    weight, mask = params["first"]["weight"], state.masks["first.weight"]
    weights, masks = {"a": weight, "b": weight}, {"a": mask, "b": mask}
    state = sparse(optax.identity(), masks).init(weights)
    _, state, _ = one_evolution(
        optax.identity(), weights, state, weights, growth=GROWTHS.index("random")
    )
    assert (state.masks["a"] != state.masks["b"]).any()


def test_drop_and_growth_scores_are_independent() -> None:
    """Each of the two draws from its own key: dropped at random is not grown at random."""
    params, state = start(optax.identity(), 17)
    weight, mask = params["first"]["weight"], state.masks["first.weight"]
    weights = {"w": weight}
    state = sparse(optax.identity(), {"w": mask}).init(weights)
    seen: dict[str, Any] = {}

    def remembered(name: str) -> Any:
        def score(weight: jax.Array, gradient: jax.Array, key: jax.Array) -> jax.Array:
            seen[name] = key
            return random_score(weight, gradient, key)

        return score

    _, _, done = evolve(
        weights,
        state,
        sparse(optax.identity(), state.masks),
        weights,
        key=jax.random.key(0),
        drop_fraction=0.5,
        drop_score=remembered("drop"),
        growth_score=remembered("growth"),
    )
    assert int(done.active["w"]) == 11
    assert int(done.grown["w"]) > 0
    assert (jax.random.key_data(seen["drop"]) != jax.random.key_data(seen["growth"])).any()


def test_random_drop_spares_nobody() -> None:
    params, state = start(optax.identity(), 17)
    largest = jnp.abs(params["first"]["weight"]).argmax()
    # Only what was inactive has a gradient, so nothing that is dropped grows again at once.
    gradient = jax.tree.map(lambda leaf: jnp.where(leaf == 0, 1.0, 0.0), params)
    lost = 0
    for number in range(20):
        _, evolved, _ = one_evolution(
            optax.identity(),
            params,
            state,
            gradient,
            jax.random.key(number),
            drop=DROPS.index("random"),
        )
        lost += not evolved.masks["first.weight"].ravel()[largest]
    assert 3 < lost < 17, "5 of 11 each time"


def test_a_leaf_without_gradient_is_named() -> None:
    params, state = start(optax.identity())
    with pytest.raises(ValueError, match=r"gradient lacks.*first\.weight, second\.weight"):
        one_evolution(optax.identity(), params, state, {"third": params["third"]})


def test_evolution_under_vmap_is_each_run_alone() -> None:
    """Both rules, drop fraction, grown state and active weights are data with a run axis."""
    inner = pymarls_rmsprop()
    starts = [start(inner, seed) for seed in (20, 21, 22, 23)]
    starts = [(params, filled(state, 200, leftovers=False)) for params, state in starts]
    gradients = [normal_tree(seed) for seed in (30, 31, 32, 33)]
    keys = jax.random.split(jax.random.key(2), 4)
    drop_fraction = jnp.array([0.5, 0.5, 0.3, 0.0])
    growth = jnp.array(
        [
            GROWTHS.index("gradient"),
            GROWTHS.index("random"),
            GROWTHS.index("random"),
            GROWTHS.index("gradient"),
        ]
    )
    grown_state = jnp.array([GrownState.GRAD, GrownState.ZERO, GrownState.MEAN, GrownState.KEEP])

    drop = jnp.array(
        [
            DROPS.index("magnitude"),
            DROPS.index("random"),
            DROPS.index("sensitivity"),
            DROPS.index("magnitude"),
        ]
    )
    active = {"first.weight": jnp.array([11, 5, 11, 3])}

    def stack(trees: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    params, states = stack([each[0] for each in starts]), stack([each[1] for each in starts])
    together = jax.jit(jax.vmap(partial(one_evolution, inner)))(
        params, states, stack(gradients), keys, drop_fraction, growth, grown_state, drop, active
    )
    for run in range(4):
        alone = evolve_jitted(
            *starts[run],
            gradients[run],
            keys[run],
            drop_fraction[run],
            growth[run],
            grown_state[run],
            drop[run],
            {name: count[run] for name, count in active.items()},
        )
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours[run], theirs, rtol=1e-6)
    grown = sum(together[2].grown.values())
    np.testing.assert_array_equal(np.asarray(grown) > 0, [True, True, True, False])
    np.testing.assert_array_equal(together[2].active["first.weight"], [11, 5, 11, 3])
