"""A small tree of plain dictionaries with masks, and one update and one evolution of it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mast.sparsity.masks import Masks, apply_masks, leaf_path
from mast.sparsity.optimizer import SparseState, sparse
from mast.sparsity.scores import DROP_SCORES, GROWTH_SCORES, score_by_number
from mast.sparsity.slots import GrownState
from mast.sparsity.topology import evolve

DROPS, GROWTHS = list(DROP_SCORES), list(GROWTH_SCORES)
"""Names, by their numbers."""
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
    "sgd": optax.sgd(LEARNING_RATE),
    "momentum": optax.sgd(LEARNING_RATE, momentum=0.9),
    "nesterov": optax.sgd(LEARNING_RATE, momentum=0.9, nesterov=True),
    "adam": optax.adam(LEARNING_RATE),
    "adamw": optax.adamw(LEARNING_RATE, weight_decay=0.1),
    "lion": optax.lion(LEARNING_RATE, weight_decay=0.1),
    "clipped_adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LEARNING_RATE)),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(learning_rate=LEARNING_RATE),
    "multi_transform": optax.multi_transform(
        {"adam": optax.adam(LEARNING_RATE), "momentum": optax.sgd(LEARNING_RATE, momentum=0.9)},
        LABELS,
    ),
    "multi_transform_by_function": optax.multi_transform(
        {"weights": optax.adam(LEARNING_RATE), "biases": optax.sgd(LEARNING_RATE, momentum=0.9)},
        lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: "biases" if leaf_path(path).endswith("bias") else "weights", params
        ),
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
    return {
        leaf_path(path): np.asarray(leaf)
        for path, leaf in leaves
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }


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
    growth: Any = 0,
    grown_state: Any = GrownState.GRAD,
    drop: Any = 0,
    active: Any = None,
    per_unit: Any = False,
) -> tuple[Any, SparseState, Any]:
    """An evolution whose plugs are numbers, as in the learner."""
    return evolve(
        params,
        state,
        sparse(inner, state.masks),
        gradient,
        key=jax.random.key(0) if key is None else key,
        drop_fraction=drop_fraction,
        drop_score=score_by_number(drop, list(DROP_SCORES.values())),
        growth_score=score_by_number(growth, list(GROWTH_SCORES.values())),
        grown_state=grown_state,
        active=active,
        per_unit=per_unit,
    )


update_jitted = jax.jit(partial(one_update, pymarls_rmsprop()))
evolve_jitted = jax.jit(partial(one_evolution, pymarls_rmsprop()))


def check_invariant(
    params: Any, state: SparseState, slots_too: bool = True, counts: dict[str, int] = ACTIVE
) -> None:
    """Counts as they should be; values and slots of inactive weights exactly zero."""
    values = named(params)
    for name, count in counts.items():
        mask = np.asarray(state.masks[name])
        assert mask.sum() == count, name
        assert (values[name][~mask] == 0).all(), name
        if slots_too:
            for path, slot in slots_of(state, name).items():
                assert (slot[~mask] == 0).all(), path


def filled(state: SparseState, seed: int, leftovers: bool) -> SparseState:
    """The state with random second moments; at inactive weights too if `leftovers`."""
    nu = jax.tree.map(lambda leaf: jnp.square(leaf) + 0.1, normal_tree(seed))
    nu = nu if leftovers else apply_masks(nu, state.masks)
    clip, (rms, *rest) = state.inner
    return state._replace(inner=(clip, (rms._replace(nu=nu), *rest)))
