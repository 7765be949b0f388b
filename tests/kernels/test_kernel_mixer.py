import dataclasses
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fresh_networks import q_mixer
from kernels.cases import (
    INSTRUCTION_SETS,
    REFUSED,
    TOLERANCE,
    distance,
    float64,
    instruction_set,
    layer_names,
    masked,
    needs_kernels,
    places,
)
from mast.algorithms.value.res import res_softmax_value
from mast.kernels import joint_softmax_values, mixed_values, sparse_q_mixer

pytestmark = needs_kernels


@dataclass(frozen=True)
class Case:
    """Shapes of a mixer's batch."""

    times: int = 6
    batch: int = 5
    agents: int = 3
    state: int = 12
    embed: int = 8
    hypernet: int = 10
    density: float = 0.3
    dtype: str = "float32"
    extra: int = 1
    """States after the last utilities."""
    seed: int = 0


@dataclass(frozen=True)
class MixerBatch:
    """A random mixer and a random batch."""

    mixer: Any
    compact: Any
    utilities: Any
    state: Any
    rows: Any
    factor: Any


def mixer_batch(case: Case) -> MixerBatch:
    generator = np.random.default_rng(case.seed)
    sizes = (case.state, case.agents, case.embed, case.hypernet)
    fresh = eqx.filter_jit(q_mixer)(jax.random.key(case.seed), *sizes)
    mixer, masks = masked(fresh, generator, case.density)
    rows = generator.integers(0, case.times + 1, case.batch)
    shape = (case.times, case.batch)
    factor = generator.normal(size=shape) * (np.arange(case.times)[:, None] < rows)
    utilities = generator.normal(size=(*shape, case.agents))
    state = generator.normal(size=(case.times + case.extra, case.batch, case.state))
    return MixerBatch(
        mixer,
        sparse_q_mixer(mixer, masks),
        jnp.asarray(utilities.astype(np.float32)),
        jnp.asarray(state.astype(case.dtype)),
        jnp.asarray(rows.astype(np.int32)),
        factor,
    )


def reference(batch: MixerBatch) -> tuple[Any, Any, Any]:
    """Q_tot and the gradients of Σ factor · Q_tot to mixer and utilities, in float64."""
    with jax.enable_x64(True):
        mixer = jax.tree.map(float64, batch.mixer)
        state = float64(np.asarray(batch.state)[: len(batch.factor)])
        factor = float64(batch.factor)

        def loss(mixer: Any, utilities: Any) -> Any:
            q_tot = mixer(utilities, state)[..., 0]
            return (factor * q_tot).sum(), q_tot

        gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, q_tot), (d_mixer, d_utilities) = gradient(mixer, float64(batch.utilities))
        visited = np.arange(len(factor))[:, None] < np.asarray(batch.rows)
        return np.asarray(q_tot) * visited, jax.tree.map(np.asarray, d_mixer), d_utilities


def kernel_results(batch: MixerBatch, threads: int = 1) -> tuple[Any, Any, Any]:
    def loss(both: Any) -> Any:
        q_tot = mixed_values(*both, batch.state, batch.rows, threads=threads)
        return (jnp.asarray(batch.factor, jnp.float32) * q_tot).sum(), q_tot

    compute = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, q_tot), (d_mixer, d_utilities) = compute((batch.compact, batch.utilities))
    return q_tot, jax.tree.map(np.asarray, eqx.combine(d_mixer, batch.compact)), d_utilities


cases = st.builds(
    Case,
    times=st.integers(1, 9),
    batch=st.integers(1, 40),
    agents=st.integers(1, 20),
    state=st.integers(1, 70),
    embed=st.integers(1, 40),
    hypernet=st.integers(1, 70),
    density=st.sampled_from([0.005, 0.05, 0.3, 1.0]),
    dtype=st.sampled_from(["float16", "float32"]),
    extra=st.integers(0, 1),
    seed=st.integers(0, 1000),
)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(case=cases)
@example(case=Case(times=1, batch=1, agents=1, state=1, embed=1, hypernet=1, density=1.0))
@example(case=Case(times=20, batch=32, state=57, embed=32, hypernet=64, density=0.1))
def test_every_instruction_set_agrees_with_float64(case: Case) -> None:
    batch = mixer_batch(case)
    q_tot, d_mixer, d_utilities = reference(batch)
    for name in INSTRUCTION_SETS:
        with instruction_set(name):
            actual, actual_d_mixer, actual_d_utilities = kernel_results(batch)
        assert distance(actual, q_tot) < TOLERANCE
        assert distance(actual_d_utilities, d_utilities) < TOLERANCE
        for layer in layer_names(batch.mixer):
            expected, found = getattr(d_mixer, layer), actual_d_mixer.layers()[layer]
            where = places(found.weight)
            assert distance(found.weight.values, expected.weight[where]) < TOLERANCE, layer
            assert distance(found.bias, expected.bias) < TOLERANCE, layer


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    batch = mixer_batch(Case(times=30, batch=40))
    one, two = kernel_results(batch, threads=1), kernel_results(batch, threads=2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


@dataclass(frozen=True)
class JointBatch:
    """An online and a target mixer, and utilities of all actions."""

    online: MixerBatch
    target: MixerBatch
    q: Any
    target_q: Any
    available: Any


def joint_batch(case: Case, actions: int) -> JointBatch:
    generator = np.random.default_rng(case.seed)
    shape = (case.times, case.batch, case.agents, actions)
    available = generator.random(shape) < 0.6
    available[..., generator.integers(actions)] = True
    online = mixer_batch(case)
    # Of the same density, so of one shape: the structure is the online one's, the numbers are others.
    target = dataclasses.replace(
        online,
        mixer=jax.tree.map(lambda x: 1.5 * x[::-1, ...] if x.ndim == 1 else -x, online.mixer),
    )
    masks = {name: getattr(target.mixer, name).weight != 0 for name in layer_names(target.mixer)}
    q, target_q = (jnp.asarray(generator.normal(size=shape).astype(np.float32)) for _ in range(2))
    return JointBatch(
        online,
        dataclasses.replace(target, compact=sparse_q_mixer(target.mixer, masks)),
        q,
        target_q,
        jnp.asarray(available),
    )


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    case=cases,
    actions=st.integers(1, 20),
    beta=st.sampled_from([0.0, 0.05, 5.0]),
    with_unavailable=st.booleans(),
)
@example(Case(times=1, batch=1, agents=1, state=1, embed=1, hypernet=1), 1, 5.0, True)
@example(Case(times=20, batch=32, state=57, embed=32, hypernet=64, density=0.1), 8, 5.0, False)
@example(Case(times=20, batch=32, state=57, embed=32, hypernet=64, density=0.1), 8, 0.05, True)
def test_joint_values_of_every_instruction_set_agree_with_float64(
    case: Case, actions: int, beta: float, with_unavailable: bool
) -> None:
    case = dataclasses.replace(case, extra=0, dtype="float32")
    batch = joint_batch(case, actions)
    state, rows = batch.online.state, batch.online.rows
    with jax.enable_x64(True):
        weights = [
            jax.tree.map(float64, each.mixer).weights(float64(state))
            for each in (batch.online, batch.target)
        ]
        utilities = float64(batch.q), float64(batch.target_q)
        expected = np.asarray(
            jax.jit(res_softmax_value)(
                *weights, *utilities, batch.available, beta, with_unavailable
            )
        )
    expected = expected * (np.arange(case.times)[:, None] < np.asarray(rows))
    for name in INSTRUCTION_SETS:
        with instruction_set(name):
            for threads in (1, 2):
                found = joint_softmax_values(
                    *(batch.online.compact, batch.target.compact, batch.q, batch.target_q),
                    *(batch.available, state, rows),
                    beta=beta,
                    with_unavailable=with_unavailable,
                    threads=threads,
                )
                assert distance(found, expected) < TOLERANCE


def test_nothing_visited_gives_zeros() -> None:
    batch = mixer_batch(Case())
    q_tot = mixed_values(batch.compact, batch.utilities, batch.state, 0 * batch.rows)
    np.testing.assert_array_equal(q_tot, np.zeros_like(q_tot))


def test_shapes_that_do_not_fit_are_refused() -> None:
    batch = mixer_batch(Case())
    with pytest.raises(REFUSED, match="agents times embed"):
        jax.block_until_ready(
            mixed_values(batch.compact, batch.utilities[..., :-1], batch.state, batch.rows)
        )
    with pytest.raises(REFUSED, match="more utilities than states"):
        jax.block_until_ready(
            mixed_values(batch.compact, batch.utilities, batch.state[:2], batch.rows)
        )
