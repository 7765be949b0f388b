"""Initial densities, the update, the evolution, and learning one batch by heart."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import topology_by_definition as golden
from mast.config import Config
from mast.execution.learner import (
    Learner,
    LearnerState,
    UpdateMetrics,
    copy_target,
)
from mast.execution.method import method_from_config
from mast.execution.topology import initial_masks, sparse_layers
from mast.learning.method import Method
from mast.learning.replay import Batch
from mast.networks.spec import Sizes
from mast.sparsity.masks import leaf_path
from mast.sparsity.topology import Evolution, total

# Few different shapes, as each costs its own compilations.
SIZES = Sizes(
    observation=2, actions=4, agents=2, state=8, hidden_size=8, mixer_embed=4, hypernet_hidden=8
)
LAYERS = {
    "agent": {
        "fc1": (8, 8),
        "gru_input": (8, 24),
        "gru_hidden": (8, 24),
        "fc2": (8, 4),
    },
    "mixer": {
        "w1_hidden": (8, 8),
        "w1_out": (8, 8),
        "w_final_hidden": (8, 8),
        "w_final_out": (8, 4),
        "b1": (8, 4),
        "v_hidden": (8, 4),
        "v_out": (4, 1),
    },
}
"""(inputs, outputs) of each weight matrix."""
LENGTH, EPISODES, UPDATES = 6, 4, 800


def config_of(method: str, **settings: Any) -> Config:
    given = {"environment": "smax/3m", "method": method, "sparsity": 0.9, "steps": 1000}
    optimizer = {"learning_rate": 2e-3, "gradient_clip": 0.25}
    return Config.model_validate(given | optimizer | settings)


def learner_of(method: str, **settings: Any) -> Learner:
    return Learner(config_of(method, **settings), SIZES)


LEARNER = learner_of("ss")
"""Of all compiled steps: methods share one program, what differs is masks and numbers."""
update_jitted = jax.jit(LEARNER.update)


@functools.cache
def initial(method: str, seed: int = 0, sparsity: float = 0.9) -> LearnerState:
    return learner_of(method, sparsity=sparsity).init(jax.random.key(seed))


@functools.cache
def batch() -> Batch:
    """Three episodes that end by the rules and one that is cut, with rewards from -3 to 3."""
    rng = np.random.default_rng(0)
    steps = np.array([6, 6, 4, 3])
    mask = np.arange(LENGTH)[:, None] < steps
    agents = SIZES.agents
    return Batch(
        observation=rng.normal(size=(LENGTH + 1, EPISODES, agents, SIZES.observation)).astype("f4"),
        state=rng.normal(size=(LENGTH + 1, EPISODES, SIZES.state)).astype("f4"),
        available=np.ones((LENGTH + 1, EPISODES, agents, SIZES.actions), bool),
        action=rng.integers(0, SIZES.actions, (LENGTH, EPISODES, agents)).astype("i4"),
        reward=np.where(mask, rng.uniform(-3, 3, mask.shape), 0).astype("f4"),
        terminated=(np.arange(LENGTH)[:, None] == steps - 1) & [True, True, False, True],
        mask=mask,
    )


def numbers(method: str, **settings: Any) -> Method:
    return method_from_config(config_of(method, **settings))


def update(
    state: LearnerState, method: Method, env_steps: float = 900
) -> tuple[LearnerState, UpdateMetrics, Any]:
    return update_jitted(state, batch(), method, np.float32(env_steps))


def evolve(
    state: LearnerState, gradient: Any, method: Method, env_steps: float, seed: int = 0
) -> tuple[LearnerState, Evolution]:
    """Not compiled as a whole: cheaper for a few calls."""
    key = jax.random.key(seed)
    budget = LEARNER.budget(state.params)
    return LEARNER.evolve(state, gradient, method, budget, jnp.float32(env_steps), key)


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {leaf_path(path): np.asarray(leaf) for path, leaf in leaves}


def assert_equal(ours: Any, theirs: Any) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def check_invariant(state: LearnerState, counts: dict[str, int], slots_too: bool = True) -> None:
    values, slots = named(state.params), named(state.optimizer.inner)
    for name, mask in state.optimizer.masks.items():
        inactive = ~np.asarray(mask)
        assert mask.sum() == counts[name]
        assert (values[name][inactive] == 0).all()
        (second_moment,) = (slot for path, slot in slots.items() if path.endswith(name))
        assert (second_moment[inactive] == 0).all() or not slots_too


def counts_of(state: LearnerState) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in state.optimizer.masks.items()}


# --- init ---


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95])
def test_initial_densities_are_exact_for_each_network(sparsity: float) -> None:
    """Erdős–Rényi solved here by bisection on ε, one budget per network."""
    params = initial("dense").params
    masks = initial_masks(jax.random.key(1), params, config_of("mast", sparsity=sparsity), {})
    expected = {}
    for network, layers in LAYERS.items():
        budget = (1 - sparsity) * sum(i * o for i, o in layers.values())
        low, high = 0.0, 1e3
        for _ in range(200):
            epsilon = (low + high) / 2
            total = sum(min(i * o, epsilon * (i + o)) for i, o in layers.values())
            low, high = (epsilon, high) if total < budget else (low, epsilon)
        for name, (i, o) in layers.items():
            expected[f"{network}.{name}.weight"] = round(min(i * o, epsilon * (i + o)))
        active = sum(n for name, n in expected.items() if name.startswith(network))
        assert abs(active - budget) <= len(layers) / 2
    assert {name: int(mask.sum()) for name, mask in masks.items()} == expected


def test_uniform_densities_are_exact() -> None:
    params = initial("dense").params
    masks = initial_masks(jax.random.key(1), params, config_of("mast", allocation="uniform"), {})
    for network, layers in LAYERS.items():
        for name, (i, o) in layers.items():
            assert int(masks[f"{network}.{name}.weight"].sum()) == max(1, round(0.1 * i * o))


def test_sparse_layers_are_the_matrices_network_by_network() -> None:
    layers = sparse_layers(initial("dense").params)
    found = {
        network: {shape.name: (shape.inputs, shape.outputs) for shape in shapes}
        for network, shapes in layers.items()
    }
    assert found == {
        network: {f"{network}.{name}.weight": shape for name, shape in shapes.items()}
        for network, shapes in LAYERS.items()
    }


def test_a_fresh_learner() -> None:
    state = initial("mast")
    assert_equal(state.target, state.params)
    counts = counts_of(state)
    check_invariant(state, counts)
    values = named(state.params)
    for name, count in counts.items():
        assert (values[name] != 0).sum() == count, "every active weight has a value"
    for name, value in values.items():
        assert name in counts or (value != 0).all(), "biases are dense"
    for leaf in jax.tree.leaves(state.optimizer.inner):
        np.testing.assert_array_equal(leaf, 0)


def test_the_seed_decides_weights_and_masks() -> None:
    assert_equal(initial("mast"), initial.__wrapped__("mast"))
    one, other = initial("mast"), initial("mast", seed=1)
    for name in counts_of(one):
        if name not in ("mixer.v_out.weight", "agent.fc2.weight"):  # few places to differ in
            assert (one.optimizer.masks[name] != other.optimizer.masks[name]).any(), name
    ours, theirs = named(initial("dense").params), named(initial("dense", seed=1).params)
    for name in ours:
        assert not np.intersect1d(ours[name], theirs[name]).size


def test_a_dense_team_has_masks_of_ones_and_the_same_first_weights() -> None:
    """So that methods of one seed start from one initialisation, masked or not."""
    dense, sparse = initial("dense"), initial("mast")
    values = named(dense.params)
    for name, mask in dense.optimizer.masks.items():
        assert bool(mask.all())
        active = np.asarray(sparse.optimizer.masks[name])
        np.testing.assert_array_equal(named(sparse.params)[name][active], values[name][active])


def test_largest_initial_mask_keeps_the_largest_weights() -> None:
    layer = initial("dense").params.agent.fc1
    config = config_of("ss", initial_mask="largest")
    (mask,) = initial_masks(jax.random.key(1), {"agent": layer}, config, {}).values()
    weight, active = np.abs(np.asarray(layer.weight)), np.asarray(mask)
    assert active.sum() == round(0.1 * weight.size)
    assert weight[active].min() > weight[~active].max()


def test_sparse_init_scale_uses_the_true_fan_in() -> None:
    plain = named(initial("ss").params)
    state = learner_of("ss", init_scale="sparse").init(jax.random.key(0))
    for name, value in named(state.params).items():
        mask = state.optimizer.masks.get(name)
        factor = 1.0 if mask is None else math.sqrt(mask.size / int(mask.sum()))
        np.testing.assert_allclose(value, factor * plain[name], rtol=1e-6)


# --- update ---


@pytest.mark.parametrize(("env_steps", "annealed"), [(0, 0.0), (750, 0.0), (900, 0.6), (2000, 1.0)])
def test_update_is_torchs_rmsprop_over_the_masked_and_clipped_gradient(
    env_steps: int, annealed: float
) -> None:
    """In the last quarter of the run steps go in a straight line from the density's to a dense team's."""
    state, config = initial("ss"), LEARNER.config
    values = {name: leaf.astype(np.float64) for name, leaf in named(state.params).items()}
    square_averages = {name: np.zeros_like(value) for name, value in values.items()}
    masks = {name: np.asarray(mask) for name, mask in state.optimizer.masks.items()}
    density = sum(mask.sum() for mask in masks.values()) / sum(mask.size for mask in masks.values())
    factor = density**-config.step_exponent
    rate = config.learning_rate * (factor + annealed * (1 - factor))
    for _ in range(3):
        state, metrics, gradient = update(state, numbers("ss"), env_steps)
        quiet = {
            name: np.where(masks.get(name, True), leaf, 0).astype(np.float64)
            for name, leaf in named(gradient).items()
        }
        norm = math.sqrt(sum((leaf**2).sum() for leaf in quiet.values()))
        assert norm > config.gradient_clip
        assert float(metrics.gradient_norm) == pytest.approx(norm, rel=1e-5)
        cut = golden.clip_by_global_norm(quiet, config.gradient_clip)
        for name in values:
            values[name], square_averages[name] = golden.torch_rmsprop_step(
                values[name],
                square_averages[name],
                cut[name],
                rate,
                config.rms_decay,
                config.rms_epsilon,
            )
        for name, leaf in named(state.params).items():
            np.testing.assert_allclose(leaf, values[name], rtol=1e-4, atol=1e-6)
    assert_equal(state.target, initial("ss").target)


def test_update_returns_the_dense_unclipped_gradient() -> None:
    """Weights that do not exist get theirs too, and it is the slope of the loss."""
    state, distance = initial("mast", sparsity=0.5), 0.003
    _, metrics, gradient = update(state, numbers("mast"))
    assert float(metrics.gradient_norm) > LEARNER.config.gradient_clip
    for name in ("agent.fc1.weight", "agent.gru_hidden.weight", "mixer.w1_out.weight"):
        slopes = named(gradient)[name]
        inactive = ~np.asarray(state.optimizer.masks[name])
        assert (slopes[inactive] != 0).mean() > 0.3, name
        place = np.unravel_index(np.where(inactive, np.abs(slopes), 0).argmax(), slopes.shape)
        losses = []
        for sign in (+1, -1):
            moved = jax.tree_util.tree_map_with_path(
                lambda path, leaf, name=name, place=place, sign=sign: (
                    leaf.at[place].set(sign * distance) if leaf_path(path) == name else leaf
                ),
                state.params,
            )
            moved_metrics = update(state._replace(params=moved), numbers("mast"))[1]
            losses.append(float(moved_metrics.loss))
        slope = (losses[0] - losses[1]) / (2 * distance)
        assert slopes[place] == pytest.approx(slope, rel=0.05), name


def test_gradient_is_that_of_the_update() -> None:
    """So that an evolution in the place of a step sees what one after it would."""
    gradient_jitted = jax.jit(LEARNER.gradient)
    for method in ("dense", "mast"):
        state = initial(method)
        alone = gradient_jitted(state, batch(), numbers(method), np.float32(900))
        stepped, *with_step = update(state, numbers(method))
        for ours, theirs in zip(jax.tree.leaves(alone), jax.tree.leaves(with_step), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        moved = named(stepped.params)
        for name, value in named(state.params).items():
            assert (moved[name] != value).any() or method != "dense", name


def test_methods_are_data_in_one_vmapped_update() -> None:
    """Operators, λ, discounts and timeouts of several runs in one program."""
    state = initial("ss")._replace(target=initial("ss", seed=1).params)
    methods = [
        numbers("ss"),
        numbers("mast"),
        numbers("mast", operator="softmax", td_lambda=1.0, discount=0.8),
        numbers("rigl", timeout="terminal", double_q=False),
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *methods)
    env_steps = jnp.array([900.0, 900.0, 400.0, 10.0])
    together = jax.jit(jax.vmap(LEARNER.update, in_axes=(None, None, 0, 0)))(
        state, batch(), stacked, env_steps
    )
    losses = []
    for run, method in enumerate(methods):
        alone = update(state, method, float(env_steps[run]))
        losses.append(float(alone[1].loss))
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours[run], theirs, rtol=2e-4, atol=2e-5)
    assert len(set(losses)) == len(losses)


# --- evolution and target ---


@pytest.mark.parametrize(("env_steps", "share"), [(0, 0.5), (250, 0.42678), (1000, 0), (2000, 0)])
def test_evolution_follows_the_schedule_of_env_steps(env_steps: int, share: float) -> None:
    state = initial("mast")
    # Everything inactive pulls harder than anything active: all that is dropped is replaced.
    gradient = jax.tree.map(lambda leaf: jnp.where(leaf == 0, 1.0, 0.0), state.params)
    evolved, done = evolve(state, gradient, numbers("mast"), env_steps)
    counts = counts_of(state)
    for name, count in counts.items():
        old, new = state.optimizer.masks[name], evolved.optimizer.masks[name]
        assert int((old & ~new).sum()) == min(math.floor(share * count), int((~old).sum()))
    check_invariant(evolved, counts, slots_too=False)
    assert int(total(done.active)) == sum(counts.values())
    assert_equal(evolved.target, state.target)


@pytest.mark.parametrize("method", ["dense", "ss"])
def test_evolution_of_a_method_that_does_not_evolve_is_nothing(method: str) -> None:
    state, _, gradient = update(initial(method), numbers(method))
    evolved, done = evolve(state, gradient, numbers(method), 0)
    assert_equal(evolved, state)
    assert int(total(done.grown)) == 0


@pytest.mark.parametrize("method", ["set", "rigl", "mast"])
def test_a_run_of_updates_and_evolutions_keeps_the_invariant(method: str) -> None:
    state, first_target = initial(method), initial(method).target
    counts, changed = counts_of(state), 0
    for number in range(12):
        env_steps = 40.0 * number
        state, _, gradient = update(state, numbers(method), env_steps)
        check_invariant(state, counts)
        if number % 3 == 2:
            state, done = evolve(state, gradient, numbers(method), env_steps, seed=number)
            check_invariant(state, counts)
            changed += int(total(done.grown))
    assert changed > 20
    assert_equal(state.target, first_target)
    copied = copy_target(state)
    assert_equal(copied.target, state.params)
    assert_equal((copied.params, copied.optimizer), (state.params, state.optimizer))


# --- learning ---


@pytest.mark.parametrize("method", ["dense", "ss", "mast"])
def test_one_batch_is_learned_by_heart(method: str) -> None:
    """Dense, static and evolving at 90 %, towards fixed (Monte Carlo) targets."""
    state, counts = initial(method), counts_of(initial(method))
    settings = {"td_lambda": 1.0, "burn_in_fraction": 0.0, "step_exponent": 0.0}
    monte_carlo = numbers(method, **settings)
    losses = []
    for number in range(UPDATES):
        state, metrics, gradient = update(state, monte_carlo, number)
        losses.append(float(metrics.loss))
        if number % 100 == 99 and number < UPDATES - 200:
            state, _ = evolve(state, gradient, monte_carlo, number, seed=number)
    check_invariant(state, counts)
    assert losses[0] > 1.0
    assert min(losses[-50:]) < 0.01
