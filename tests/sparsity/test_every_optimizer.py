"""Every optimizer of Optax that takes a plain gradient: what grown weights begin with, and that they move."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from small_tree import check_invariant, named, normal_tree, random_masks, slots_of

from mast.sparsity import GrownState, apply_masks, evolve, sparse

RATE = 0.01
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    name: (lambda make=make: make(RATE))
    for name, make in {
        "adabelief": optax.adabelief,
        "adadelta": optax.adadelta,
        "adafactor": optax.adafactor,
        "adagrad": optax.adagrad,
        "adam": optax.adam,
        "adamax": optax.adamax,
        "adamaxw": optax.adamaxw,
        "adamw": optax.adamw,
        "adan": optax.adan,
        "amsgrad": optax.amsgrad,
        "fromage": optax.fromage,
        "lamb": optax.lamb,
        "lars": optax.lars,
        "lion": optax.lion,
        "nadam": optax.nadam,
        "nadamw": optax.nadamw,
        "novograd": optax.novograd,
        "optimistic_adam_v2": optax.optimistic_adam_v2,
        "optimistic_gradient_descent": optax.optimistic_gradient_descent,
        "radam": optax.radam,
        "rmsprop": optax.rmsprop,
        "rprop": optax.rprop,
        "sgd": optax.sgd,
        "sign_sgd": optax.sign_sgd,
        "sm3": optax.sm3,
        "yogi": optax.yogi,
        "contrib.acprop": optax.contrib.acprop,
        "contrib.ademamix": optax.contrib.ademamix,
        "contrib.adopt": optax.contrib.adopt,
        "contrib.cocob": optax.contrib.cocob,
        "contrib.dadapt_adamw": optax.contrib.dadapt_adamw,
        "contrib.dog": optax.contrib.dog,
        "contrib.dowg": optax.contrib.dowg,
        "contrib.muon": optax.contrib.muon,
        "contrib.prodigy": optax.contrib.prodigy,
        "contrib.simplified_ademamix": optax.contrib.simplified_ademamix,
    }.items()
} | {
    "adafactor, unfactored": lambda: optax.adafactor(RATE, factored=False),
    "noisy_sgd": lambda: optax.noisy_sgd(RATE, seed=0),
    "contrib.schedule_free": lambda: optax.contrib.schedule_free(optax.sgd(RATE), RATE),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_grown_weights_begin_as_the_optimizer_begins_and_move(name: str) -> None:
    masks = random_masks(0)
    params = apply_masks(normal_tree(0), masks)
    optimizer = sparse(OPTIMIZERS[name](), masks)
    state = optimizer.init(params)
    for number in range(3):
        updates, state = optimizer.update(normal_tree(10 + number), state, params)
        params = optax.apply_updates(params, updates)
        check_invariant(params, state, slots_too=False)
    before = state
    params, state, _ = evolve(
        params,
        state,
        optimizer,
        normal_tree(20),
        key=jax.random.key(0),
        drop_fraction=0.5,
        grown_state=GrownState.ZERO,
    )
    check_invariant(params, state, slots_too=False)
    leaf = "first.weight"
    old, new = np.asarray(before.masks[leaf]), np.asarray(state.masks[leaf])
    grown, stayed = new & ~old, new & old
    assert grown.sum() > 2
    first = slots_of(optimizer.init(params), leaf)
    for path, slot in slots_of(state, leaf).items():
        np.testing.assert_array_equal(slot[grown], first[path][grown], err_msg=path)
        np.testing.assert_array_equal(slot[stayed], slots_of(before, leaf)[path][stayed])
    moved = np.zeros(new.shape, bool)
    for _ in range(3):  # Optax's rprop moves nothing at a first step and at a change of sign
        updates, state = optimizer.update(normal_tree(30), state, params)
        moved |= named(updates)[leaf] != 0
        params = optax.apply_updates(params, updates)
        check_invariant(params, state, slots_too=False)
    assert np.isfinite(named(params)[leaf]).all()
    assert moved[grown].all(), "a grown weight never moves"


def test_two_leaves_of_one_path_are_refused_by_name() -> None:
    tree: Any = {"a.b": jnp.ones((3, 3)), "a": {"b": jnp.ones((3, 3))}}
    with pytest.raises(
        ValueError, match=r"two leaves are called a\.b: \['a'\]\['b'\] and \['a\.b'\]"
    ):
        sparse(optax.sgd(RATE), {"a.b": jnp.ones((3, 3), bool)}).init(tree)
