"""How many weights each layer, or each agent in a layer, has after an evolution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_tree import (
    ACTIVE,
    named,
    normal_tree,
    one_evolution,
    pymarls_rmsprop,
    start,
)

from golden import topology_by_definition as golden
from mast.sparsity.masks import apply_masks, random_mask
from mast.sparsity.optimizer import sparse
from mast.sparsity.schedules import pruning_counts
from mast.sparsity.topology import evolve


@pytest.mark.parametrize("drop_fraction", [0.0, 0.5, 1.0])
def test_a_layer_shrinks_to_its_number(drop_fraction: float) -> None:
    """What is too much goes, beside what is renewed; layers that are not named keep theirs."""
    params, state = start(pymarls_rmsprop(), 18)
    wanted = {"first.weight": 4, "second.weight": 7}
    params, evolved, done = one_evolution(
        pymarls_rmsprop(),
        params,
        state,
        normal_tree(180),
        drop_fraction=drop_fraction,
        active=wanted,
    )
    for name, count in (ACTIVE | wanted).items():
        old, new = state.masks[name], evolved.masks[name]
        assert int(new.sum()) == int(done.active[name]) == count
        assert int(done.dropped[name]) == int((old & ~new).sum())
        assert int(done.grown[name]) == int((new & ~old).sum())
        assert (named(params)[name][~np.asarray(new)] == 0).all()


def test_a_layer_never_gets_more_than_it_has() -> None:
    params, state = start(optax.identity(), 18)
    _, evolved, _ = one_evolution(
        optax.identity(), params, state, normal_tree(1), active={"first.weight": 29}
    )
    assert int(evolved.masks["first.weight"].sum()) == ACTIVE["first.weight"]
    with pytest.raises(ValueError, match=r"not sparse: first\.bias"):
        one_evolution(optax.identity(), params, state, params, active={"first.bias": 1})


def test_gradual_magnitude_pruning_keeps_the_largest() -> None:
    """With weights that stand still, every stage is the mask of the largest so many."""
    weights = {"w": jax.random.normal(jax.random.key(3), (8, 8))}
    optimizer = sparse(optax.adam(0.1), {"w": jnp.ones((8, 8), bool)})
    params, state = weights, optimizer.init(weights)
    sizes = []
    for step in range(0, 60, 10):
        active = pruning_counts(state.masks, {"w": 6}, step, 10, 50)
        params, state, done = evolve(
            params,
            state,
            optimizer,
            weights,
            key=jax.random.key(0),
            drop_fraction=0.0,
            active=active,
        )
        sizes.append(int(done.active["w"]))
        assert int(done.grown["w"]) == 0
        magnitude = np.sort(np.abs(weights["w"]).ravel())[::-1]
        kept = np.abs(np.asarray(weights["w"])) >= magnitude[sizes[-1] - 1]
        np.testing.assert_array_equal(state.masks["w"], kept)
        np.testing.assert_array_equal(params["w"], np.where(kept, weights["w"], 0))
    # 58 go: all are there until step 10, then 27/64, 8/64, 1/64 and nothing of them.
    assert sizes == [64, 64, 30, 13, 7, 6]


# --- several agents in one leaf ---


def stacked_agents(seed: int) -> tuple[dict[str, jax.Array], dict[str, jax.Array], Any]:
    """Three agents' layers of 4 × 5 in one leaf, the first with far larger weights and gradients."""
    size = jnp.array([100.0, 1.0, 1.0])[:, None, None]
    keys = jax.random.split(jax.random.key(seed), 3)
    mask = jax.vmap(lambda key: random_mask(key, (4, 5), 8))(keys)
    weights, gradient = (
        {"w": size * jax.random.normal(key, (3, 4, 5)), "shared": jax.random.normal(key, (4, 5))}
        for key in keys[:2]
    )
    masks = {"w": mask, "shared": mask[0]}
    return apply_masks(weights, masks), gradient, sparse(optax.adam(0.1), masks)


def test_jointly_ranked_agents_compete() -> None:
    """One count for all: weights move to the agent whose gradients are large."""
    weights, gradient, optimizer = stacked_agents(0)
    state = optimizer.init(weights)
    _, evolved, _ = one_evolution(optax.adam(0.1), weights, state, gradient)
    counts = np.asarray(evolved.masks["w"].sum((1, 2)))
    assert counts.sum() == 24
    assert counts[0] > 8
    ranked = golden.evolve_mask(
        np.asarray(state.masks["w"]).ravel().tolist(),
        np.abs(weights["w"]).ravel().tolist(),
        np.abs(gradient["w"]).ravel().tolist(),
        12,
        12,
    )
    np.testing.assert_array_equal(np.asarray(evolved.masks["w"]).ravel(), ranked)


@pytest.mark.parametrize("active", [None, {"w": 5}, {"w": jnp.array([8, 2, 0])}])
def test_agents_ranked_alone_keep_their_counts(active: Any) -> None:
    """As if each agent's layer were a leaf of its own; other leaves are taken whole."""
    weights, gradient, optimizer = stacked_agents(1)
    state = optimizer.init(weights)
    _, evolved, done = one_evolution(
        optax.adam(0.1), weights, state, gradient, active=active, per_unit={"w"}
    )
    wanted = np.broadcast_to(8 if active is None else active["w"], 3)
    assert int(done.active["w"]) == wanted.sum()
    for agent, count in enumerate(wanted):
        old = np.asarray(state.masks["w"][agent])
        drop = min(8, 4 + 8 - count)
        expected = golden.evolve_mask(
            old.ravel().tolist(),
            np.abs(weights["w"][agent]).ravel().tolist(),
            np.abs(gradient["w"][agent]).ravel().tolist(),
            drop,
            count - (8 - drop),
        )
        np.testing.assert_array_equal(np.asarray(evolved.masks["w"][agent]).ravel(), expected)
    whole = one_evolution(optax.adam(0.1), weights, state, gradient)[1]
    np.testing.assert_array_equal(evolved.masks["shared"], whole.masks["shared"])
