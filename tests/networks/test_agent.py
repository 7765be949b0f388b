from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fresh_networks import recurrent_agent
from golden import networks_by_definition as golden
from mast.networks.agent import NO_ACTION, RecurrentAgent, last_actions
from mast.networks.linear import Linear

FEATURES, ACTIONS, AGENTS, HIDDEN = 5, 3, 2, 4
STEPS, BATCH = 6, 2
LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")

sequence_jitted = jax.jit(RecurrentAgent.sequence)
step_jitted = jax.jit(RecurrentAgent.step)


@pytest.fixture(scope="module")
def fresh() -> RecurrentAgent:
    sizes = (FEATURES, ACTIONS, AGENTS, HIDDEN)
    return jax.jit(lambda key: recurrent_agent(key, *sizes))(jax.random.key(0))


@pytest.fixture(scope="module")
def agent(fresh: RecurrentAgent) -> RecurrentAgent:
    """Weights three times Torch's, so that every part of the network matters."""
    return jax.tree.map(lambda leaf: 3 * leaf, fresh)


@pytest.fixture(scope="module")
def observation() -> np.ndarray:
    return (
        np.random.default_rng(1).normal(size=(STEPS + 1, BATCH, AGENTS, FEATURES)).astype("float32")
    )


@pytest.fixture(scope="module")
def last_action() -> np.ndarray:
    taken = np.random.default_rng(2).integers(0, ACTIONS, size=(STEPS, BATCH, AGENTS))
    return np.concatenate([np.full((1, BATCH, AGENTS), NO_ACTION), taken]).astype("int32")


def sequence(agent: RecurrentAgent, observation: np.ndarray, last_action: np.ndarray) -> np.ndarray:
    return np.asarray(sequence_jitted(agent, jnp.asarray(observation), jnp.asarray(last_action)))


def test_encode_is_fc1_over_the_concatenated_input(agent: RecurrentAgent) -> None:
    observation = np.random.default_rng(3).normal(size=(AGENTS, FEATURES)).astype("float32")
    for last_action in ([NO_ACTION, NO_ACTION], [0, 2], [1, NO_ACTION]):
        codes = [np.eye(ACTIONS)[a] if a != NO_ACTION else np.zeros(ACTIONS) for a in last_action]
        concatenated = np.concatenate([observation, codes, np.eye(AGENTS)], axis=1)
        expected = jax.nn.relu(agent.fc1(jnp.asarray(concatenated, jnp.float32)))
        encoded = agent.encode(jnp.asarray(observation), jnp.asarray(last_action))
        np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)


def test_step_carried_along_is_sequence(
    agent: RecurrentAgent, observation: np.ndarray, last_action: np.ndarray
) -> None:
    expected = sequence(agent, observation, last_action)
    hidden = agent.initial_hidden(BATCH, AGENTS)
    np.testing.assert_array_equal(hidden, np.zeros((BATCH, AGENTS, HIDDEN)))
    for t in range(STEPS + 1):
        q, hidden = step_jitted(
            agent, jnp.asarray(observation[t]), jnp.asarray(last_action[t]), hidden
        )
        np.testing.assert_allclose(q, expected[t], rtol=1e-5, atol=1e-6)


def test_sequence_is_the_network_of_the_paper(
    agent: RecurrentAgent, observation: np.ndarray, last_action: np.ndarray
) -> None:
    q = sequence(agent, observation, last_action)
    assert q.shape == (STEPS + 1, BATCH, AGENTS, ACTIONS)
    for episode in range(BATCH):
        expected = golden.agent_utilities(agent, observation[:, episode], last_action[1:, episode])
        np.testing.assert_allclose(q[:, episode], expected, rtol=2e-5, atol=1e-5)


def test_an_agents_values_do_not_depend_on_what_the_others_see_or_do(
    agent: RecurrentAgent, observation: np.ndarray, last_action: np.ndarray
) -> None:
    before = sequence(agent, observation, last_action)
    for i in range(AGENTS):
        others = [j for j in range(AGENTS) if j != i]
        seen, done = observation.copy(), last_action.copy()
        seen[:, :, others] += 10
        done[1:, :, others] = (done[1:, :, others] + 1) % ACTIONS
        after = sequence(agent, seen, done)
        np.testing.assert_array_equal(after[:, :, i], before[:, :, i])
        assert not np.isclose(after[:, :, others], before[:, :, others]).all()


def test_values_depend_on_the_past_the_last_action_and_the_id_but_not_on_the_future(
    agent: RecurrentAgent, observation: np.ndarray, last_action: np.ndarray
) -> None:
    before = sequence(agent, observation, last_action)
    seen = observation.copy()
    seen[3] += 1
    after = sequence(agent, seen, last_action)
    np.testing.assert_array_equal(after[:3], before[:3])
    assert (np.abs(after[3:] - before[3:]).max((1, 2, 3)) > 1e-5).all()

    done = last_action.copy()
    done[2] = (done[2] + 1) % ACTIONS
    after = sequence(agent, observation, done)
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.abs(after[2] - before[2]).max() > 1e-3

    same = np.repeat(observation[:, :, :1], AGENTS, axis=2)
    none = np.full_like(last_action, NO_ACTION)
    q = sequence(agent, same, none)
    assert np.abs(q[:, :, 0] - q[:, :, 1]).max() > 1e-3


def test_fresh_agent_has_torchs_shapes_and_ranges(fresh: RecurrentAgent) -> None:
    assert fresh.hidden_size == HIDDEN
    inputs = FEATURES + ACTIONS + AGENTS
    expected: dict[str, tuple[tuple[int, int], int]] = {
        "fc1": ((HIDDEN, inputs), inputs),
        "gru_input": ((3 * HIDDEN, HIDDEN), HIDDEN),
        "gru_hidden": ((3 * HIDDEN, HIDDEN), HIDDEN),
        "fc2": ((ACTIONS, HIDDEN), HIDDEN),
    }
    for name, (shape, fan_in) in expected.items():
        layer: Linear = getattr(fresh, name)
        assert layer.weight.shape == shape
        assert layer.bias.shape == shape[:1]
        assert 0.7 < float(jnp.abs(layer.weight).max()) * fan_in**0.5 <= 1.0, name


@pytest.fixture(scope="module")
def masks(agent: RecurrentAgent) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {name: rng.random(getattr(agent, name).weight.shape) < 0.5 for name in LAYERS}


def masked(agent: RecurrentAgent, masks: dict[str, np.ndarray]) -> RecurrentAgent:
    return eqx.tree_at(
        lambda tree: [getattr(tree, name).weight for name in LAYERS],
        agent,
        [jnp.where(masks[name], getattr(agent, name).weight, 0) for name in LAYERS],
    )


def test_inactive_weights_receive_the_dense_gradient(
    agent: RecurrentAgent,
    masks: dict[str, np.ndarray],
    observation: np.ndarray,
    last_action: np.ndarray,
) -> None:
    """Growth by gradient needs it: a forward pass that multiplied by a mask would hide it."""
    shape = (STEPS + 1, BATCH, AGENTS, ACTIONS)
    factor = np.random.default_rng(5).normal(size=shape).astype("float32")

    def loss(agent: RecurrentAgent) -> jax.Array:
        q = agent.sequence(jnp.asarray(observation), jnp.asarray(last_action))
        return (factor * q).sum()

    empty = masked(agent, masks)
    gradient = jax.jit(jax.grad(loss))(empty)
    hidden = jax.jit(jax.grad(lambda agent: loss(masked(agent, masks))))(empty)
    for name, mask in masks.items():
        dense = np.asarray(getattr(gradient, name).weight)
        through_mask = np.asarray(getattr(hidden, name).weight)
        assert (through_mask[~mask] == 0).all()
        assert (dense[~mask] != 0).mean() > 0.9, name
        np.testing.assert_allclose(dense[mask], through_mask[mask], rtol=1e-4, atol=1e-4)

        # And it is the derivative: so the float64 network changes with an inactive weight.
        out, into = np.argwhere(~mask)[np.abs(dense[~mask]).argmax()]
        slope = 0.0
        for sign in (+1, -1):
            moved = np.asarray(getattr(empty, name).weight, np.float64)
            moved[out, into] = sign * 1e-5
            layers = {each: getattr(empty, each) for each in LAYERS}
            layers[name] = SimpleNamespace(weight=moved, bias=layers[name].bias)
            for episode in range(BATCH):
                q = golden.agent_utilities(
                    SimpleNamespace(**layers), observation[:, episode], last_action[1:, episode]
                )
                slope += sign * float((factor[:, episode] * q).sum()) / 2e-5
        assert dense[out, into] == pytest.approx(slope, rel=1e-3), name


def test_last_actions_begin_with_none_and_reach_the_state_after_the_last_step() -> None:
    action = jnp.array([[[3, 1]], [[0, 2]]])  # two steps, one episode, two agents
    np.testing.assert_array_equal(last_actions(action), [[[-1, -1]], [[3, 1]], [[0, 2]]])
