"""Structured pruning of a recurrent agent: counts, carried state, gradients, and what the others share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.envs.protocol import AgentSpec, EnvironmentSpec
from mast.errors import UserError
from mast.execution.account import account_of, parameters_of_an_agent, sizes_of
from mast.execution.learner import Learner
from mast.export.network import networks_of
from mast.export.one_agent import one_agent
from mast.networks.agent import NO_ACTION, RecurrentAgent, last_actions
from mast.networks.independent import IndependentAgents, PrunedWeights
from mast.networks.sharing import Parts, assigned, users_of
from mast.networks.spec import Lacks, Sizes, recurrent_agent_spec
from mast.policy import Policy, save_policy

AGENTS, FEATURES, ACTIONS = 3, 5, 4
TEAM = Sizes(FEATURES, 6, ACTIONS, AGENTS)


def agent_of(sharing: str, seed: int = 0, **settings):
    config = Config(
        environment="own:Game", method="dense", hidden_size=10, sharing=sharing, **settings
    )
    return Learner(config, sizes_of(config, TEAM)).dense_params(jax.random.key(seed)).agent


def episodes(seed: int = 0):
    chance = np.random.default_rng(seed)
    observation = chance.normal(size=(4, 2, AGENTS, FEATURES)).astype(np.float32)
    action = chance.integers(ACTIONS, size=(3, 2, AGENTS)).astype(np.int32)
    return jnp.asarray(observation), last_actions(jnp.asarray(action))


def by_loops(agent: RecurrentAgent, observation, last_action):
    """One agent at a time, one step at a time, in float64; the state of what an agent lacks is set to 0."""
    layers = {
        name: (
            np.asarray(getattr(agent, name).weight, np.float64),
            np.asarray(getattr(agent, name).bias, np.float64),
        )
        for name in ("fc1", "gru_input", "gru_hidden", "fc2")
    }
    neurons = {name: np.asarray(kept, np.float64) for name, kept in agent.parts.neurons.items()}
    has_id = layers["fc1"][0].shape[1] > FEATURES + ACTIONS
    time, batch, _, _ = observation.shape
    q = np.zeros((time, batch, AGENTS, ACTIONS))
    for e in range(batch):
        for i in range(AGENTS):
            hidden = np.zeros(10)
            for t in range(time):
                code = np.zeros(ACTIONS)
                if last_action[t, e, i] != NO_ACTION:
                    code[last_action[t, e, i]] = 1
                x = np.concatenate([observation[t, e, i], code, np.eye(AGENTS)[i] * 1.0])
                x = x if has_id else x[: FEATURES + ACTIONS]
                w, b = layers["fc1"]
                x = np.maximum(w @ x + b, 0) * neurons["fc1"][i]
                (wi, bi), (wh, bh) = layers["gru_input"], layers["gru_hidden"]
                gi, gh = np.split(wi @ x + bi, 3), np.split(wh @ hidden + bh, 3)
                r, z = (1 / (1 + np.exp(-(gi[k] + gh[k]))) for k in range(2))
                n = np.tanh(gi[2] + r * gh[2])
                hidden = ((1 - z) * n + z * hidden) * neurons["gru"][i]
                w, b = layers["fc2"]
                q[t, e, i] = w @ hidden + b
    return q


@pytest.mark.parametrize("sharing", ["snp", "snp+id", "snp-nps"])
def test_sequence_and_steps_are_those_of_each_agents_own_subnetwork(sharing):
    agent = agent_of(sharing, prune_ratio=(0.2, 0.4))
    observation, last_action = episodes()
    expected = by_loops(agent, np.asarray(observation), np.asarray(last_action))
    np.testing.assert_allclose(agent.sequence(observation, last_action), expected, atol=1e-5)
    hidden = agent.initial_hidden(2, AGENTS)
    for t in range(len(observation)):
        q, hidden = agent.step(observation[t], last_action[t], hidden)
        np.testing.assert_allclose(q, expected[t], atol=1e-5)
    kept = np.asarray(agent.parts.neurons["gru"])
    assert not np.asarray(hidden)[:, ~kept].any()
    assert (np.asarray(hidden)[:, kept] != 0).all()


def test_the_gradient_is_that_of_plain_autodiff():
    agent = agent_of("snp+id", prune_ratio=(0.2, 0.4))
    observation, last_action = episodes(1)
    factor = jnp.asarray(np.random.default_rng(2).normal(size=(4, 2, AGENTS, ACTIONS)), jnp.float32)

    def by_sequence(layers):
        return (rebuilt(agent, layers).sequence(observation, last_action) * factor).sum()

    def by_steps(layers):
        network, hidden = rebuilt(agent, layers), agent.initial_hidden(2, AGENTS)
        total = 0.0
        for t in range(4):
            q, hidden = network.step(observation[t], last_action[t], hidden)
            total += (q * factor[t]).sum()
        return total

    layers = (agent.fc1, agent.gru_input, agent.gru_hidden, agent.fc2)
    ours, plain = jax.grad(by_sequence)(layers), jax.grad(by_steps)(layers)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def rebuilt(agent, layers):
    return type(agent)(*layers, agent.features, agent.actions, agent.parts)


def test_counts_of_the_paper():
    config = Config(environment="own:Game", method="dense", sharing="snp")
    agent = Learner(config, sizes_of(config, TEAM)).dense_params(jax.random.key(0)).agent
    assert (64 - np.asarray(agent.parts.neurons["fc1"]).sum(1)).tolist() == [0] * AGENTS
    assert (64 - np.asarray(agent.parts.neurons["gru"]).sum(1)).tolist() == [6] * AGENTS


def test_clusters_and_random_weights_are_networks_of_each_agents_own():
    observation, last_action = episodes()
    seps = agent_of("seps", seps_clusters=2)
    assert isinstance(seps, IndependentAgents)
    assert seps.fc1.weight.shape[0] == 2
    np.testing.assert_array_equal(seps.parts.network_of, [0, 0, 0])
    seps = assigned(seps, jnp.array([0, 1, 0], jnp.int32))
    usnp = agent_of("usnp", prune_ratio=(0.5, 0.5))
    assert isinstance(usnp, PrunedWeights)
    for agent in (seps, usnp):
        each = agent.of_each()
        for i in range(AGENTS):
            alone = each.network_of(i).sequence(
                observation[:, :, i : i + 1], last_action[:, :, i : i + 1]
            )
            whole = agent.sequence(observation, last_action)
            np.testing.assert_allclose(whole[:, :, i : i + 1], alone, atol=1e-5)


def test_ratios_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match=r"prune_ratio = 0-0\.1-0\.1: must be 2 numbers"):
        agent_of("snp", prune_ratio=(0.0, 0.1, 0.1))
    settings = {"environment": "own:Game", "algorithm": "maa2c", "sharing": "snp"}
    with pytest.raises(UserError, match=r"^critic_prune_ratio = 0\.9 of layers\.2: none of its 4"):
        account_of(Config(**settings, hidden_size=4), TEAM)
    with pytest.raises(ValueError, match=r"prune_ratio = 0-0\.1: needs sharing = snp"):
        Config(environment="own:Game", prune_ratio=(0.0, 0.1))
    with pytest.raises(ValueError, match="each must be at least 0 and below 1"):
        Config(environment="own:Game", sharing="snp", prune_ratio=(0.0, 1.0))
    assert Config(environment="own:Game", sharing="snp", prune_ratio="0-0.25").prune_ratio == (
        0.0,
        0.25,
    )
    assert Config(environment="own:Game", sharing="fups+id").sharing == "shared"


def test_sharing_and_sparsity_are_counted_together():
    dense = account_of(Config(environment="own:Game", method="dense", sharing="snp"), TEAM)
    sparse = account_of(
        Config(environment="own:Game", method="mast", sparsity=0.9, sharing="snp"), TEAM
    )
    agent, sparse_agent = dense.networks[0], sparse.networks[0]
    # 58 of 64 units of the GRU are left to each agent.
    shares = {"fc1": 1.0, "gru_input": 58 / 64, "gru_hidden": (58 / 64) ** 2, "fc2": 58 / 64}
    for layer, thin in zip(agent.layers, sparse_agent.layers, strict=True):
        flops = layer.costs.flops_inference
        assert flops.sparse / flops.dense == pytest.approx(shares[layer.layer])
        ratio = thin.costs.flops_inference.sparse / flops.dense
        assert ratio == pytest.approx(shares[layer.layer] * thin.density)


def test_users_of_a_recurrent_agents_weights():
    """Who has the neurons at both ends of a weight, gate by gate."""
    agent = agent_of("snp", prune_ratio=(0.2, 0.4))
    sizes = Sizes(FEATURES, 6, ACTIONS, AGENTS, 10, agent_id=False, lacks=Lacks((0.2, 0.4)))
    network = recurrent_agent_spec(sizes)
    first, state = (np.asarray(agent.parts.neurons[name]) for name in ("fc1", "gru"))
    ends = {"gru_input": (state, first), "gru_hidden": (state, state)}
    for layer in network.layers:
        users = users_of(network, layer, agent.parts)
        if layer.name in ends:
            rows, columns = ends[layer.name]
            for row in range(30):
                for column in range(10):
                    have = sum(rows[i][row % 10] and columns[i][column] for i in range(AGENTS))
                    assert users.weight[row, column] == have
                assert users.bias[row] == rows[:, row % 10].sum()
    fc1, fc2 = (users_of(network, network.layers[place], agent.parts) for place in (0, 3))
    np.testing.assert_array_equal(fc1.weight, np.repeat(first.sum(0)[:, None], 9, 1))
    np.testing.assert_array_equal(fc2.weight, np.repeat(state.sum(0)[None], ACTIONS, 0))
    np.testing.assert_array_equal(fc2.bias, [AGENTS] * ACTIONS)


def test_subnetworks_go_by_the_type_that_an_observation_names():
    """Drawn for each type; an agent has those of its type, and none once it names none."""
    types = (1, 4)
    config = Config(
        environment="own:Game", method="dense", hidden_size=10, sharing="snp", prune_ratio="0.2-0.4"
    )
    sizes = sizes_of(config, TypedTeam(types))
    network = algorithm_entry("qmix").networks(sizes)["agent"]
    assert network.kernel is None
    agent = Learner(config, sizes).dense_params(jax.random.key(0)).agent
    assert {len(each) for each in agent.parts.neurons.values()} == {len(types)}
    observation, last_action = episodes(3)
    codes = np.zeros((4, 2, AGENTS, 2), np.float32)
    kind = np.array([[0, 1, 1], [1, 0, 1]])
    for e in range(2):
        for i in range(AGENTS):
            codes[:, e, i, kind[e, i]] = 1
    codes[2:, 0, 1] = 0  # that agent plays no more
    observation = observation.at[..., jnp.asarray(types)].set(codes)
    found = agent.sequence(observation, last_action)
    for e in range(2):
        neurons = {
            name: jnp.asarray([each[kind[e, i]] for i in range(AGENTS)])
            for name, each in agent.parts.neurons.items()
        }
        by_place = dataclasses.replace(agent, parts=Parts(neurons=neurons))
        expected = by_loops(by_place, np.asarray(observation), np.asarray(last_action))
        if e == 0:
            expected[2:, 0, 1] = np.asarray(agent.fc2.bias)
        np.testing.assert_allclose(found[:, e], expected[:, e], atol=1e-5)
    hidden = agent.initial_hidden(2, AGENTS)
    for t in range(4):
        q, hidden = agent.step(observation[t], last_action[t], hidden)
        np.testing.assert_allclose(q, found[t], atol=1e-5)
    assert not np.asarray(hidden)[0, 1].any()
    # The gradient of the sequence's own backward pass is that of the steps.
    factor = jnp.asarray(np.random.default_rng(5).normal(size=found.shape), jnp.float32)

    def by_sequence(layers):
        return (rebuilt(agent, layers).sequence(observation, last_action) * factor).sum()

    def by_steps(layers):
        network, hidden, total = rebuilt(agent, layers), agent.initial_hidden(2, AGENTS), 0.0
        for t in range(4):
            q, hidden = network.step(observation[t], last_action[t], hidden)
            total += (q * factor[t]).sum()
        return total

    layers = (agent.fc1, agent.gru_input, agent.gru_hidden, agent.fc2)
    ours, plain = jax.grad(by_sequence)(layers), jax.grad(by_steps)(layers)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@dataclasses.dataclass(frozen=True)
class TypedTeam:
    """Sizes of a team whose types episodes draw."""

    type_features: tuple[int, ...]
    observation: int = FEATURES
    state: int = 6
    actions: int = ACTIONS
    agents: int = AGENTS


def spec_of_team() -> EnvironmentSpec:
    return EnvironmentSpec.of_team(
        [AgentSpec(f"agent {i}", FEATURES, ACTIONS) for i in range(AGENTS)],
        id="own:Game",
        state=6,
        episode_limit=5,
        has_win=False,
        is_jax=True,
        identity="a game",
    )


def test_a_policy_keeps_by_which_features_its_neurons_go(tmp_path):
    config = Config(environment="own:Game", method="dense", hidden_size=10, sharing="snp")
    sizes = sizes_of(config, TypedTeam((1, 4)))
    agent = Learner(config, sizes).dense_params(jax.random.key(0)).agent
    save_policy(tmp_path / "policy.safetensors", agent, {}, spec_of_team(), {})
    policy = Policy.load(tmp_path / "policy.safetensors")
    assert policy.agent.parts.types == (1, 4)
    for mine, kept in zip(jax.tree.leaves(policy.agent), jax.tree.leaves(agent), strict=True):
        np.testing.assert_array_equal(mine, kept)
    for refused in (networks_of, lambda policy: one_agent(policy, 1)):
        with pytest.raises(UserError, match="goes by the type that an episode draws"):
            refused(policy)


@pytest.mark.parametrize("sharing", ["shared", "fups", "snp", "snp+id", "snp-nps"])
def test_what_an_agent_uses_is_what_its_export_has(tmp_path, sharing):
    lacks = {"prune_ratio": "0.2-0.4"} if "snp" in sharing else {}
    config = Config(
        environment="own:Game", method="dense", hidden_size=10, sharing=sharing, **lacks
    )
    agent = Learner(config, sizes_of(config, TEAM)).dense_params(jax.random.key(0)).agent
    save_policy(tmp_path / "policy.safetensors", agent, {}, spec_of_team(), {})
    alone = one_agent(Policy.load(tmp_path / "policy.safetensors"), 1)
    assert parameters_of_an_agent(config, TEAM) == pytest.approx(alone.facts["parameters"][1])


def test_random_weights_of_a_recurrent_agent_are_missing_in_the_same_number():
    agent = agent_of("usnp", prune_ratio=(0.2, 0.5))
    missing = {name: (~np.asarray(each)).sum((1, 2)) for name, each in agent.parts.weights.items()}
    # fc1 [10, 9] at 0.2, both matrices of the GRU [30, 10] at 0.5; the head is whole.
    expected = {"fc1": [18] * 3, "gru_input": [150] * 3, "gru_hidden": [150] * 3}
    assert {name: counts.tolist() for name, counts in missing.items()} == expected
    assert len({np.asarray(each).tobytes() for each in agent.parts.weights["gru_input"]}) == 3


def test_a_neuron_that_no_agent_has_gets_no_gradient_in_any_gate():
    agent = agent_of("snp-nps", prune_ratio=(0.4, 0.4))
    first, state = (~np.asarray(agent.parts.neurons[name][0]) for name in ("fc1", "gru"))
    assert first.sum() == state.sum() == 4
    observation, last_action = episodes()
    layers = (agent.fc1, agent.gru_input, agent.gru_hidden, agent.fc2)

    def loss(layers):
        return jnp.square(rebuilt(agent, layers).sequence(observation, last_action)).sum()

    fc1, gru_input, gru_hidden, fc2 = jax.grad(loss)(layers)
    gates = np.tile(state, 3)
    for row_weights in (fc1.weight[first], fc1.bias[first], gru_input.weight[gates]):
        assert not np.asarray(row_weights).any()
    for column_weights in (
        gru_input.weight[:, first],
        gru_hidden.weight[:, state],
        fc2.weight[:, state],
    ):
        assert not np.asarray(column_weights).any()
    assert not np.asarray(gru_hidden.weight[gates]).any()
    assert not np.asarray(gru_input.bias[gates]).any()
    for kept in (fc1.weight[~first], gru_hidden.weight[~gates][:, ~state], fc2.weight[:, ~state]):
        assert (np.abs(np.asarray(kept)).max(1) > 0).all()
