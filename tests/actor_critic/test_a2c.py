"""MAA2C against plain float64 loops: returns, loss, gradient, five steps of Adam; and whose neurons learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import ACTIONS, AGENTS, ENVS, FEATURES, TIME, trajectory_of

from golden import a2c_by_definition as golden
from mast.algorithms.actor_critic.policy import bootstrapped_returns
from mast.config import Config
from mast.execution.account import account_of, sizes_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.learning.trajectory import Trajectory
from mast.networks.sharing import assigned
from mast.networks.spec import Sizes

SHARINGS = ("shared", "fups", "snp", "snp+id", "snp-nps", "usnp", "seps", "independent")


def config_of(sharing: str, **settings) -> Config:
    return Config(
        environment="own:Game",
        algorithm="maa2c",
        sharing=sharing,
        hidden_size=6,
        seps_clusters=2,
        discount=0.9,
        **settings,
    )


def learner_of(config: Config) -> Learner:
    team = Sizes(FEATURES, 2, ACTIONS, AGENTS)
    return Learner(config, sizes_of(config, team))


@pytest.mark.parametrize("rewards", [1, AGENTS])
def test_returns_end_at_a_terminal_step_and_bootstrap_at_a_cut_and_at_the_last(rewards):
    trajectory = trajectory_of(0, rewards)
    next_value = np.random.default_rng(1).normal(size=(TIME, ENVS, AGENTS)).astype(np.float32)
    found = jax.jit(bootstrapped_returns)(trajectory, next_value, jnp.float32(0.9))
    expected = golden.returns_by_loops(
        trajectory.reward.astype(np.float64),
        next_value.astype(np.float64),
        trajectory.terminated,
        trajectory.ended,
        0.9,
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The original multiplies the reward by (1 − done) and bootstraps from the next episode: by hand, not so.
    np.testing.assert_allclose(found[1, 0], np.broadcast_to(trajectory.reward[1, 0], AGENTS))


def as_golden(params, config):
    """The networks as plain float64 arrays, and which neurons each agent has."""
    networks, kept = {}, {}
    for name in ("agent", "critic"):
        network = getattr(params, name)
        networks[name] = (
            [np.array(layer.weight, np.float64) for layer in network.layers],
            [np.array(layer.bias, np.float64) for layer in network.layers],
        )
        neurons = None if network.parts is None else network.parts.neurons
        kept[name] = [
            [
                np.ones(config.hidden_size)
                if neurons is None
                else np.array(neurons[f"layers.{layer}"][agent], np.float64)
                for layer in range(config.hidden_layers)
            ]
            for agent in range(AGENTS)
        ]
    return networks, kept


def batch_of(trajectory: Trajectory, with_id: bool) -> dict:
    batch = {
        name: np.asarray(value, np.float64 if np.asarray(value).dtype == np.float32 else None)
        for name, value in trajectory._asdict().items()
        if name != "behaviour"
    }
    if with_id:
        code = np.broadcast_to(np.eye(AGENTS), (TIME, ENVS, AGENTS, AGENTS))
        for name in ("observation", "next_observation"):
            batch[name] = np.concatenate([batch[name], code], -1)
    return batch


@pytest.mark.parametrize("sharing", ["shared", "fups", "snp", "snp+id", "snp-nps"])
def test_loss_gradient_and_five_steps_are_those_of_the_definition(sharing):
    ratios = {"prune_ratio": (0.2, 0.4, 0.2), "critic_prune_ratio": (0.0, 0.2, 0.8)}
    config = config_of(sharing, **(ratios if sharing.startswith("snp") else {}))
    learner = learner_of(config)
    method = method_from_config(config)
    algorithm = learner.entry.algorithm
    state = learner.init(jax.random.key(3))
    networks, kept = as_golden(state.params, config)
    flat = [array for parts in networks.values() for group in parts for array in group]
    moments = [(np.zeros_like(array), np.zeros_like(array)) for array in flat]

    @jax.jit
    def update(state, trajectory):
        _, batch = algorithm.targets(state.params, trajectory, method)
        return learner.update(state, batch, method, jnp.float32(0))

    for step in range(1, 6):
        trajectory = trajectory_of(step)
        state, metrics, gradient = update(state, trajectory)
        loss, expected = golden.loss_and_gradient(
            networks, kept, batch_of(trajectory, sharing in ("shared", "snp+id")), discount=0.9
        )
        assert float(metrics.loss) == pytest.approx(loss, abs=2e-5)
        gradients = [array for parts in expected.values() for group in parts for array in group]
        found = [
            np.asarray(part)
            for name in ("agent", "critic")
            for part in (
                *(layer.weight for layer in getattr(gradient, name).layers),
                *(layer.bias for layer in getattr(gradient, name).layers),
            )
        ]
        for ours, theirs in zip(found, gradients, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        golden.clipped_adam(flat, gradients, moments, step)
    after, _ = as_golden(state.params, config)
    for ours, theirs in zip(
        (a for parts in after.values() for group in parts for a in group), flat, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_equal_observations_differ_only_where_agents_differ(sharing):
    agent = learner_of(config_of(sharing)).dense_params(jax.random.key(0)).agent
    same = jnp.broadcast_to(jnp.arange(1.0, FEATURES + 1), (AGENTS, FEATURES))
    logits = np.asarray(agent(same))
    pairs = [np.array_equal(logits[0], logits[other]) for other in range(1, AGENTS)]
    alike = {"fups": [True, True], "snp-nps": [True, True], "seps": [True, True]}
    assert pairs == alike.get(sharing, [False, False])


def test_masks_have_exact_counts_and_are_drawn_for_each_agent():
    config = Config(environment="own:Game", algorithm="maa2c", sharing="snp")
    team = Sizes(36, 2, 6, 6)
    params = Learner(config, sizes_of(config, team)).dense_params(jax.random.key(1))
    actor, critic = params.agent.parts.neurons, params.critic.parts.neurons
    lacking = {name: 128 - np.asarray(kept).sum(1) for name, kept in actor.items()}
    np.testing.assert_array_equal(lacking["layers.0"], [0] * 6)
    np.testing.assert_array_equal(lacking["layers.1"], [13] * 6)
    np.testing.assert_array_equal(lacking["layers.2"], [13] * 6)
    np.testing.assert_array_equal(128 - np.asarray(critic["layers.2"]).sum(1), [115] * 6)
    assert len({kept.tobytes() for kept in np.asarray(actor["layers.1"])}) == 6
    assert len({np.asarray(actor[name]).tobytes() for name in ("layers.1", "layers.2")}) == 2


def test_a_neuron_that_no_agent_has_gets_no_gradient():
    config = config_of("snp-nps", prune_ratio=(0.0, 0.5, 0.5))
    learner = learner_of(config)
    state, method = learner.init(jax.random.key(2)), method_from_config(config)
    trajectory = jax.tree.map(jnp.asarray, trajectory_of(2))
    _, batch = learner.entry.algorithm.targets(state.params, trajectory, method)
    _, gradient = learner.gradient(state, batch, method, jnp.float32(0))
    missing = ~np.asarray(state.params.agent.parts.neurons["layers.1"][0])
    assert missing.sum() == 3
    assert not np.asarray(gradient.agent.layers[1].weight)[missing].any()
    assert not np.asarray(gradient.agent.layers[1].bias)[missing].any()
    assert not np.asarray(gradient.agent.layers[2].weight)[:, missing].any()
    assert np.asarray(gradient.agent.layers[1].weight)[~missing].any()


def test_random_weights_are_missing_in_the_same_number_from_each_agent():
    agent = (
        learner_of(config_of("usnp", prune_ratio=(0.0, 0.5, 0.25)))
        .dense_params(jax.random.key(0))
        .agent
    )
    weights = agent.parts.weights
    assert list(weights) == ["layers.0", "layers.1", "layers.2"]  # the head stays whole
    assert [int((~m).sum()) for m in np.asarray(weights["layers.1"])] == [18] * AGENTS
    assert [int((~m).sum()) for m in np.asarray(weights["layers.2"])] == [9] * AGENTS


@pytest.mark.parametrize(
    ("sharing", "parameters"),
    [("fups", 76_423), ("shared", 77_959), ("seps", 229_269), ("snp", 76_423)],
)
def test_table_2_parameters(sharing, parameters):
    config = Config(environment="own:Game", algorithm="maa2c", sharing=sharing)
    assert account_of(config, Sizes(36, 36, 6, 6)).parameters == parameters


def test_flops_count_the_neurons_that_are_used():
    config = Config(environment="own:Game", algorithm="maa2c", sharing="snp")
    actor = account_of(config, Sizes(36, 36, 6, 6)).networks[0]
    # 36·128, 128·115, 115·115, 115·6 weights; an output adds up k products: (2k − 1)/k FLOPs for each.
    dense = {36: 36 * 128, 128: 128 * 115}
    by_hand = sum((2 * k - 1) / k * weights for k, weights in dense.items())
    by_hand += (2 * 128 - 1) / 128 * (115 * 115 + 115 * 6)
    assert actor.costs.flops_inference.sparse == pytest.approx(6 * by_hand)


@pytest.mark.parametrize("sharing", ["fups", "snp+id", "usnp", "seps", "independent"])
def test_the_mean_of_the_agents_gradients_is_their_sum_over_those_that_use_a_weight(sharing):
    ratios = {"prune_ratio": (0.2, 0.4, 0.2), "critic_prune_ratio": (0.0, 0.2, 0.8)}
    given = ratios if "snp" in sharing else {}
    learners = [
        learner_of(config_of(sharing, agent_gradient=way, **given)) for way in ("sum", "mean")
    ]
    method = method_from_config(learners[0].config)
    state = learners[0].init(jax.random.key(4))
    if sharing == "seps":
        shared = jnp.asarray([0, 1, 1])
        state = state._replace(params=assigned(state.params, shared))
    trajectory = jax.tree.map(jnp.asarray, trajectory_of(4))
    _, batch = learners[0].entry.algorithm.targets(state.params, trajectory, method)
    added, mean = (
        learner.gradient(state, batch, method, jnp.float32(0))[1] for learner in learners
    )
    for name in ("agent", "critic"):
        parts = getattr(state.params, name).parts
        for index, layer in enumerate(getattr(added, name).layers):
            found = getattr(mean, name).layers[index]
            users = users_by_loops(sharing, parts, index, np.shape(layer.weight))
            expected = np.asarray(layer.weight, np.float64) / np.maximum(users["weight"], 1)
            np.testing.assert_allclose(found.weight, expected, rtol=1e-6)
            expected = np.asarray(layer.bias, np.float64) / np.maximum(users["bias"], 1)
            np.testing.assert_allclose(found.bias, expected, rtol=1e-6)


def users_by_loops(sharing, parts, index, shape):
    """How many of the agents use each weight and each bias, one by one."""
    users = {"weight": np.zeros(shape), "bias": np.zeros(shape[:-1])}
    for agent in range(AGENTS):
        copy = {"independent": (agent,), "seps": (int(agent > 0),)}.get(sharing, ())
        for row in range(shape[-2]):
            has_row = has_neuron(parts, index, agent, row)
            users["bias"][(*copy, row)] += has_row
            for column in range(shape[-1]):
                uses = has_row and has_neuron(parts, index - 1, agent, column)
                if sharing == "usnp" and f"layers.{index}" in parts.weights:
                    uses = bool(parts.weights[f"layers.{index}"][agent, row, column])
                users["weight"][(*copy, row, column)] += uses
    return users


def has_neuron(parts, layer, agent, neuron):
    """Whether an agent has a hidden neuron; inputs and outputs it has all."""
    name = f"layers.{layer}"
    if parts is None or parts.neurons is None or name not in parts.neurons:
        return True
    return bool(parts.neurons[name][agent, neuron])
