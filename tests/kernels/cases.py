"""Sparse networks, batches and float64 references for the tests of the kernels."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fresh_networks import independent_agents, recurrent_agent
from mast.kernels import (
    SparseAgent,
    SparseMatrix,
    available,
    library,
    sparse_agent,
    sparse_agents,
)
from mast.kernels.networks import HIDDEN
from mast.networks.agent import NO_ACTION, Agent, RecurrentAgent
from mast.networks.linear import Linear
from mast.networks.sharing import Parts

needs_kernels = pytest.mark.skipif(not available(), reason="there are no kernels here")

INSTRUCTION_SETS = tuple(each.name for each in library.instruction_sets()) if available() else ()
"""What this machine can execute, the best first."""

REFUSED = (ValueError, jax.errors.JaxRuntimeError)
"""What JAX makes of a native call's error, called at once or under jit."""

TOLERANCE = 1e-5
"""Norm-relative, against float64."""


@contextlib.contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Kernels of one instruction set."""
    with mock.patch.dict(os.environ, {"MAST_KERNELS": name}):
        yield


def distance(actual: Any, expected: Any) -> float:
    """‖actual − expected‖ / ‖expected‖, or ‖actual‖ where the expectation is zero."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(actual - expected)) / (norm if norm > 1e-12 else 1.0)


def layer_names(network: Any) -> list[str]:
    return [
        field.name for field in fields(network) if isinstance(getattr(network, field.name), Linear)
    ]


def random_mask(generator: np.random.Generator, shape: tuple[int, ...], density: float) -> Any:
    """At least one entry active; now and then an empty row and a full one."""
    mask = generator.random(shape) < density
    if 0 < density < 1:
        mask[generator.integers(shape[0])] = False
        mask[generator.integers(shape[0])] = True
    mask[0, 0] = True
    return mask


def masked(
    network: Any, generator: np.random.Generator, density: float, scale: float = 2.0
) -> tuple[Any, dict[str, Any]]:
    """The network with random masks applied, its weights scaled so that every part matters."""
    masks = {}
    for name in layer_names(network):
        weight = np.asarray(getattr(network, name).weight)
        mask = random_mask(generator, weight.shape, density)
        masks[name] = jnp.asarray(mask)
        network = eqx.tree_at(
            lambda n, name=name: getattr(n, name).weight,
            network,
            jnp.asarray(np.where(mask, np.float32(scale) * weight, np.float32(0))),
        )
    return network, masks


def lacking(
    agent: RecurrentAgent, generator: np.random.Generator, agents: int, share: float
) -> RecurrentAgent:
    """The agent with that share of its neurons missing, by chance for each of its users."""
    if share == 0:
        return agent
    has = generator.random((len(HIDDEN), agents, agent.hidden_size)) >= share
    neurons = {name: jnp.asarray(each) for name, each in zip(HIDDEN, has, strict=True)}
    return dataclasses.replace(agent, parts=Parts(neurons=neurons))


def places(matrix: SparseMatrix) -> tuple[Any, Any]:
    """Rows and columns of a matrix' values."""
    counts = np.diff(np.asarray(matrix.row_pointers))
    return np.repeat(np.arange(matrix.shape[0]), counts), np.asarray(matrix.columns)


@dataclass(frozen=True)
class AgentCase:
    """Shapes of an agent's batch."""

    steps: int = 5
    batch: int = 4
    agents: int = 3
    features: int = 20
    actions: int = 5
    width: int = 16
    density: float = 0.2
    dtype: str = "float32"
    seed: int = 0
    ids: bool = True
    """Whether the agent reads its number."""
    lacks: float = 0.0
    """About what share of the neurons of each hidden layer an agent lacks."""
    network_of: tuple[int, ...] = ()
    """Which of several networks each agent uses; empty where there is one."""


@dataclass(frozen=True)
class AgentBatch:
    """A random agent and a random batch."""

    agent: Agent
    compact: SparseAgent
    observation: Any
    action: Any
    lengths: Any
    factor: Any
    """d loss / d chosen; 0 beyond an episode's end."""


def agent_batch(case: AgentCase) -> AgentBatch:
    generator = np.random.default_rng(case.seed)
    sizes = (case.features, case.actions, case.agents if case.ids else 0, case.width)
    key = jax.random.key(case.seed)
    if case.network_of:
        copies = 1 + max(case.network_of)
        fresh = independent_agents(key, case.features, case.actions, copies, case.width)
        agent, masks = masked(fresh, generator, case.density)
        agent = dataclasses.replace(agent, parts=Parts(jnp.asarray(case.network_of)))
    else:
        fresh = eqx.filter_jit(recurrent_agent)(key, *sizes)
        agent, masks = masked(fresh, generator, case.density)
        agent = lacking(agent, generator, case.agents, case.lacks)
    rows = (case.steps, case.batch, case.agents)
    observation = generator.normal(size=(case.steps + 1, *rows[1:], case.features))
    observation[generator.random(observation.shape) < 0.5] = 0
    lengths = generator.integers(1, case.steps + 1, case.batch)
    lengths[generator.integers(case.batch)] = case.steps
    factor = generator.normal(size=rows) * (np.arange(case.steps)[:, None] < lengths)[..., None]
    return AgentBatch(
        agent,
        (sparse_agents if case.network_of else sparse_agent)(agent, masks),
        jnp.asarray(observation.astype(case.dtype)),
        jnp.asarray(generator.integers(0, case.actions, rows).astype(np.int32)),
        jnp.asarray(lengths.astype(np.int32)),
        factor,
    )


def float64(array: Any) -> Any:
    """The array in double precision (under `jax.enable_x64`); others than floats as they are."""
    if not jnp.issubdtype(np.asarray(array).dtype, jnp.floating):
        return jnp.asarray(array)
    return jnp.asarray(np.asarray(array, np.float64))


def agent_reference(case: AgentBatch) -> tuple[Any, Any, Agent]:
    """Chosen utilities, all of them, and the dense gradient of Σ factor · chosen, in float64.

    The network step by step, differentiated as it stands: nothing of `gru_sequence`'s own backward pass.
    """
    with jax.enable_x64(True):
        agent = jax.tree.map(float64, case.agent)
        observation, action, factor = float64(case.observation), case.action, float64(case.factor)
        first = np.full_like(action[:1], NO_ACTION)
        last = jnp.asarray(np.concatenate([first, np.asarray(action)]))

        def loss(agent: Agent) -> Any:
            def step(hidden: Any, now: Any) -> Any:
                q, hidden = agent.step(*now, hidden)
                return hidden, q

            hidden = agent.initial_hidden(*action.shape[1:])
            _, q = jax.lax.scan(step, hidden, (observation, last))
            chosen = jnp.take_along_axis(q[:-1], action[..., None], -1)[..., 0]
            return (factor * chosen).sum(), (chosen, q)

        trained, fixed = eqx.partition(agent, eqx.is_inexact_array)
        compute = jax.value_and_grad(
            lambda numbers: loss(eqx.combine(numbers, fixed)), has_aux=True
        )
        (_, (chosen, q)), gradient = jax.jit(compute)(trained)
        times = np.arange(len(q))[:, None]
        played = (times[:-1] < np.asarray(case.lengths))[..., None]
        seen = (times <= np.asarray(case.lengths))[..., None, None]
        return np.asarray(chosen) * played, np.asarray(q) * seen, jax.tree.map(np.asarray, gradient)
