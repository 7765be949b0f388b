"""Masks, drop and grow, and the sparse optimizer, on a small tree of plain dictionaries."""

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

from golden import topology_by_definition as golden
from mast.sparsity.topology import (
    GrownState,
    Growth,
    Masks,
    SparseState,
    apply_masks,
    cosine_drop_fraction,
    evolve,
    evolve_mask,
    largest_mask,
    leaf_path,
    random_mask,
    sparse,
)

LEARNING_RATE, DECAY, EPSILON, CLIP = 0.01, 0.99, 1e-5, 10.0
ACTIVE = {"first.weight": 11, "second.weight": 30, "third.weight": 1}
"""Of 30 weights each: a sparse layer, one that is dense but has a mask, and a nearly empty one."""


def pymarls_rmsprop() -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.rmsprop(LEARNING_RATE, decay=DECAY, eps=EPSILON, eps_in_sqrt=False),
    )


LABELS = {
    "first": {"weight": "adam", "bias": "momentum"},
    "second": {"weight": "momentum"},
    "third": {"weight": "adam"},
    "unmasked": {"weight": "adam"},
}
OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "pymarls_rmsprop": pymarls_rmsprop(),
    "rmsprop": optax.rmsprop(LEARNING_RATE),
    "rmsprop_centred": optax.rmsprop(LEARNING_RATE, centered=True),
    "rmsprop_momentum": optax.rmsprop(LEARNING_RATE, momentum=0.9),
    "sgd_momentum": optax.sgd(LEARNING_RATE, momentum=0.9, nesterov=True),
    "adam": optax.adam(LEARNING_RATE),
    "adamw": optax.adamw(LEARNING_RATE, weight_decay=0.1),
    "lion": optax.lion(LEARNING_RATE, weight_decay=0.1),
    "clipped_adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LEARNING_RATE)),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(learning_rate=LEARNING_RATE),
    "multi_transform": optax.multi_transform(
        {"adam": optax.adam(LEARNING_RATE), "momentum": optax.sgd(LEARNING_RATE, momentum=0.9)},
        LABELS,
    ),
    "masked": optax.chain(
        optax.masked(
            optax.add_decayed_weights(0.1), jax.tree.map(lambda label: label == "adam", LABELS)
        ),
        optax.adam(LEARNING_RATE),
    ),
}
every_optimizer = pytest.mark.parametrize("inner", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def normal_tree(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {
        "first": {"weight": (6, 5), "bias": (6,)},
        "second": {"weight": (6, 5)},
        "third": {"weight": (6, 5)},
        "unmasked": {"weight": (2, 3)},
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def random_masks(seed: int) -> Masks:
    rng = np.random.default_rng(seed)
    leaves = named(normal_tree(0))
    return {
        name: jnp.asarray((rng.permutation(leaves[name].size) < n).reshape(leaves[name].shape))
        for name, n in ACTIVE.items()
    }


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {leaf_path(path): np.asarray(leaf) for path, leaf in leaves}


def slots_of(state: SparseState, name: str) -> dict[str, np.ndarray]:
    """What the wrapped optimizer remembers of a parameter, by path."""
    shape = state.masks[name].shape
    return {
        path: leaf
        for path, leaf in named(state.inner).items()
        if path.endswith(name) and leaf.shape == shape
    }


def start(inner: optax.GradientTransformation, seed: int = 0) -> tuple[Any, SparseState]:
    masks = random_masks(seed)
    params = apply_masks(normal_tree(seed), masks)
    return params, sparse(inner, masks).init(params)


def one_update(
    inner: optax.GradientTransformation, params: Any, state: SparseState, gradient: Any
) -> tuple[Any, SparseState]:
    updates, state = sparse(inner, state.masks).update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def one_evolution(
    inner: optax.GradientTransformation,
    params: Any,
    state: SparseState,
    gradient: Any,
    key: jax.Array | None = None,
    drop_fraction: Any = 0.5,
    growth: Any = Growth.GRADIENT,
    grown_state: Any = GrownState.GRAD,
) -> tuple[Any, SparseState, Any]:
    return evolve(
        params,
        state,
        sparse(inner, state.masks),
        gradient,
        key=jax.random.key(0) if key is None else key,
        drop_fraction=drop_fraction,
        growth=growth,
        grown_state=grown_state,
    )


update_jitted = jax.jit(partial(one_update, pymarls_rmsprop()))
evolve_jitted = jax.jit(partial(one_evolution, pymarls_rmsprop()))


def check_invariant(params: Any, state: SparseState, slots_too: bool = True) -> None:
    """Counts as they began; values and slots of inactive weights exactly zero."""
    values = named(params)
    for name, count in ACTIVE.items():
        mask = np.asarray(state.masks[name])
        assert mask.sum() == count, name
        assert (values[name][~mask] == 0).all(), name
        if slots_too:
            for path, slot in slots_of(state, name).items():
                assert (slot[~mask] == 0).all(), path


# --- evolve_mask ---

evolve_mask_jitted = jax.jit(evolve_mask)
small_numbers = st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0])


@st.composite
def layers_with_ties(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    size = 12
    weight = np.array(draw(st.lists(small_numbers, min_size=size, max_size=size)), np.float32)
    score = np.array(draw(st.lists(small_numbers, min_size=size, max_size=size)), np.float32)
    mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    count = draw(st.one_of(st.integers(0, int(mask.sum())), st.sampled_from([0, int(mask.sum())])))
    return weight, mask, score, count


@given(layers_with_ties())
@settings(max_examples=200, deadline=None)
def test_evolve_mask_is_sorting_and_cutting(
    layer: tuple[np.ndarray, np.ndarray, np.ndarray, int],
) -> None:
    weight, mask, score, count = layer
    shaped = [jnp.asarray(each.reshape(3, 4)) for each in (weight, mask, score)]
    evolved = np.asarray(evolve_mask_jitted(*shaped, jnp.int32(count))).ravel()
    expected = golden.evolve_mask(weight.tolist(), mask.tolist(), score.tolist(), count)
    np.testing.assert_array_equal(evolved, expected)
    assert evolved.sum() == mask.sum()


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_dropped_are_the_smallest_and_grown_the_best_of_all_not_kept(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    weight, score = rng.normal(size=(2, 5, 6)).astype(np.float32)
    mask = (rng.permutation(30) < 12).reshape(5, 6)
    arrays = [jnp.asarray(each) for each in (weight, mask, score)]
    evolved = np.asarray(evolve_mask_jitted(*arrays, jnp.int32(count)))
    kept = mask & (np.abs(weight) > np.sort(np.abs(weight[mask]))[count - 1] if count else True)
    assert kept.sum() == 12 - count
    assert (evolved >= kept).all()
    grown = evolved & ~kept
    left_out = ~evolved
    assert grown.sum() == count
    if count:
        assert score[grown].min() >= score[left_out].max()


def test_evolve_mask_by_hand() -> None:
    weight = jnp.array([0.5, -0.1, 0.0, 0.2, 0.0, -3.0])
    mask = jnp.array([True, True, False, True, False, True])
    score = jnp.array([9.0, 0.3, 0.4, 0.2, 0.1, 9.0])
    # Drops -0.1 and 0.2. Of these and the two inactive ones, 0.4 and 0.3 score best.
    evolved = evolve_mask(weight, mask, score, jnp.int32(2))
    np.testing.assert_array_equal(evolved, [True, True, True, False, False, True])


def test_what_stands_at_inactive_entries_is_ignored() -> None:
    weight = jnp.array([0.5, 1e-6, 0.1, 99.0])
    mask = jnp.array([True, False, True, False])
    evolved = evolve_mask(weight, mask, jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.int32(1))
    np.testing.assert_array_equal(evolved, [True, False, False, True])


def test_a_dense_layer_stays_as_it_is() -> None:
    weight = jnp.array([[0.1, -0.2], [0.3, 0.0]])
    for count in range(5):
        evolved = evolve_mask_jitted(
            weight, jnp.ones((2, 2), bool), jnp.zeros((2, 2)), jnp.int32(count)
        )
        assert bool(evolved.all())


# --- masks ---


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


def test_apply_masks_leaves_what_has_no_mask() -> None:
    tree, masks = normal_tree(1), random_masks(1)
    before, after = named(tree), named(apply_masks(tree, masks))
    for name in before:
        mask = masks.get(name, True)
        np.testing.assert_array_equal(after[name], np.where(mask, before[name], 0))


def test_leaf_path_joins_keys_attributes_and_places() -> None:
    tree = {"a": [jnp.zeros(1), SparseState({}, jnp.ones(1))]}
    assert list(named(tree)) == ["a.0", "a.1.inner"]


# --- the schedule ---


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 1.0), (100, 0.75), (150, 0.5), (200, 0.25), (300, 0.0), (301, 0.0), (10**7, 0.0)],
)
def test_cosine_drop_fraction(step: int, share: float) -> None:
    fraction = cosine_drop_fraction(0.4, step, 300)
    assert float(fraction) == pytest.approx(0.4 * share, abs=1e-7)
    assert float(fraction) == pytest.approx(
        0.2 * (1 + math.cos(math.pi * min(step, 300) / 300)), abs=1e-7
    )


def test_cosine_drop_fraction_is_data() -> None:
    initial, steps, totals = jnp.array([0.5, 0.3]), jnp.array([50, 10]), jnp.array([100, 40])
    together = jax.jit(jax.vmap(cosine_drop_fraction))(initial, steps, totals)
    alone = [cosine_drop_fraction(0.5, 50, 100), cosine_drop_fraction(0.3, 10, 40)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


# --- the sparse optimizer ---


def test_one_step_of_rmsprop_by_hand() -> None:
    params = {"w": jnp.array([1.0, 1.0, 0.0])}
    masks = {"w": jnp.array([True, True, False])}
    state = sparse(pymarls_rmsprop(), masks).init(params)
    params, state = one_update(pymarls_rmsprop(), params, state, {"w": jnp.array([2.0, 0.0, 5.0])})
    # v = 0.01 · 2² = 0.04 and the step is lr · 2 / (0.2 + ε).
    np.testing.assert_allclose(params["w"], [1 - 0.02 / (0.2 + EPSILON), 1.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(slots_of(state, "w")["1.0.nu.w"], [0.04, 0.0, 0.0], rtol=1e-5)


def test_rmsprop_is_torchs_with_the_clip_over_the_masked_gradient() -> None:
    masks = random_masks(2)
    params, state = start(pymarls_rmsprop(), 2)
    values = {name: leaf.astype(np.float64) for name, leaf in named(params).items()}
    square_averages = {name: np.zeros_like(leaf) for name, leaf in values.items()}
    clipped = 0
    for step in range(30):
        # Large where no weight is: an unmasked norm would clip everything away. Tiny at times, so
        # that ε counts.
        scale = 10.0 ** (step % 5 - 3)
        gradient = jax.tree.map(lambda leaf, scale=scale: scale * leaf, normal_tree(100 + step))
        loud = {
            name: np.where(masks[name], leaf, 1e4 * leaf) if name in masks else leaf
            for name, leaf in named(gradient).items()
        }
        treedef = jax.tree.structure(gradient)
        params, state = update_jitted(params, state, jax.tree.unflatten(treedef, loud.values()))
        quiet = {
            name: np.where(masks.get(name, True), leaf, 0).astype(np.float64)
            for name, leaf in loud.items()
        }
        cut = golden.clip_by_global_norm(quiet, CLIP)
        clipped += cut is not quiet
        for name in values:
            values[name], square_averages[name] = golden.torch_rmsprop_step(
                values[name], square_averages[name], cut[name], LEARNING_RATE, DECAY, EPSILON
            )
    assert 0 < clipped < 30
    for name, leaf in named(params).items():
        np.testing.assert_allclose(leaf, values[name], rtol=2e-5, atol=2e-6)
    for name in masks:
        np.testing.assert_allclose(
            slots_of(state, name)[f"1.0.nu.{name}"], square_averages[name], rtol=2e-5
        )


def test_with_masks_of_ones_the_wrapped_optimizer_is_itself() -> None:
    inner, params = optax.adamw(LEARNING_RATE), normal_tree(3)
    masks = {name: jnp.ones_like(mask) for name, mask in random_masks(3).items()}
    plain, wrapped = params, params
    plain_state, state = inner.init(params), sparse(inner, masks).init(params)
    for step in range(3):
        gradient = normal_tree(30 + step)
        updates, plain_state = inner.update(gradient, plain_state, plain)
        plain = optax.apply_updates(plain, updates)
        wrapped, state = one_update(inner, wrapped, state, gradient)
    for ours, theirs in zip(jax.tree.leaves(wrapped), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_optimizer
def test_any_optimizer_keeps_the_invariant(inner: optax.GradientTransformation) -> None:
    """Weight decay and momentum wake nothing; whatever is dropped forgets; what is grown is fresh."""
    params, state = start(inner, 4)
    check_invariant(params, state)
    for name in ACTIVE:
        assert slots_of(state, name), "the test must see the optimizer's slots"
    for round_ in range(3):
        for step in range(2):
            params, state = one_update(inner, params, state, normal_tree(10 * round_ + step))
            check_invariant(params, state)
        gradient = normal_tree(99 + round_)
        before, masks, values = state, state.masks, named(params)
        params, state, done = one_evolution(
            inner, params, state, gradient, grown_state=GrownState.ZERO
        )
        check_invariant(params, state)
        assert int(done.active) == sum(ACTIVE.values())
        assert int(done.grown) == int(done.dropped) > 0
        for name in ACTIVE:
            old, new = np.asarray(masks[name]), np.asarray(state.masks[name])
            np.testing.assert_array_equal(named(params)[name][old & new], values[name][old & new])
            old_slots = slots_of(before, name)
            for path, slot in slots_of(state, name).items():
                assert (slot[new & ~old] == 0).all(), path
                np.testing.assert_array_equal(slot[old & new], old_slots[path][old & new])
    moved = named(params)["first.weight"][np.asarray(state.masks["first.weight"])]
    assert np.isfinite(moved).all()


@every_optimizer
def test_kept_slots_of_dropped_weights_move_nothing(inner: optax.GradientTransformation) -> None:
    """Momentum that is left where no weight is decays there without effect (`keep`)."""
    params, state = start(inner, 15)
    for step in range(2):
        params, state = one_update(inner, params, state, normal_tree(150 + step))
    params, state, done = one_evolution(
        inner, params, state, normal_tree(152), grown_state=GrownState.KEEP
    )
    assert int(done.dropped) > 2
    inactive = ~np.asarray(state.masks["first.weight"])
    assert all((slot[inactive] != 0).any() for slot in slots_of(state, "first.weight").values())
    for step in range(3):
        params, state = one_update(inner, params, state, normal_tree(160 + step))
        check_invariant(params, state, slots_too=False)


def test_an_update_that_comes_from_no_gradient_is_masked_too() -> None:
    inner = optax.chain(optax.sgd(LEARNING_RATE), optax.add_noise(1.0, 0.55, jax.random.key(3)))
    params, state = start(inner, 16)
    before = named(params)["first.bias"]
    params, state = one_update(inner, params, state, jax.tree.map(jnp.zeros_like, params))
    check_invariant(params, state, slots_too=False)
    assert (named(params)["first.bias"] != before).all()


@every_optimizer
def test_evolution_touches_no_other_part_of_the_state(inner: optax.GradientTransformation) -> None:
    params, state = start(inner, 5)
    params, state = one_update(inner, params, state, normal_tree(50))
    before, values = named(state.inner), named(params)
    params, state, _ = one_evolution(inner, params, state, normal_tree(51))
    for path, leaf in named(state.inner).items():
        if not path.endswith(("first.weight", "third.weight")):
            np.testing.assert_array_equal(leaf, before[path], err_msg=path)
    for name in ("first.bias", "second.weight", "unmasked.weight"):
        np.testing.assert_array_equal(named(params)[name], values[name])


# --- evolution ---


def test_evolution_of_each_layer_is_evolve_mask_with_its_own_count() -> None:
    inner = pymarls_rmsprop()
    params, state = start(inner, 6)
    gradient = normal_tree(60)
    for drop_fraction in (0.0, 0.1, 0.3, 0.5, 1.0):
        _, evolved, done = one_evolution(
            inner, params, state, gradient, drop_fraction=drop_fraction
        )
        grown = 0
        for name, n in ACTIVE.items():
            old = np.asarray(state.masks[name])
            expected = golden.evolve_mask(
                named(params)[name].ravel().tolist(),
                old.ravel().tolist(),
                np.abs(named(gradient)[name]).ravel().tolist(),
                math.floor(drop_fraction * n),
            )
            new = np.asarray(evolved.masks[name])
            np.testing.assert_array_equal(new.ravel(), expected)
            grown += int((new & ~old).sum())
        assert int(done.grown) == int(done.dropped) == grown
        assert int(done.active) == sum(ACTIVE.values())


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
    assert int(done.grown) == 0


def filled(state: SparseState, seed: int, leftovers: bool) -> SparseState:
    """The state with random second moments; at inactive weights too if `leftovers`."""
    nu = jax.tree.map(lambda leaf: jnp.square(leaf) + 0.1, normal_tree(seed))
    nu = nu if leftovers else apply_masks(nu, state.masks)
    clip, (rms, *rest) = state.inner
    return state._replace(inner=(clip, (rms._replace(nu=nu), *rest)))


@pytest.mark.parametrize("grown_state", list(GrownState))
@pytest.mark.parametrize("growth", list(Growth))
def test_what_the_optimizer_remembers_of_grown_weights(
    grown_state: GrownState, growth: Growth
) -> None:
    inner = pymarls_rmsprop()
    params, state = start(inner, 8)
    # A run that kept slots before has such leftovers; only `keep` may read them.
    state = filled(state, 80, leftovers=True)
    gradient = normal_tree(81)
    values = named(params)
    new_params, new_state, _ = one_evolution(
        inner, params, state, gradient, growth=growth, grown_state=grown_state
    )
    check_invariant(new_params, new_state, slots_too=grown_state != GrownState.KEEP)
    for name in ("first.weight", "second.weight"):
        old, new = np.asarray(state.masks[name]), np.asarray(new_state.masks[name])
        stayed, grown = old & new, new & ~old
        assert name == "second.weight" or (grown.sum() > 2 and stayed.sum() > 5)
        path = f"1.0.nu.{name}"
        before, after = slots_of(state, name)[path], slots_of(new_state, name)[path]
        np.testing.assert_array_equal(after[stayed], before[stayed])
        np.testing.assert_array_equal(named(new_params)[name][stayed], values[name][stayed])
        np.testing.assert_array_equal(named(new_params)[name][~stayed], 0)
        if grown_state == GrownState.KEEP:
            np.testing.assert_array_equal(after, before)
            continue
        np.testing.assert_array_equal(after[~new], 0)
        expected = {
            GrownState.GRAD: np.square(named(gradient)[name]),
            GrownState.ZERO: np.zeros(old.shape),
            GrownState.MEAN: np.full(old.shape, before[old].mean()),
        }[grown_state]
        np.testing.assert_allclose(after[grown], expected[grown], rtol=1e-6)


def test_a_weight_dropped_and_grown_at_once_keeps_value_and_slots() -> None:
    """The smallest weights have by far the largest gradients: all that is dropped grows again."""
    inner = pymarls_rmsprop()
    params, state = start(inner, 9)
    state = filled(state, 90, leftovers=False)
    gradient = jax.tree.map(lambda leaf: jnp.where(leaf != 0, 1e3, 1.0), params)
    for grown_state in GrownState:
        after = one_evolution(inner, params, state, gradient, grown_state=grown_state)
        assert int(after[2].grown) == 0
        for before, now in zip(
            jax.tree.leaves((params, state)), jax.tree.leaves(after[:2]), strict=True
        ):
            np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("grown_state", "learning_rates"), [(GrownState.GRAD, 1.0), (GrownState.ZERO, 10.0)]
)
def test_first_step_of_a_grown_weight(grown_state: GrownState, learning_rates: float) -> None:
    """`grad`: as if the second moment had long been that of this gradient (spec §2)."""
    inner = optax.rmsprop(LEARNING_RATE, decay=DECAY, eps=1e-8, eps_in_sqrt=False)
    params, state = start(inner, 10)
    gradient = normal_tree(101)
    old = np.asarray(state.masks["first.weight"])
    params, state, _ = one_evolution(inner, params, state, gradient, grown_state=grown_state)
    params, state = one_update(inner, params, state, gradient)
    grown = np.asarray(state.masks["first.weight"]) & ~old
    step = named(params)["first.weight"][grown]
    signs = np.sign(named(gradient)["first.weight"][grown])
    assert len(step) > 2
    np.testing.assert_allclose(step, -learning_rates * LEARNING_RATE * signs, rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd_momentum", "lion"])
def test_without_a_second_moment_every_choice_but_keep_is_zero(name: str) -> None:
    inner = OPTIMIZERS[name]
    params, state = start(inner, 11)
    params, state = one_update(inner, params, state, normal_tree(110))
    results = {
        choice: one_evolution(inner, params, state, normal_tree(111), grown_state=choice)
        for choice in GrownState
    }
    zero = jax.tree.leaves(results[GrownState.ZERO])
    for choice in (GrownState.GRAD, GrownState.MEAN):
        for ours, theirs in zip(jax.tree.leaves(results[choice]), zero, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    kept = slots_of(results[GrownState.KEEP][1], "first.weight")
    for path, slot in slots_of(state, "first.weight").items():
        np.testing.assert_array_equal(kept[path], slot)


@pytest.mark.parametrize("name", ["adam", "inject_hyperparams", "multi_transform", "clipped_adam"])
def test_second_moments_are_found_wherever_they_lie(name: str) -> None:
    inner = OPTIMIZERS[name]
    params, state = start(inner, 12)
    params, state = one_update(inner, params, state, normal_tree(120))
    gradient = normal_tree(121)
    _, evolved, _ = one_evolution(inner, params, state, gradient, grown_state=GrownState.GRAD)
    grown = np.asarray(evolved.masks["first.weight"] & ~state.masks["first.weight"])
    slots = slots_of(evolved, "first.weight")
    assert sorted(path.removesuffix(".first.weight")[-2:] for path in slots) == ["mu", "nu"]
    for path, slot in slots.items():
        square = np.square(named(gradient)["first.weight"][grown])
        np.testing.assert_allclose(slot[grown], square if ".nu." in path else 0, rtol=1e-6)


def test_random_growth_reads_no_gradient_and_reaches_every_candidate() -> None:
    inner = pymarls_rmsprop()
    params, state = start(inner, 13)
    key, other_key = jax.random.split(jax.random.key(1))
    arguments: dict[str, Any] = {"growth": Growth.RANDOM, "grown_state": GrownState.ZERO}
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
    _, state, _ = one_evolution(optax.identity(), weights, state, weights, growth=Growth.RANDOM)
    assert (state.masks["a"] != state.masks["b"]).any()


def test_evolution_under_vmap_is_each_run_alone() -> None:
    """Growth rule, drop fraction and grown state are data with a run axis."""
    inner = pymarls_rmsprop()
    starts = [start(inner, seed) for seed in (20, 21, 22, 23)]
    starts = [(params, filled(state, 200, leftovers=False)) for params, state in starts]
    gradients = [normal_tree(seed) for seed in (30, 31, 32, 33)]
    keys = jax.random.split(jax.random.key(2), 4)
    drop_fraction = jnp.array([0.5, 0.5, 0.3, 0.0])
    growth = jnp.array([Growth.GRADIENT, Growth.RANDOM, Growth.RANDOM, Growth.GRADIENT])
    grown_state = jnp.array([GrownState.GRAD, GrownState.ZERO, GrownState.MEAN, GrownState.KEEP])

    def stack(trees: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    params, states = stack([each[0] for each in starts]), stack([each[1] for each in starts])
    together = jax.jit(jax.vmap(partial(one_evolution, inner)))(
        params, states, stack(gradients), keys, drop_fraction, growth, grown_state
    )
    for run in range(4):
        alone = evolve_jitted(
            *starts[run],
            gradients[run],
            keys[run],
            drop_fraction[run],
            growth[run],
            grown_state[run],
        )
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours[run], theirs, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(together[2].grown) > 0, [True, True, True, False])


# --- any number of steps ---

operations = st.one_of(
    st.tuples(st.just("update"), st.integers(0, 10**6), st.sampled_from([0.0, 1e-6, 1.0, 1e6])),
    st.tuples(
        st.just("evolve"),
        st.integers(0, 10**6),
        st.floats(0, 1, width=32),
        st.sampled_from(list(Growth)),
        st.sampled_from([GrownState.GRAD, GrownState.ZERO, GrownState.MEAN]),
    ),
)


@given(st.integers(0, 10**6), st.lists(operations, max_size=12))
@settings(max_examples=40, deadline=None)
def test_invariant_holds_after_any_number_of_steps(seed: int, history: list[tuple]) -> None:
    params, state = start(pymarls_rmsprop(), seed)
    for kind, number, *rest in history:
        if kind == "update":
            gradient = jax.tree.map(lambda leaf, scale=rest[0]: scale * leaf, normal_tree(number))
            params, state = update_jitted(params, state, gradient)
        else:
            drop_fraction, growth, grown_state = rest
            params, state, _ = evolve_jitted(
                params,
                state,
                normal_tree(number),
                jax.random.key(number),
                jnp.float32(drop_fraction),
                jnp.int32(growth),
                jnp.int32(grown_state),
            )
        check_invariant(params, state)
