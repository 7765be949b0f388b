"""The whole team's loss and gradient against float64 automatic differentiation of the masked algorithm."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kernels.cases import (
    INSTRUCTION_SETS,
    REFUSED,
    TOLERANCE,
    distance,
    instruction_set,
    layer_names,
    needs_kernels,
)
from mast.algorithms.registry import algorithm_entry
from mast.algorithms.value.decomposition import Team
from mast.config import resolve
from mast.execution.compact import targets_of
from mast.execution.learner import team_optimizer
from mast.execution.method import method_from_config
from mast.kernels import (
    TeamBatch,
    TeamGradient,
    rmsprop_step,
    sparse_agent,
    sparse_q_mixer,
    team_gradient,
    to_dense,
)
from mast.learning.method import Method
from mast.learning.replay import Batch
from mast.networks.spec import Sizes
from mast.sparsity.optimizer import sparse

pytestmark = needs_kernels
SIZES = Sizes(
    observation=19, actions=6, agents=3, state=21, hidden_size=17, mixer_embed=5, hypernet_hidden=7
)
STEPS, EPISODES, ENV_STEPS = 7, 13, 1000.0
MIXINGS = {"iql": "none", "vdn": "sum", "qmix": "monotonic"}
METHODS: dict[str, dict[str, Any]] = {
    "max": {"operator": "max", "double_q": False, "targets": "one_step"},
    "double-q": {"operator": "max", "double_q": True, "targets": "td_lambda", "td_lambda": 0.7},
    "softmax": {"operator": "softmax", "softmax_beta": 5.0, "targets": "n_step", "n_step": 3},
    "mellowmax": {"operator": "mellowmax", "omega": 7.0, "timeout": "terminal"},
    "soft-mellowmax": {"operator": "soft_mellowmax", "targets": "td_lambda", "td_lambda": 0.8},
    "nearly-a-mean": {"operator": "soft_mellowmax", "omega": 1e-6, "soft_mellowmax_alpha": 0.0},
    "longer-than-an-episode": {"targets": "n_step", "n_step": 50, "timeout": "terminal"},
}


def method_of(settings: dict[str, Any]) -> Method:
    given = {"environment": "smax/3m", "method": "rigl", "sparsity": 0.9}
    return method_from_config(resolve(given | settings))


def batch_of(seed: int, dtype: str) -> Batch:
    """Episodes of random lengths, some terminated and some cut."""
    generator = np.random.default_rng(seed)
    rows = (STEPS + 1, EPISODES, SIZES.agents)
    steps = generator.integers(1, STEPS + 1, EPISODES)
    steps[0] = STEPS
    mask = np.arange(STEPS)[:, None] < steps
    terminated = (np.arange(STEPS)[:, None] == steps - 1) & (generator.random(EPISODES) < 0.6)
    available = generator.random((*rows, SIZES.actions)) < 0.6
    available[..., 2] |= ~available.any(-1)
    return Batch(
        observation=generator.normal(size=(*rows, SIZES.observation)).astype(dtype),
        state=generator.normal(size=(STEPS + 1, EPISODES, SIZES.state)).astype(dtype),
        available=available,
        action=generator.integers(0, SIZES.actions, (STEPS, EPISODES, SIZES.agents), np.int32),
        reward=generator.normal(size=(STEPS, EPISODES)).astype(np.float32),
        terminated=terminated,
        mask=mask,
    )


def kernel_batch(batch: Batch) -> TeamBatch:
    return TeamBatch(
        *(batch.observation, batch.action, batch.mask.sum(0), batch.available),
        *(batch.reward, batch.terminated, batch.state),
    )


@functools.cache
def team_of(algorithm: str, seed: int, density: float) -> tuple[Team, dict[str, dict[str, Any]]]:
    """A random sparse team, as many weights in a layer whatever the seed, and the masks of its networks."""
    team: Any = algorithm_entry(algorithm).init(jax.random.key(seed), SIZES)
    generator = np.random.default_rng(seed)

    def sparse(network: Any) -> tuple[Any, dict[str, Any]]:
        masks = {}
        for name in layer_names(network):
            weight = getattr(network, name).weight
            active = max(1, round(density * weight.size))
            chosen = generator.permutation(weight.size) < active
            masks[name] = jnp.asarray(chosen.reshape(weight.shape))
            network = eqx.tree_at(
                lambda n, name=name: getattr(n, name).weight, network, 2 * weight * masks[name]
            )
        return network, masks

    agent, agent_masks = sparse(team.agent)
    mixer, mixer_masks = sparse(team.mixer)
    return Team(agent, mixer), {"agent": agent_masks, "mixer": mixer_masks}


@functools.cache
def reference(algorithm: str) -> Any:
    """Loss, metrics and dense gradient in float64, one program for all methods."""
    with jax.enable_x64(True):
        return jax.jit(jax.value_and_grad(algorithm_entry(algorithm).algorithm.loss, has_aux=True))


def expected_of(algorithm: str, online: Team, target: Team, batch: Batch, method: Method) -> Any:
    def double(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            tree,
        )

    with jax.enable_x64(True):
        wide = batch._replace(
            **{name: np.asarray(getattr(batch, name), np.float64) for name in ("reward",)}
        )
        steps = jnp.float64(ENV_STEPS)
        result = reference(algorithm)(double(online), double(target), wide, double(method), steps)
        return jax.tree.map(np.asarray, result)


def found_of(
    algorithm: str, density: float, batch: Batch, method: Method, threads: int = 1
) -> TeamGradient:
    (online, masks), (target, older) = (
        team_of(algorithm, 0, density),
        team_of(algorithm, 1, density),
    )
    mixers = [
        sparse_q_mixer(team.mixer, each["mixer"]) if algorithm == "qmix" else None
        for team, each in ((online, masks), (target, older))
    ]
    return team_gradient(
        sparse_agent(online.agent, masks["agent"]),
        sparse_agent(target.agent, older["agent"]),
        *mixers,
        kernel_batch(batch),
        targets_of(method, jnp.float32(ENV_STEPS)),
        mixing=MIXINGS[algorithm],
        threads=threads,
    )


def assert_same_gradient(found: Any, like: Any, masks: dict[str, Any], expected: Any) -> None:
    """Layer by layer, at the active places; sums of few terms that cancel keep a digit less than others."""
    dense = to_dense(found, like)
    for name in layer_names(like):
        layer, wanted = getattr(dense, name), getattr(expected, name)
        assert distance(layer.weight, wanted.weight * np.asarray(masks[name])) < 3 * TOLERANCE, name
        assert distance(layer.bias, wanted.bias) < 3 * TOLERANCE, name


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
@pytest.mark.parametrize("algorithm", MIXINGS)
def test_loss_metrics_and_gradient_are_those_of_the_algorithm(algorithm: str, name: str) -> None:
    for number, settings in enumerate(METHODS.values()):
        density = (0.2, 1.0, 0.05)[number % 3]
        method = method_of(settings)
        batch = batch_of(number, "float16" if number % 2 else "float32")
        (online, masks), (target, _) = (team_of(algorithm, seed, density) for seed in (0, 1))
        (loss, metrics), gradient = expected_of(algorithm, online, target, batch, method)
        with instruction_set(name):
            found = found_of(algorithm, density, batch, method)
        assert found.loss == pytest.approx(loss, rel=TOLERANCE)
        for metric in ("q_tot", "target", "td_error"):
            wanted = metrics[metric]
            assert getattr(found, metric) == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)
        compact = sparse_agent(online.agent, masks["agent"])
        assert_same_gradient(
            _with(compact, found.agent), online.agent, masks["agent"], gradient.agent
        )
        if algorithm == "qmix":
            mixer = sparse_q_mixer(online.mixer, masks["mixer"])
            assert_same_gradient(
                _with(mixer, found.mixer), online.mixer, masks["mixer"], gradient.mixer
            )


def _with(network: Any, parameters: Any) -> Any:
    return type(network)(parameters, network.structure, network.shapes)


def test_what_lies_beyond_an_episode_has_no_influence() -> None:
    batch = batch_of(0, "float32")
    method = method_of(METHODS["soft-mellowmax"])
    after = np.arange(STEPS + 1)[:, None] > batch.mask.sum(0)
    beyond = ~batch.mask
    spoiled = batch._replace(
        observation=np.where(after[..., None, None], 1e3, batch.observation).astype(np.float32),
        state=np.where(after[..., None], 1e3, batch.state).astype(np.float32),
        available=batch.available & ~after[..., None, None],
        reward=np.where(beyond, np.nan, batch.reward).astype(np.float32),
        terminated=batch.terminated | beyond,
        action=np.where(beyond[..., None], 10**6, batch.action).astype(np.int32),
    )
    clean, found = (found_of("qmix", 0.2, each, method) for each in (batch, spoiled))
    for one, other in zip(clean, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_do_not_depend_on_threads() -> None:
    batch, method = batch_of(3, "float16"), method_of(METHODS["double-q"])
    one, two = (found_of("qmix", 0.2, batch, method, threads=threads) for threads in (1, 2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


def test_shapes_that_do_not_fit_are_refused() -> None:
    batch, method = batch_of(0, "float32"), method_of(METHODS["max"])
    for name, wrong in {
        "available": batch.available[..., :-1],
        "reward": batch.reward[:-1],
        "terminated": batch.terminated[:, :-1],
        "state": batch.state[..., :-1],
    }.items():
        with pytest.raises(REFUSED):
            found_of("qmix", 0.2, batch._replace(**{name: wrong}), method)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_optimizers_step_is_that_of_optax(scale: float) -> None:
    config = resolve({"environment": "smax/3m", "method": "dense"})
    optimizer = sparse(team_optimizer(config, method_from_config(config)), {})
    generator = np.random.default_rng(0)
    params = tuple(jnp.asarray(generator.normal(size=n), jnp.float32) for n in (5, 37))
    state, moments = optimizer.init(params), tuple(jnp.zeros_like(x) for x in params)
    expected = params
    for _ in range(3):
        gradient = tuple(
            scale * jnp.asarray(generator.normal(size=x.shape), jnp.float32) for x in params
        )
        updates, state = optimizer.update(gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
        changed, norm = rmsprop_step(
            list(zip(params, gradient, moments, strict=True)),
            learning_rate=config.learning_rate,
            decay=config.rms_decay,
            epsilon=config.rms_epsilon,
            largest_norm=config.gradient_clip,
        )
        params, moments = (tuple(each[i] for each in changed) for i in (0, 1))
        assert norm == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-6)
    for found, wanted in zip(params, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    for found, wanted in zip(moments, optax.tree.get(state, "nu"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
