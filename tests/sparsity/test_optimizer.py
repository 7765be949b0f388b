"""The sparse optimizer: whatever it wraps, inactive weights stay zero in every respect."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tree import (
    ACTIVE,
    CLIP,
    DECAY,
    DROPS,
    EPSILON,
    GROWTHS,
    LEARNING_RATE,
    OPTIMIZERS,
    check_invariant,
    every_optimizer,
    named,
    normal_tree,
    one_evolution,
    one_update,
    pymarls_rmsprop,
    random_masks,
    slots_of,
    start,
    update_jitted,
)

from golden import topology_by_definition as golden
from mast.sparsity.optimizer import SparseState, density, sparse
from mast.sparsity.slots import GrownState
from mast.sparsity.topology import total


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
        assert slots_of(state, name) or inner is OPTIMIZERS["sgd"], "the test must see the slots"
    for round_ in range(3):
        for step in range(2):
            params, state = one_update(inner, params, state, normal_tree(10 * round_ + step))
            check_invariant(params, state)
        gradient = normal_tree(99 + round_)
        before, values = state, named(params)
        params, state, done = one_evolution(
            inner, params, state, gradient, grown_state=GrownState.ZERO
        )
        check_invariant(params, state)
        assert int(total(done.active)) == sum(ACTIVE.values())
        assert int(total(done.grown)) == int(total(done.dropped)) > 0
        check_kept_and_grown(before, values, params, state)
        for name in ACTIVE:
            grown = np.asarray(state.masks[name] & ~before.masks[name])
            assert all((slot[grown] == 0).all() for slot in slots_of(state, name).values())
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
    assert int(total(done.dropped)) > 2
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


# --- masks that do not fit ---


def test_masks_must_name_leaves() -> None:
    masks = random_masks(0) | {"forth.weight": jnp.ones((6, 5), bool)}
    with pytest.raises(ValueError, match=r"no leaf.*: forth\.weight; the leaves are first\.bias, "):
        sparse(optax.adam(0.1), masks).init(normal_tree(0))


def test_masks_must_have_their_leafs_shape() -> None:
    masks = random_masks(0) | {"unmasked.weight": jnp.ones((3, 2), bool)}
    with pytest.raises(ValueError, match=r"unmasked\.weight has shape \(3, 2\), the leaf \(2, 3\)"):
        sparse(optax.adam(0.1), masks).init(normal_tree(0))


def test_a_gradient_without_the_sparse_leaves_is_refused() -> None:
    """Under other names they would be trained unmasked."""
    optimizer, params = sparse(optax.sgd(0.1), random_masks(0)), normal_tree(0)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"the gradient lacks sparse leaves: first\.weight, "):
        optimizer.update({"params": params}, state, {"params": params})


def test_density_counts_masked_leaves_only() -> None:
    _, state = start(optax.identity())
    assert float(density(state)) == pytest.approx(sum(ACTIVE.values()) / 90)


# --- any number of steps ---

operations = st.one_of(
    st.tuples(st.just("update"), st.integers(0, 10**6), st.sampled_from([0.0, 1e-6, 1.0, 1e6])),
    st.tuples(
        st.just("evolve"),
        st.integers(0, 10**6),
        st.floats(0, 1, width=32),
        st.sampled_from(range(len(GROWTHS))),
        st.sampled_from([GrownState.GRAD, GrownState.ZERO, GrownState.MEAN]),
        st.sampled_from(range(len(DROPS))),
        st.none() | st.integers(0, 30),
    ),
)


class Witness(NamedTuple):
    """The gradient that the optimizer was given."""

    seen: Any


def witness() -> optax.GradientTransformation:
    return optax.GradientTransformation(
        lambda params: Witness(jax.tree.map(jnp.zeros_like, params)),
        lambda updates, state, params=None: (updates, Witness(updates)),
    )


@functools.cache
def steps_of(name: str) -> tuple[Any, Any]:
    """Compiled once for all histories."""
    inner = optax.chain(witness(), OPTIMIZERS[name])

    def evolution(params, state, gradient, number, drop_fraction, growth, kept, drop, active):
        return one_evolution(
            inner,
            params,
            state,
            gradient,
            jax.random.key(number),
            drop_fraction,
            growth,
            kept,
            drop,
            {"first.weight": active},
        )

    return jax.jit(functools.partial(one_update, inner)), jax.jit(evolution)


@pytest.mark.parametrize(
    "name", ["pymarls_rmsprop", "rmsprop_centred", "nesterov", "adamw", "multi_transform"]
)
@given(seed=st.integers(0, 10**6), history=st.lists(operations, max_size=10))
@settings(max_examples=20, deadline=None)
def test_invariant_holds_after_any_number_of_steps(
    name: str, seed: int, history: list[tuple]
) -> None:
    update, evolution = steps_of(name)
    params, state = start(optax.chain(witness(), OPTIMIZERS[name]), seed)
    counts = dict(ACTIVE)
    for kind, number, *rest in history:
        if kind == "update":
            gradient = jax.tree.map(lambda leaf, scale=rest[0]: scale * leaf, normal_tree(number))
            params, state = update(params, state, gradient)
        else:
            *numbers, drop, active = rest
            active = counts["first.weight"] if active is None else active
            counts["first.weight"] = min(counts["first.weight"], active)
            before, values = state, named(params)
            params, state, done = evolution(
                params, state, normal_tree(number), number, *numbers, drop, active
            )
            assert {name: int(count) for name, count in done.active.items()} == counts
            check_kept_and_grown(before, values, params, state)
        check_invariant(params, state, counts=counts)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, state.inner)))


def check_kept_and_grown(
    before: SparseState, values: dict[str, np.ndarray], params: Any, state: SparseState
) -> None:
    """What stays keeps value and slots bit for bit; what is grown starts at zero, but for `nu`."""
    for name in ACTIVE:
        old, new = np.asarray(before.masks[name]), np.asarray(state.masks[name])
        np.testing.assert_array_equal(named(params)[name][old & new], values[name][old & new])
        assert (named(params)[name][new & ~old] == 0).all()
        old_slots = slots_of(before, name)
        for path, slot in slots_of(state, name).items():
            np.testing.assert_array_equal(slot[old & new], old_slots[path][old & new])
            assert ".nu." in path or (slot[new & ~old] == 0).all(), path
