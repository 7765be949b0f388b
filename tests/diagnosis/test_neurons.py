"""Dead neurons of both kinds, by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fresh_networks import feed_forward_mixer, independent_agents, q_mixer, recurrent_agent
from mast.algorithms.value.decomposition import Team
from mast.algorithms.value.weighted import WeightedTeam
from mast.diagnosis.neurons import disconnected_neurons, dormant_neurons, shares
from mast.diagnosis.values import Played
from mast.networks.linear import Linear
from mast.networks.mixers import SumMixer
from mast.networks.spec import (
    Sizes,
    actor_spec,
    feed_forward_mixer_spec,
    monotonic_mixer_spec,
    recurrent_agent_spec,
)

UNITS = 2


NETWORKS = {
    "agent": recurrent_agent_spec(Sizes(1, 1, 2, 0, hidden_size=UNITS)),
    "mixer": monotonic_mixer_spec(Sizes(1, 2, 1, 1, hypernet_hidden=3, mixer_embed=1)),
    "unrestricted_mixer": feed_forward_mixer_spec(Sizes(1, 4, 1, 1, unrestricted_hidden=2)),
}


def dead_of(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return disconnected_neurons(NETWORKS, masks)


def agent_masks() -> dict[str, np.ndarray]:
    """Everything connected: 3 inputs, 2 units, 2 actions."""
    shapes = {"fc1": (2, 3), "gru_input": (6, 2), "gru_hidden": (6, 2), "fc2": (2, 2)}
    return {f"agent.{name}.weight": np.ones(shape, bool) for name, shape in shapes.items()}


def test_a_first_layer_neuron_needs_an_input_and_a_reader() -> None:
    masks = agent_masks()
    assert not dead_of(masks)["agent.fc1"].any()
    masks["agent.fc1.weight"][1] = False
    assert dead_of(masks)["agent.fc1"].tolist() == [False, True]
    masks = agent_masks()
    masks["agent.gru_input.weight"][:, 0] = False
    assert dead_of(masks)["agent.fc1"].tolist() == [True, False]


def test_a_gru_unit_without_any_output_is_disconnected() -> None:
    masks = agent_masks()
    masks["agent.fc2.weight"][:, 1] = False
    assert not dead_of(masks)["agent.gru"].any()  # unit 0 still reads it
    masks["agent.gru_hidden.weight"][[0, 2, 4], 1] = False  # unit 0's three gates
    assert dead_of(masks)["agent.gru"].tolist() == [False, True]
    assert masks["agent.gru_hidden.weight"][[1, 3, 5], 1].all()  # it reads itself: no matter


def test_a_gru_unit_without_any_input_is_disconnected() -> None:
    masks = agent_masks()
    masks["agent.gru_input.weight"][[0, 2, 4]] = False
    assert not dead_of(masks)["agent.gru"].any()  # it still reads unit 1
    masks["agent.gru_hidden.weight"][[0, 2, 4], 1] = False
    assert dead_of(masks)["agent.gru"].tolist() == [True, False]
    masks["agent.gru_input.weight"][2, 0] = True  # one gate is enough
    assert not dead_of(masks)["agent.gru"][0]


def test_hypernetworks_and_layers_that_nobody_reads() -> None:
    masks = {
        "mixer.w1_hidden.weight": np.array([[1, 0], [0, 0], [0, 1]], bool),
        "mixer.w1_out.weight": np.array([[0, 1, 1]], bool),
        "mixer.b1.weight": np.zeros((2, 2), bool),
    }
    dead = dead_of(masks)
    assert list(dead) == ["mixer.w1_hidden"]  # b1 feeds no neuron of its own
    assert dead["mixer.w1_hidden"].tolist() == [True, True, False]
    assert shares(dead) == {"mixer.w1_hidden": 2 / 3}


def test_the_unrestricted_mixer_is_a_chain() -> None:
    masks = {
        f"unrestricted_mixer.{name}.weight": np.ones(shape, bool)
        for name, shape in {"fc1": (2, 5), "fc2": (2, 2), "fc3": (2, 2), "fc4": (1, 2)}.items()
    }
    masks["unrestricted_mixer.fc3.weight"][1] = False
    masks["unrestricted_mixer.fc3.weight"][:, 0] = False
    dead = dead_of(masks)
    assert {name.rpartition(".")[2]: each.tolist() for name, each in dead.items()} == {
        "fc1": [False, False],
        "fc2": [True, False],  # nobody reads the first
        "fc3": [False, True],  # the second reads nothing
    }


def test_an_actors_layers_are_a_chain_too() -> None:
    networks = {"agent": actor_spec(Sizes(3, 0, 2, 1, hidden_size=2, hidden_layers=1))}
    masks = {
        "agent.layers.0.weight": np.array([[0, 0, 0, 0], [1, 0, 0, 0]], bool),
        "agent.layers.1.weight": np.ones((2, 2), bool),
    }
    assert disconnected_neurons(networks, masks)["agent.layers.0"].tolist() == [True, False]


def test_independent_agents_are_counted_one_by_one() -> None:
    masks = {name: np.stack([mask, mask, mask]) for name, mask in agent_masks().items()}
    masks["agent.fc1.weight"][1, 0] = False
    masks["agent.gru_hidden.weight"][2, [0, 2, 4], 1] = False
    masks["agent.fc2.weight"][2, :, 1] = False
    dead = dead_of(masks)
    assert dead["agent.fc1"].tolist() == [[False, False], [True, False], [False, False]]
    assert dead["agent.gru"].tolist() == [[False, False], [False, False], [False, True]]
    assert shares(dead) == {"agent.fc1": 1 / 6, "agent.gru": 1 / 6}


def played(observation: list[list[float]]) -> Played:
    """One feature, one agent; [time][episode]; the last step of the second episode is padding."""
    values = np.array(observation, np.float32)
    mask = np.ones(values.shape, bool)
    mask[-1, 1] = False
    return Played(
        observation=values[..., None, None],
        state=values[..., None],
        available=np.ones((*values.shape, 1, 1), bool),
        action=np.zeros((*values.shape, 1), int),
        reward=np.zeros(values.shape),
        mask=mask,
        cut=np.zeros(2, bool),
    )


def first_layer(weights: list[float], biases: list[float]) -> Linear:
    """Reads the feature, and not the action and id beside it."""
    matrix = np.zeros((len(weights), 3), np.float32)
    matrix[:, 0] = weights
    return Linear(jnp.asarray(matrix), jnp.asarray(biases, jnp.float32))


def test_a_dormant_neuron_never_fires_on_a_step_really_taken() -> None:
    agent = recurrent_agent(jax.random.key(0), 1, 1, 1, 4)
    # Fires: never; on the padding only (3); at the feature 2; always.
    fc1 = first_layer([0, 1, 1, 0], [-1, -2.5, -1.5, 1])
    params = Team(eqx.tree_at(lambda a: a.fc1, agent, fc1), SumMixer())
    dead = dormant_neurons(params, played([[0, 0], [2, 3]]))
    assert list(dead) == ["agent.fc1"]
    assert dead["agent.fc1"].tolist() == [True, True, False, False]


def test_the_mixers_hidden_layers_are_looked_at() -> None:
    mixer = q_mixer(jax.random.key(1), 1, 1, 2, 3)
    silent = Linear(jnp.zeros((2, 1)), jnp.array([0.0, 1.0]))
    params = Team(
        recurrent_agent(jax.random.key(0), 1, 1, 1, 2),
        eqx.tree_at(lambda m: m.v_hidden, mixer, silent),
    )
    dead = dormant_neurons(params, played([[0, 0], [2, 3]]))
    assert set(dead) == {"agent.fc1", "mixer.w1_hidden", "mixer.w_final_hidden", "mixer.v_hidden"}
    assert dead["mixer.v_hidden"].tolist() == [True, False]


def test_independent_agents_fire_or_not_each_by_itself() -> None:
    """Two networks of two units on one feature; in the second network both units see it negatively."""
    agents = independent_agents(jax.random.key(0), 1, 1, 2, 2)
    weight = np.zeros((2, 2, 2), np.float32)  # [agents, units, feature and action]
    weight[:, :, 0] = [[1, -1], [-1, -1]]
    fc1 = Linear(jnp.asarray(weight), jnp.zeros((2, 2)))
    params = Team(eqx.tree_at(lambda a: a.fc1, agents, fc1), SumMixer())
    episodes = played([[0, 0], [2, 3]])
    both = np.repeat(episodes.observation, 2, axis=2)
    episodes = episodes._replace(observation=both, action=np.zeros(both.shape[:-1], int))
    dead = dormant_neurons(params, episodes)
    assert dead["agent.fc1"].tolist() == [[False, True], [True, True]]


def test_the_unrestricted_networks_are_looked_at() -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    unrestricted = feed_forward_mixer(keys[0], 1, 1, 3)
    silent = Linear(jnp.zeros((3, 3)), jnp.array([-1.0, 0.0, 1.0]))
    params = WeightedTeam(
        recurrent_agent(keys[1], 1, 1, 1, 2),
        q_mixer(keys[2], 1, 1, 2, 3),
        recurrent_agent(keys[3], 1, 1, 1, 2),
        eqx.tree_at(lambda m: m.fc2, unrestricted, silent),
    )
    dead = dormant_neurons(params, played([[0, 0], [2, 3]]))
    assert dead["unrestricted_mixer.fc2"].tolist() == [True, True, False]
    assert {"unrestricted_agent.fc1", "unrestricted_mixer.fc3", "mixer.v_hidden"} < set(dead)
