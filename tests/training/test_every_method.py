"""Every algorithm with every method: 12 updates on real battles of SMAX 3m, one compilation per algorithm."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.algorithms.registry import VALUE_BASED
from mast.config import METHODS, Config, resolve
from mast.execution.account import sizes_of
from mast.execution.environment import environment_of
from mast.execution.learner import Learner, LearnerState, copy_target
from mast.execution.method import method_from_config
from mast.learning.replay import Batch, Ring
from mast.sparsity.masks import leaf_path
from mast.training.rollout import JaxPlayers, episodes

pytestmark = pytest.mark.always

UPDATES, EVOLVE_INTERVAL, STEPS = 12, 3, 1000
SOURCES = {"winning-ticket": "mast", "one-shot": "dense"}
ENVIRONMENT = environment_of(resolve({"environment": "smax/3m"}))
LENGTH = 30


def config_of(algorithm: str, method: str) -> Config:
    given: dict[str, Any] = {
        "environment": "smax/3m",
        "algorithm": algorithm,
        "method": method,
        "sparsity": 0.9,
        "steps": STEPS,
        "hidden_size": 32,
        "unrestricted_hidden": 64,
    }
    return resolve(given | ({"from_run": "-"} if method in SOURCES else {}))


def learner_of(algorithm: str, method: str) -> Learner:
    config = config_of(algorithm, method)
    return Learner(config, sizes_of(config, ENVIRONMENT.spec))


@functools.cache
def batch() -> Batch:
    """Random play: battles really fought."""
    players = JaxPlayers(ENVIRONMENT, "float16")
    agent = learner_of("iql", "dense").dense_params(jax.random.key(0)).agent
    keys = jax.random.split(jax.random.key(1), 8)
    totals, recording = players.record(agent, keys, jnp.float32(1.0))
    ring = Ring(ENVIRONMENT.spec, 8)
    for episode in episodes(totals, recording):
        ring.add(episode)
    slots = np.arange(8)
    return ring.gather(slots, max(LENGTH, ring.longest(slots)))


@functools.cache
def programs(algorithm: str, tiny: bool) -> tuple[Any, Any]:
    """The update and the evolution: the same ones for every method, but for the narrow networks."""
    learner = learner_of(algorithm, "tiny" if tiny else "mast")
    return jax.jit(learner.update), jax.jit(learner.evolve)


@functools.cache
def trained(algorithm: str, method: str) -> tuple[LearnerState, list[float]]:
    """The state after the updates, and the losses on the way."""
    learner, key = learner_of(algorithm, method), jax.random.key(0)
    params, masks = learner.dense_params(key), None
    if method in SOURCES:
        source = trained(algorithm, SOURCES[method])[0]
        if method == "winning-ticket":
            masks = source.optimizer.masks
        else:
            params = source.params
    state = learner.begin(key, params, masks)
    update, evolve = programs(algorithm, tiny=method == "tiny")
    numbers, budget = method_from_config(learner.config), learner.budget(params)
    losses = []
    for number in range(1, UPDATES + 1):
        env_steps = jnp.float32(STEPS * number / UPDATES)
        state, metrics, gradient = update(state, batch(), numbers, env_steps)
        losses.append(float(metrics.loss))
        if learner.config.evolves and number % EVOLVE_INTERVAL == 0:
            random = jax.random.fold_in(key, number)
            state, _ = evolve(state, gradient, numbers, budget, env_steps, random)
        if number == UPDATES // 2:
            state = copy_target(state)
    return state, losses


def arrays(tree: Any) -> dict[str, np.ndarray]:
    return {leaf_path(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("algorithm", VALUE_BASED)
def test_real_updates_keep_what_must_hold(algorithm: str, method: str) -> None:
    state, losses = trained(algorithm, method)
    assert np.isfinite(losses).all()
    masks, params = arrays(state.optimizer.masks), arrays(state.params)
    assert all(np.isfinite(leaf).all() for leaf in params.values())
    slots = {
        name.split("nu.")[1]: x for name, x in arrays(state.optimizer).items() if "nu." in name
    }
    for name, mask in masks.items():
        assert (params[name][~mask] == 0).all(), name
        assert (slots[name][~mask] == 0).all(), name
    counts = learner_of(algorithm, method).budget(state.params)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        name: int(count) for name, count in counts.items()
    }
    dense = method in ("dense", "tiny")
    assert dense == all(mask.all() for mask in masks.values())


@pytest.mark.parametrize("algorithm", VALUE_BASED)
def test_the_masks_move_or_stay_as_the_method_says(algorithm: str) -> None:
    first = arrays(learner_of(algorithm, "ss").init(jax.random.key(0)).optimizer.masks)

    def moved(method: str, since: dict[str, np.ndarray]) -> bool:
        now = arrays(trained(algorithm, method)[0].optimizer.masks)
        return any((now[name] != since[name]).any() for name in since)

    assert not moved("ss", first)
    assert not moved("random-ticket", first)
    for method in ("set", "rigl", "rlx2", "mast"):
        assert moved(method, first)
    assert not moved("winning-ticket", arrays(trained(algorithm, "mast")[0].optimizer.masks))


@pytest.mark.parametrize("algorithm", VALUE_BASED)
def test_methods_are_one_program(algorithm: str) -> None:
    """Nothing that a method changes compiles anew; the narrow networks have their own shapes."""
    for method in METHODS:
        trained(algorithm, method)
    update, evolve = programs(algorithm, tiny=False)
    assert update._cache_size() == 1
    assert evolve._cache_size() == 1
