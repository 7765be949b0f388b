"""Compact execution takes the same steps as masked: from the same state, along a run, topology and all."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast import kernels
from mast.algorithms.registry import NAMES, algorithm_entry
from mast.config import Config, resolve
from mast.execution.account import sizes_of
from mast.execution.compact import (
    CompactLearner,
    CompactState,
    copy_compact_target,
)
from mast.execution.environment import environment_of
from mast.execution.learner import Learner, LearnerState, copy_target
from mast.execution.method import method_from_config
from mast.learning.replay import Batch, Ring, bucket, length_buckets
from mast.learning.stored import RingReader, half_gathered
from mast.networks.agent import NO_ACTION
from mast.networks.sharing import assigned
from mast.sparsity.masks import leaf_path
from mast.training.rollout import JaxPlayers, episodes

pytestmark = pytest.mark.skipif(
    not kernels.available(), reason=f"no kernels here: {kernels.unavailable_reason()}"
)
ENVIRONMENT = environment_of(resolve({"environment": "smax/3m"}))
UPDATES, EVOLVE_INTERVAL, COPY_INTERVAL, STEPS = 16, 4, 6, 1000


def config_of(algorithm: str, method: str = "mast", **settings: Any) -> Config:
    given = {"environment": "smax/3m", "algorithm": algorithm, "method": method, "sparsity": 0.9}
    return resolve(given | {"steps": STEPS, "hidden_size": 40} | settings)


@functools.cache
def learner_of(algorithm: str, method: str = "mast", sharing: str = "shared") -> Learner:
    more: dict[str, Any] = {"prune_ratio": "0.2-0.3"} if "snp" in sharing else {}
    if sharing == "seps":
        more = {"seps_clusters": 2, "seps_steps": 100}
    config = config_of(algorithm, method, sharing=sharing, **more)
    return Learner(config, sizes_of(config, ENVIRONMENT.spec))


@functools.cache
def fresh(learner: Learner, seed: int) -> LearnerState:
    state = jax.jit(learner.init)(jax.random.key(seed))
    return assigned(state, jnp.array([0, 1, 0])) if learner.config.sharing == "seps" else state


@functools.cache
def battles() -> tuple[Ring, list[tuple[Any, int]]]:
    """A ring of battles that a random team fought, and slots and the length of batches of it."""
    players = JaxPlayers(ENVIRONMENT, "float16")
    agent = learner_of("iql").dense_params(jax.random.key(0)).agent
    keys = jax.random.split(jax.random.key(1), 24)
    ring = Ring(ENVIRONMENT.spec, 24)
    for episode in episodes(*players.record(agent, keys, jnp.float32(1.0))):
        ring.add(episode)
    buckets = length_buckets(ENVIRONMENT.spec.episode_limit)
    drawn = [ring.sample_indices(6, 0, 1, seed=0, update=update) for update in range(4)]
    longest = max(ring.longest(slots) for slots in drawn)
    assert bucket(longest, buckets) < ENVIRONMENT.spec.episode_limit  # not all of the ring is read
    return ring, [(slots, bucket(longest, buckets)) for slots in drawn]  # one length: one program


@functools.cache
def batches() -> list[Batch]:
    """These batches, copied."""
    ring, drawn = battles()
    return [ring.gather(*each) for each in drawn]


def arrays(tree: Any) -> dict[str, np.ndarray]:
    return {leaf_path(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same_arrays(one: Any, other: Any) -> None:
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    """Norm-relative, leaf by leaf."""
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        norm = np.linalg.norm(second[name].astype(float))
        assert np.linalg.norm(array.astype(float) - second[name]) <= tolerance * norm + 1e-9, name


@functools.cache
def programs(algorithm: str, sharing: str = "shared", method: str = "mast") -> dict[str, Any]:
    """All methods of an algorithm are one program, but for what compact execution keeps of a dense team."""
    learner = learner_of(algorithm, method, sharing)
    compact = CompactLearner(learner, threads=1)
    return {
        "masked": jax.jit(learner.update),
        "compact": jax.jit(compact.update),
        "evolve": jax.jit(learner.evolve),
        "to_compact": compact.compact,
        "to_dense": compact.dense,
        "gradient": jax.jit(learner.gradient),
        "half": jax.jit(half_gathered),
    }


@pytest.mark.parametrize(
    ("algorithm", "method"),
    [("qmix", "mast"), ("qmix", "dense"), ("vdn", "set"), ("owqmix", "mast"), ("res", "rigl")],
)
def test_compact_and_back_is_the_same_state(algorithm: str, method: str) -> None:
    learner, run = learner_of(algorithm, method), programs(algorithm)
    state = fresh(learner, 2)
    numbers = method_from_config(learner.config)
    state, _, gradient = run["masked"](state, batches()[0], numbers, jnp.float32(0))
    budget = learner.budget(state.params)
    # The target keeps its older mask.
    state, _ = run["evolve"](state, gradient, numbers, budget, jnp.float32(0), jax.random.key(3))
    if method == "dense":
        run = programs(algorithm, method=method)
    to_compact, to_dense = run["to_compact"], run["to_dense"]
    compact = to_compact(state)
    assert_same_arrays(to_dense(compact), state)
    assert_same_arrays(to_compact(to_dense(compact)), compact)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        *((algorithm, {}) for algorithm in NAMES if algorithm_entry(algorithm).compact_speedup),
        ("owqmix", {"operator": "max", "targets": "n_step"}),
        ("owqmix", {"operator": "softmax", "weights_from": "online_restricted"}),
        ("cwqmix", {"operator": "mellowmax", "timeout": "terminal"}),
        ("res", {"res_unavailable": "include"}),
        ("res", {"operator": "soft_mellowmax"}),
    ],
)
def test_along_a_run_every_update_is_that_of_the_masked_learner(
    algorithm: str, settings: dict[str, Any]
) -> None:
    """The compact run leads; each of its updates is repeated by the masked learner from the same state."""
    learner, run = learner_of(algorithm), programs(algorithm)
    numbers = method_from_config(config_of(algorithm, **settings))
    follow(learner, run, numbers)


SHARED = [
    *(("qmix", "snp"), ("vdn", "snp-nps"), ("iql", "fups"), ("owqmix", "snp+id")),
    *(("qmix", "independent"), ("res", "independent"), ("qmix", "seps"), ("owqmix", "seps")),
]


@pytest.mark.parametrize(("algorithm", "sharing"), SHARED)
def test_teams_that_share_otherwise_take_the_masked_learners_steps(
    algorithm: str, sharing: str
) -> None:
    learner, run = learner_of(algorithm, sharing=sharing), programs(algorithm, sharing)
    numbers = method_from_config(learner.config)
    state = follow(learner, run, numbers)
    # What the agents have is what they had.
    assert_same_arrays(state.params.agent.parts, fresh(learner, 4).params.agent.parts)
    compact = CompactLearner(learner, threads=1)
    assert_same_arrays(run["to_dense"](run["to_compact"](state)), state)
    same_in_the_ring(learner, run)
    same_acting(compact, run["to_compact"](state), state)


def test_agents_are_shared_out_anew_as_those_of_a_masked_team() -> None:
    learner, run = learner_of("qmix", sharing="seps"), programs("qmix", "seps")
    state = fresh(learner, 4)
    anew = assigned(run["to_compact"](state), jnp.array([1, 1, 0]))
    assert_same_arrays(run["to_dense"](anew), assigned(state, jnp.array([1, 1, 0])))


def follow(learner: Learner, run: dict[str, Any], numbers: Any) -> LearnerState:
    """A compact run, each of whose updates is held to the masked learner's; how it ends.

    From other first weights a ReLU may come within a rounding of zero, and the two gradients then differ by a
    row: of 12 first weights of owqmix with snp+id one did, where float64 agreed with the kernels.
    """
    state: CompactState = run["to_compact"](fresh(learner, 4))
    budget = learner.budget(run["to_dense"](state).params)
    for number in range(1, UPDATES + 1):
        batch = batches()[number % len(batches())]
        env_steps = jnp.float32(STEPS * number / UPDATES)
        before: LearnerState = run["to_dense"](state)
        masked, expected, gradient = run["masked"](before, batch, numbers, env_steps)
        state, metrics = run["compact"](state, batch, numbers, env_steps)
        after: LearnerState = run["to_dense"](state)
        assert_close(after.params, masked.params, 1e-5)
        assert_close(metrics, expected, 1e-5)
        assert_same_arrays(after.optimizer.masks, before.optimizer.masks)
        if number % EVOLVE_INTERVAL == 0:
            key = jax.random.fold_in(jax.random.key(5), number)
            evolved, _ = run["evolve"](after, gradient, numbers, budget, env_steps, key)
            theirs, _ = run["evolve"](masked, gradient, numbers, budget, env_steps, key)
            assert_same_arrays(evolved.optimizer.masks, theirs.optimizer.masks)
            state = run["to_compact"](evolved)
        if number % COPY_INTERVAL == 0:
            state = copy_compact_target(state)
            assert_same_arrays(
                run["to_dense"](state).target, copy_target(run["to_dense"](state)).target
            )
    return run["to_dense"](state)


@pytest.mark.parametrize(
    "algorithm", [name for name in NAMES if algorithm_entry(name).compact_speedup]
)
def test_a_batch_in_the_ring_gives_bit_for_bit_what_its_copy_gives(algorithm: str) -> None:
    same_in_the_ring(learner_of(algorithm), programs(algorithm))


def same_in_the_ring(learner: Learner, run: dict[str, Any]) -> None:
    numbers = method_from_config(learner.config)
    ring, drawn = battles()
    reader = RingReader(ring)
    state = run["to_compact"](fresh(learner, 6))
    for number in range(8):
        slots, length = drawn[number % len(drawn)]
        steps = jnp.float32(STEPS * number / 8)
        there = reader.batch(slots, length)
        fused = CompactLearner(learner, threads=1).is_fused
        there = there.episodes if fused else run["half"](there)
        stored = run["compact"](state, there, numbers, steps)
        copied = run["compact"](state, ring.gather(slots, length), numbers, steps)
        assert_same_arrays(stored, copied)
        state = stored[0]


def test_acting_is_the_masked_agents() -> None:
    learner = learner_of("qmix")
    state = fresh(learner, 8)
    same_acting(CompactLearner(learner, threads=1), programs("qmix")["to_compact"](state), state)


def same_acting(compact: CompactLearner, kept: CompactState, state: LearnerState) -> None:
    acting = compact.acting(kept)
    spec, agent = ENVIRONMENT.spec, state.params.agent
    observation = jax.random.normal(jax.random.key(9), (5, spec.agents, spec.observation))
    hidden = jax.random.normal(jax.random.key(10), (5, spec.agents, agent.hidden_size))
    for last in (NO_ACTION, 2):
        last_action = jnp.full((5, spec.agents), last)
        q, after = acting.step(observation, last_action, hidden)
        expected_q, expected_after = agent.step(observation, last_action, hidden)
        np.testing.assert_allclose(q, expected_q, atol=2e-6)
        np.testing.assert_allclose(after, expected_after, atol=2e-6)
