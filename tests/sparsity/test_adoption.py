"""Anybody's model made sparse: Equinox modules and plain dictionaries, under every optimizer."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_tree import named

import mast.sparsity
from mast.errors import UserError
from mast.sparsity.adoption import SparseOptimizer, sparse_counts, sparsify
from mast.sparsity.masks import leaf_path
from mast.sparsity.optimizer import SparseState, density
from mast.sparsity.schedules import linear_drop_fraction
from mast.sparsity.scores import random_score
from mast.sparsity.slots import GrownState

INPUTS = jax.random.normal(jax.random.key(100), (64, 8))
TARGETS = jnp.tanh(INPUTS[:, :8] @ jax.random.normal(jax.random.key(101), (8, 8)))


class Scaled(eqx.Module):
    """An MLP beside a number, a function, and an array of integers that is not trained."""

    mlp: eqx.nn.MLP
    scale: jax.Array
    activation: Any
    permutation: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.scale * self.activation(self.mlp(x))[self.permutation]


def equinox_model(key: jax.Array) -> Scaled:
    mlp = eqx.nn.MLP(8, 8, 8, depth=1, key=key)
    return Scaled(mlp, jnp.array(1.0), lambda x: x, jnp.arange(8))


def dictionary_model(key: jax.Array) -> Any:
    keys = jax.random.split(key)
    layers = {
        f"Dense_{place}": {"kernel": jax.random.normal(each, (8, 8)) / 3, "bias": jnp.zeros(8)}
        for place, each in enumerate(keys)
    }
    return {"params": {**layers, "scale": jnp.array(1.0)}}


def equinox_loss(model: Scaled) -> jax.Array:
    return jnp.mean((jax.vmap(model)(INPUTS) - TARGETS) ** 2)


def dictionary_loss(model: Any) -> jax.Array:
    params = model["params"]
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = jax.nn.relu(INPUTS @ first["kernel"] + first["bias"])
    outputs = params["scale"] * (hidden @ second["kernel"] + second["bias"])
    return jnp.mean((outputs - TARGETS) ** 2)


MODELS = {
    "equinox": (equinox_model, equinox_loss),
    "dictionary": (dictionary_model, dictionary_loss),
}


def biases_apart(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "biases" if leaf_path(path).endswith("bias") else "rest", params
    )


OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.03, momentum=0.9),
    "nesterov": optax.sgd(0.03, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01, weight_decay=0.1),
    "rmsprop": optax.rmsprop(0.01),
    "rmsprop_centred": optax.rmsprop(0.005, centered=True),
    "lion": optax.lion(0.003, weight_decay=0.1),
    "clipped_adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(learning_rate=0.01),
    "multi_transform": optax.multi_transform(
        {"rest": optax.adam(0.01), "biases": optax.sgd(0.03, momentum=0.9)}, biases_apart
    ),
}


def arrays(model: Any) -> Any:
    return eqx.filter(model, eqx.is_inexact_array)


def check(model: Any, state: SparseState, counts: dict[str, int]) -> None:
    """Exact counts; values and slots of inactive weights exactly zero; everything finite."""
    values, slots = named(arrays(model)), named(state.inner)
    assert state.masks.keys() == counts.keys()
    for name, mask in state.masks.items():
        inactive = ~np.asarray(mask)
        assert mask.sum() == counts[name]
        assert (values[name][inactive] == 0).all(), name
        for path, slot in slots.items():
            if path.endswith(name) and slot.shape == mask.shape:
                assert (slot[inactive] == 0).all(), path
    assert all(np.isfinite(leaf).all() for leaf in [*values.values(), *slots.values()])


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_optimizer_trains_every_model_sparsely(kind: str, name: str) -> None:
    make, loss_of = MODELS[kind]
    key = jax.random.key(1)
    model, optimizer = sparsify(make(key), OPTIMIZERS[name], 0.7, key=key)
    counts = sparse_counts(model, 0.7)
    state = optimizer.init(arrays(model))
    check(model, state, counts)

    @eqx.filter_jit
    def step(model: Any, state: SparseState) -> Any:
        loss, gradient = eqx.filter_value_and_grad(loss_of)(model)
        updates, state = optimizer.update(gradient, state, arrays(model))
        return eqx.apply_updates(model, updates), state, loss, gradient

    losses, changed = [], 0
    for number in range(120):
        model, state, loss, gradient = step(model, state)
        losses.append(float(loss))
        if number < 100 and number % 20 == 19:
            check(model, state, counts)
            model, state, done = optimizer.evolve(
                model, state, gradient, step=number, total=100, key=jax.random.key(number)
            )
            changed += sum(int(grown) for grown in done.grown.values())
            check(model, state, counts)
    check(model, state, counts)
    assert changed > 3
    assert losses[-1] < 0.7 * losses[0]


# --- which leaves ---


def test_by_default_float_leaves_with_two_axes_are_sparse() -> None:
    assert sparse_counts(equinox_model(jax.random.key(0)), 0.5).keys() == {
        "mlp.layers.0.weight",
        "mlp.layers.1.weight",
    }
    assert sparse_counts(dictionary_model(jax.random.key(0)), 0.5).keys() == {
        "params.Dense_0.kernel",
        "params.Dense_1.kernel",
    }
    tree = {"table": jnp.ones((3, 3), int), "mask": jnp.ones((3, 3), bool), "w": np.ones((3, 3))}
    assert sparse_counts(tree, 0.5).keys() == {"w"}


def test_include_chooses_by_path_and_leaf() -> None:
    model = dictionary_model(jax.random.key(0))
    counts = sparse_counts(model, 0.5, include=lambda path, leaf: "Dense_1" in path)
    assert counts.keys() == {"params.Dense_1.kernel", "params.Dense_1.bias"}
    with pytest.raises(ValueError, match="no leaf is sparse"):
        sparse_counts(model, 0.5, include=lambda path, leaf: False)


def test_convolutions_share_by_the_erdos_renyi_kernel_rule() -> None:
    """Evci et al. 2020: the sum of the axes over their product, in any order of the axes."""
    model = {"conv": {"kernel": jnp.ones((3, 3, 8, 16))}, "dense": {"kernel": jnp.ones((32, 32))}}
    counts = sparse_counts(model, 0.9)
    # 2176 weights, 217.6 wanted; 30 and 64 are the sums of the axes.
    epsilon = 0.1 * (1152 + 1024) / (30 + 64)
    assert counts == {"conv.kernel": round(30 * epsilon), "dense.kernel": round(64 * epsilon)}
    turned = {"conv": {"kernel": jnp.ones((16, 8, 3, 3))}, "dense": {"kernel": jnp.ones((32, 32))}}
    assert sparse_counts(turned, 0.9) == counts


def test_the_model_is_otherwise_as_it_was() -> None:
    model = equinox_model(jax.random.key(0))
    sparse_model, optimizer = sparsify(
        model, optax.adam(0.1), 0.8, key=jax.random.key(1), initial_mask="largest"
    )
    assert isinstance(sparse_model, Scaled)
    assert sparse_model.activation is model.activation
    masks = optimizer.init(arrays(sparse_model)).masks
    for name, value in named(arrays(model)).items():
        expected = np.where(masks.get(name, True), value, 0)
        np.testing.assert_array_equal(named(arrays(sparse_model))[name], expected)
    weight, mask = np.abs(model.mlp.layers[0].weight), np.asarray(masks["mlp.layers.0.weight"])
    assert weight[mask].min() > weight[~mask].max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"sparsity": 0.5, "allocation": "even"}, "allocation 'even' is unknown"),
    ],
)
def test_refusals(settings: dict[str, Any], message: str) -> None:
    model = dictionary_model(jax.random.key(0))
    with pytest.raises(UserError, match=message):
        sparsify(model, optax.sgd(0.1), key=jax.random.key(0), **settings)


# --- as an Optax transformation ---


def test_the_optimizer_of_flax_keeps_the_masks() -> None:
    """It shows an optimizer the bare arrays of the model's variables."""
    nnx = pytest.importorskip("flax.nnx")
    key = jax.random.key(0)
    layer = nnx.Linear(8, 16, rngs=nnx.Rngs(0))
    layer, sparse_adam = sparsify(layer, optax.adam(0.1), 0.75, key=key)
    optimizer = nnx.Optimizer(layer, sparse_adam, wrt=nnx.Param)
    before = layer.kernel[...]
    for _ in range(2):
        optimizer.update(layer, nnx.grad(lambda m: jnp.sum(m(jnp.ones((2, 8))) ** 2))(layer))
    assert (layer.kernel[...] != before).sum() == 32
    np.testing.assert_array_equal(layer.kernel[...] != 0, before != 0)
    state = nnx.as_pure(optimizer.opt_state)
    gradient = nnx.grad(lambda m: jnp.sum(m(jnp.eye(8)) ** 2))(layer)
    layer, state, done = sparse_adam.evolve(layer, state, gradient, step=0, total=9, key=key)
    assert int(done.grown["kernel"]) > 0
    np.testing.assert_array_equal(layer.kernel[...] * ~state.masks["kernel"], jnp.zeros((8, 16)))


def test_it_is_usable_in_a_chain() -> None:
    model, optimizer = sparsify(
        dictionary_model(jax.random.key(0)), optax.adam(0.1), 0.8, key=jax.random.key(1)
    )
    assert isinstance(optimizer, optax.GradientTransformation)
    chained = optax.chain(optimizer, optax.scale(0.5))
    alone, _ = optimizer.update(model, optimizer.init(model), model)
    halved, (state, _) = chained.update(model, chained.init(model), model)
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(halved), strict=True):
        np.testing.assert_allclose(0.5 * one, other)
    _, evolved, _ = optimizer.evolve(model, state, model, step=0, total=10, key=jax.random.key(0))
    assert float(density(evolved)) == float(density(state))


def test_the_plugs_reach_the_evolution() -> None:
    model, optimizer = sparsify(
        dictionary_model(jax.random.key(0)), optax.adam(0.1), 0.8, key=jax.random.key(1)
    )
    state = optimizer.init(model)
    only_inactive = jax.tree.map(lambda leaf: jnp.where(leaf == 0, 1.0, 0.0), model)
    name = "params.Dense_0.kernel"
    count = int(state.masks[name].sum())

    def evolve(**plugs: Any) -> Any:
        arguments = {"step": 25, "total": 100, "key": jax.random.key(3)} | plugs
        return optimizer.evolve(model, state, only_inactive, **arguments)

    assert int(evolve(initial_drop_fraction=1.0)[2].grown[name]) == int(0.85355 * count)
    linear = evolve(initial_drop_fraction=1.0, schedule=linear_drop_fraction)
    assert int(linear[2].grown[name]) == int(0.75 * count)
    assert int(evolve(active={name: 2})[2].active[name]) == 2
    chance = evolve(growth_score=random_score, grown_state=GrownState.ZERO)
    other = evolve(growth_score=random_score, key=jax.random.key(4))
    assert (chance[1].masks[name] != other[1].masks[name]).any()
    per_row = evolve(per_unit=True)[1].masks[name]
    np.testing.assert_array_equal(per_row.sum(1), state.masks[name].sum(1))


def test_several_runs_in_one_program() -> None:
    """Model, masks and evolution of each seed under vmap, as alone."""

    def run(key: jax.Array) -> Any:
        model, optimizer = sparsify(
            dictionary_model(key),
            optax.adam(0.01),
            0.8,
            key=key,
        )
        state = optimizer.init(model)
        gradient = jax.grad(dictionary_loss)(model)
        updates, state = optimizer.update(gradient, state, model)
        model = optax.apply_updates(model, updates)
        model, state, _ = optimizer.evolve(model, state, gradient, step=1, total=9, key=key)
        return model, state

    keys = jax.random.split(jax.random.key(9), 2)
    together = jax.jit(jax.vmap(run))(keys)
    assert (together[1].masks["params.Dense_0.kernel"].std(0) > 0).any(), "seeds differ"
    for place, key in enumerate(keys):
        alone = jax.jit(run)(key)
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[place], other, rtol=1e-4, atol=1e-6)


# --- the package's names ---


def test_names_are_loaded_when_first_used() -> None:
    for name in mast.sparsity.__all__:
        assert getattr(mast.sparsity, name) is not None
    assert mast.sparsity.sparsify is sparsify
    assert "evolve" in dir(mast.sparsity)
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        mast.sparsity.prune  # noqa: B018
    assert issubclass(mast.sparsity.SparseOptimizer, SparseOptimizer)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(mast.sparsity.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: line.module for line in typed.body for alias in line.names}
    assert seen == mast.sparsity._HOMES


def test_the_package_and_its_pure_rooms_import_no_jax() -> None:
    program = (
        "import sys, mast.sparsity; from mast.sparsity import erdos_renyi, uniform; "
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
