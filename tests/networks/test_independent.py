"""One network per agent, against as many separate networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fresh_networks import independent_agents, recurrent_agent
from golden import networks_by_definition as golden
from mast.networks.agent import NO_ACTION, Agent, RecurrentAgent
from mast.networks.independent import IndependentAgents

FEATURES, ACTIONS, AGENTS, HIDDEN = 5, 3, 2, 4
STEPS, BATCH = 6, 2
LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")


def loss(network: Agent, observation: Any, last_action: Any, factor: Any) -> tuple[Any, Any]:
    q = network.sequence(observation, last_action)
    return (factor * q).sum(), q


value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
step_jitted = jax.jit(IndependentAgents.step)


@pytest.fixture(scope="module")
def fresh() -> IndependentAgents:
    sizes = (FEATURES, ACTIONS, AGENTS, HIDDEN)
    return jax.jit(lambda key: independent_agents(key, *sizes))(jax.random.key(0))


@pytest.fixture(scope="module")
def agents(fresh: IndependentAgents) -> IndependentAgents:
    """Weights three times Torch's, so that every part of the networks matters."""
    return jax.tree.map(lambda leaf: 3 * leaf, fresh)


@pytest.fixture(scope="module")
def inputs() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Observations, last actions, and factors of a loss."""
    rng = np.random.default_rng(1)
    observation = rng.normal(size=(STEPS + 1, BATCH, AGENTS, FEATURES))
    taken = rng.integers(0, ACTIONS, size=(STEPS, BATCH, AGENTS))
    last_action = np.concatenate([np.full((1, BATCH, AGENTS), NO_ACTION), taken])
    factor = rng.normal(size=(STEPS + 1, BATCH, AGENTS, ACTIONS))
    return (
        jnp.asarray(observation, jnp.float32),
        jnp.asarray(last_action, jnp.int32),
        jnp.asarray(factor, jnp.float32),
    )


def alone(agents: IndependentAgents, agent: int) -> RecurrentAgent:
    """One agent's network by itself."""
    own = jax.tree.map(lambda leaf: leaf[agent], agents)
    return RecurrentAgent(*(getattr(own, name) for name in LAYERS), FEATURES, ACTIONS)


def test_it_is_as_many_separate_networks_in_value_and_gradient(
    agents: IndependentAgents, inputs: tuple[jax.Array, jax.Array, jax.Array]
) -> None:
    (_, q), gradient = value_and_grad(agents, *inputs)
    for agent in range(AGENTS):
        own_inputs = [each[:, :, agent : agent + 1] for each in inputs]
        (_, own_q), own_gradient = value_and_grad(alone(agents, agent), *own_inputs)
        np.testing.assert_allclose(q[:, :, agent], own_q[:, :, 0], rtol=1e-5, atol=1e-6)
        for name in LAYERS:
            for part in ("weight", "bias"):
                ours = getattr(getattr(gradient, name), part)[agent]
                theirs = getattr(getattr(own_gradient, name), part)
                assert float(jnp.abs(theirs).max()) > 0.01
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_sequence_is_the_network_of_the_paper_without_the_id(
    agents: IndependentAgents, inputs: tuple[jax.Array, jax.Array, jax.Array]
) -> None:
    (_, q), _ = value_and_grad(agents, *inputs)
    assert q.shape == (STEPS + 1, BATCH, AGENTS, ACTIONS)
    observation, last_action, _ = map(np.asarray, inputs)
    for episode in range(BATCH):
        expected = golden.agent_utilities(agents, observation[:, episode], last_action[1:, episode])
        np.testing.assert_allclose(q[:, episode], expected, rtol=2e-5, atol=1e-5)


def test_step_carried_along_is_sequence(
    agents: IndependentAgents, inputs: tuple[jax.Array, jax.Array, jax.Array]
) -> None:
    (_, expected), _ = value_and_grad(agents, *inputs)
    observation, last_action, _ = inputs
    hidden = agents.initial_hidden(BATCH, AGENTS)
    for t in range(STEPS + 1):
        q, hidden = step_jitted(agents, observation[t], last_action[t], hidden)
        np.testing.assert_allclose(q, expected[t], rtol=1e-5, atol=1e-6)
    # Acting has no batch axis.
    start = agents.initial_hidden(AGENTS)
    q, after = step_jitted(agents, observation[0, 0], last_action[0, 0], start)
    np.testing.assert_allclose(q, expected[0, 0], rtol=1e-5, atol=1e-6)
    assert after.shape == (AGENTS, HIDDEN)


def test_an_agent_depends_on_nothing_of_the_others(
    agents: IndependentAgents, inputs: tuple[jax.Array, jax.Array, jax.Array]
) -> None:
    (_, before), _ = value_and_grad(agents, *inputs)
    observation, last_action, factor = inputs
    for i in range(AGENTS):
        others = [j for j in range(AGENTS) if j != i]
        seen = observation.at[:, :, others].add(10)
        done = last_action.at[1:, :, others].set((last_action[1:, :, others] + 1) % ACTIONS)
        grown = jax.tree.map(lambda leaf, others=others: leaf.at[others[0]].multiply(2), agents)
        (_, after), _ = value_and_grad(grown, seen, done, factor)
        np.testing.assert_array_equal(after[:, :, i], before[:, :, i])
        assert not np.isclose(after[:, :, others], before[:, :, others]).all()
        _, gradient = value_and_grad(agents, observation, last_action, factor.at[:, :, i].set(0))
        for leaf in jax.tree.leaves(gradient):
            assert (np.asarray(leaf)[i] == 0).all()
            assert (np.asarray(leaf)[others] != 0).any()


def test_fresh_networks_differ_and_have_torchs_ranges(fresh: IndependentAgents) -> None:
    assert isinstance(fresh, Agent)
    assert fresh.hidden_size == HIDDEN
    inputs = FEATURES + ACTIONS
    expected = {
        "fc1": ((HIDDEN, inputs), inputs),
        "gru_input": ((3 * HIDDEN, HIDDEN), HIDDEN),
        "gru_hidden": ((3 * HIDDEN, HIDDEN), HIDDEN),
        "fc2": ((ACTIONS, HIDDEN), HIDDEN),
    }
    for name, (shape, fan_in) in expected.items():
        layer = getattr(fresh, name)
        assert layer.weight.shape == (AGENTS, *shape)
        assert layer.bias.shape == (AGENTS, shape[0])
        assert 0.7 < float(jnp.abs(layer.weight).max()) * fan_in**0.5 <= 1.0, name
        assert not np.intersect1d(layer.weight[0], layer.weight[1]).size
    assert isinstance(recurrent_agent(jax.random.key(0), 2, 2, 2, 2), Agent)


def test_without_an_id_one_network_treats_all_agents_alike() -> None:
    network = recurrent_agent(jax.random.key(1), FEATURES, ACTIONS, agents=0, hidden_size=HIDDEN)
    assert network.fc1.weight.shape == (HIDDEN, FEATURES + ACTIONS)
    q, _ = network.step(
        jnp.ones((AGENTS, FEATURES)), jnp.zeros(AGENTS, jnp.int32), network.initial_hidden(AGENTS)
    )
    np.testing.assert_array_equal(q[0], q[1])
