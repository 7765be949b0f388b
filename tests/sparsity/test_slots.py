"""What the optimizer remembers of grown weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_tree import (
    DECAY,
    GROWTHS,
    LEARNING_RATE,
    OPTIMIZERS,
    check_invariant,
    filled,
    named,
    normal_tree,
    one_evolution,
    one_update,
    pymarls_rmsprop,
    random_masks,
    slots_of,
    start,
)

from mast.sparsity.masks import apply_masks
from mast.sparsity.optimizer import sparse
from mast.sparsity.slots import GrownState


@pytest.mark.parametrize("grown_state", list(GrownState))
@pytest.mark.parametrize("growth", range(len(GROWTHS)), ids=GROWTHS)
def test_what_the_optimizer_remembers_of_grown_weights(
    grown_state: GrownState, growth: int
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


@pytest.mark.parametrize(
    ("grown_state", "learning_rates"), [(GrownState.GRAD, 0.1), (GrownState.ZERO, 10**0.5)]
)
def test_first_step_of_a_weight_grown_late_under_adam(
    grown_state: GrownState, learning_rates: float
) -> None:
    """Bias correction counts the optimizer's steps, not the weight's, so it is long over."""
    inner = optax.adam(LEARNING_RATE)
    params, state = start(inner, 10)
    adam, *rest = state.inner
    state = state._replace(inner=(adam._replace(count=jnp.int32(10**6)), *rest))
    gradient, old = normal_tree(101), np.asarray(state.masks["first.weight"])
    params, state, _ = one_evolution(inner, params, state, gradient, grown_state=grown_state)
    params, state = one_update(inner, params, state, gradient)
    grown = np.asarray(state.masks["first.weight"]) & ~old
    step = named(params)["first.weight"][grown]
    signs = np.sign(named(gradient)["first.weight"][grown])
    np.testing.assert_allclose(step, -learning_rates * LEARNING_RATE * signs, rtol=1e-3)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "lion"])
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


@pytest.mark.parametrize("eps_in_sqrt", [True, False])
@pytest.mark.parametrize("order", [list(GrownState), list(reversed(GrownState))])
def test_a_centred_variance_never_becomes_negative(
    eps_in_sqrt: bool, order: list[GrownState]
) -> None:
    """Where nu < mu² the root would be NaN: no choice, nor one after another, may bring that about."""
    inner = optax.rmsprop(LEARNING_RATE, centered=True, eps=1e-12, eps_in_sqrt=eps_in_sqrt)
    params, state = start(inner, 14)
    for number in range(16):
        gradient = jax.tree.map(
            lambda leaf, size=10.0 ** (number % 7 - 3): size * leaf, normal_tree(number)
        )
        params, state = one_update(inner, params, state, gradient)
        params, state, _ = one_evolution(
            inner, params, state, gradient, grown_state=order[number % len(order)]
        )
        rms = state.inner[0]
        for mu, nu in zip(jax.tree.leaves(rms.mu), jax.tree.leaves(rms.nu), strict=True):
            assert (nu >= mu**2 * (1 - 1e-6)).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    "inner",
    [
        optax.novograd(0.1),
        optax.adafactor(0.1, min_dim_size_to_factor=2),
        optax.scale_by_lbfgs(memory_size=3),
    ],
    ids=["novograd", "adafactor", "lbfgs"],
)
def test_slots_of_other_shapes(inner: optax.GradientTransformation) -> None:
    """A number per layer or a factored moment stays; a history of the weight is reset in each entry."""
    params, state = start(inner, 19)
    optimizer = sparse(inner, state.masks)
    _, state = optimizer.update(normal_tree(190), state, params)
    before = named(state.inner)
    _, evolved, _ = one_evolution(inner, params, state, normal_tree(191))
    after = named(evolved.inner)
    fresh = np.asarray(evolved.masks["first.weight"] & ~state.masks["first.weight"])
    for path, leaf in after.items():
        assert leaf.shape == before[path].shape, path
        assert leaf.dtype == before[path].dtype, path
        if leaf.shape[-2:] != (6, 5):
            np.testing.assert_array_equal(leaf, before[path])
        elif path.endswith("first.weight") and ".nu." not in path:
            assert (leaf[..., fresh] == 0).all(), path


@pytest.mark.parametrize("grown_state", [GrownState.GRAD, GrownState.MEAN])
def test_slots_keep_their_type(grown_state: GrownState) -> None:
    """Else an evolution would change the type of the state, and every compiled step with it."""
    halves = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), normal_tree(2))
    masks, inner = random_masks(2), optax.adam(0.1, mu_dtype=jnp.float32)
    params = apply_masks(halves, masks)
    state = sparse(inner, masks).init(params)
    evolved_params, evolved, _ = one_evolution(
        inner, params, state, normal_tree(3), grown_state=grown_state
    )
    for new, old in zip(
        jax.tree.leaves((evolved_params, evolved)), jax.tree.leaves((params, state)), strict=True
    ):
        assert new.dtype == old.dtype
