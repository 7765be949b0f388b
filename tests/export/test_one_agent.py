"""Agents that share a network in part, actors, and one agent alone: the same decisions in every form."""

import json
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from teams import SPEC, make_run, policy_of

from mast.errors import UserError
from mast.export.compact import compact_run, compacted
from mast.export.contract import exported_config
from mast.export.folder import export_run
from mast.export.load import load_exported
from mast.export.network import networks_of, small_networks_of
from mast.export.one_agent import index_of, one_agent
from mast.policy import Policy

KINDS = [
    ("snp", False),
    ("snp+id", False),
    ("snp", True),
    ("snp+id", True),
    ("shared", True),
    ("independent", True),
]


def along(policy: Policy, seen: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The values of [time, agents, features], with the actions that were taken before."""
    memory, values = policy.initial_memory(), []
    last = np.asarray(memory.last_action)
    hidden = memory.hidden
    for now, taken in zip(seen, actions, strict=True):
        q, hidden = policy.agent.step(jnp.asarray(now), jnp.asarray(last), hidden)
        values.append(np.asarray(q))
        last = taken
    return np.stack(values)


def by_arrays(policy: Policy, seen: np.ndarray, actions: np.ndarray, small: bool) -> np.ndarray:
    networks = (small_networks_of if small else networks_of)(policy)
    values = np.zeros((*actions.shape, policy.description["actions"]))
    for agent in range(actions.shape[1]):
        network = networks[agent % len(networks)]
        hidden, last = np.zeros(network.hidden), -1
        for time, now in enumerate(seen[:, agent]):
            values[time, agent], hidden = network.step(now, last, agent, hidden)
            last = int(actions[time, agent])
    return values


@pytest.mark.parametrize(("sharing", "actor"), KINDS)
def test_one_agent_alone_is_the_same_function_of_fewer_neurons(
    tmp_path: Path, sharing: str, actor: bool
) -> None:
    team = policy_of(make_run(tmp_path, sharing=sharing, actor=actor, density=0.5))
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(5, 2, SPEC.observation)).astype("f4")
    actions = rng.integers(SPEC.actions, size=(5, 2))
    values = along(team, seen, actions)
    for small in (False, True):
        np.testing.assert_allclose(by_arrays(team, seen, actions, small), values, atol=2e-5)
    for agent in range(2):
        alone = one_agent(team, agent)
        alone.write(tmp_path / "one.safetensors")
        policy = Policy.load(tmp_path / "one.safetensors")
        own = slice(agent, agent + 1)
        np.testing.assert_allclose(
            along(policy, seen[:, own], actions[:, own]), values[:, own], atol=2e-5
        )
        before, left = alone.facts["parameters"]
        assert left < before
        parts = team.agent.parts
        if parts is None:
            continue
        for name, has in parts.neurons.items():
            assert alone.kept[name] == np.flatnonzero(has[agent]).tolist()
        if not actor:  # rows and columns of all three gates are gone
            assert policy.agent.gru_hidden.weight.shape == (3 * 12, 12)
            assert policy.agent.fc2.weight.shape == (SPEC.actions, 12)


def test_an_agent_without_any_neuron_is_its_biases(tmp_path: Path) -> None:
    run = make_run(tmp_path, sharing="snp", actor=True, hidden=4, density=1)
    team = policy_of(run)
    assert team.agent.parts is not None
    assert team.agent.parts.neurons is not None
    nothing = {name: has & False for name, has in team.agent.parts.neurons.items()}
    bare = Policy(
        eqx.tree_at(lambda agent: agent.parts.neurons, team.agent, nothing),
        team.masks,
        team.description,
    )
    alone = one_agent(bare, 1)
    seen = np.ones((1, 1, SPEC.observation), "f4")
    bias = team.agent.layers[-1].bias[None, None]
    np.testing.assert_array_equal(along(alone.policy, seen, np.zeros((1, 1), int)), bias)
    assert small_networks_of(bare)[0].widths() == {"layers.0": 0, "layers.1": 0}


@pytest.mark.parametrize(("sharing", "actor"), KINDS)
def test_every_form_agrees_with_the_policy(tmp_path: Path, sharing: str, actor: bool) -> None:
    run = make_run(tmp_path / "run", sharing=sharing, actor=actor, density=0.4)
    pytest.importorskip("onnxruntime")
    for kind in ("c", "onnx", "safetensors"):
        for agent in (None, 1):
            out = tmp_path / f"{kind}-{agent}"
            contract = export_run(run, kind, out, episodes=1, agent=agent)
            assert contract["check"]["largest_difference"] < 1e-4
            assert contract["check"]["largest_hidden_difference"] < 1e-4
            assert contract["values"] == ("logits" if actor else "action values")
    export_run(run, "c", tmp_path / "int8", episodes=1, agent=0, quantize="int8")


@pytest.mark.parametrize("storage", ["unrolled", "blocked", "dense"])
@pytest.mark.parametrize("actor", [False, True])
def test_agents_that_lack_neurons_in_every_storage(
    tmp_path: Path, storage: str, actor: bool
) -> None:
    run = make_run(tmp_path / "run", sharing="snp+id", actor=actor, density=0.4)
    contract = export_run(run, "c", tmp_path / "c", episodes=1, storage=storage)
    assert contract["check"]["largest_difference"] < 1e-4
    assert contract["c"]["measured"]["warnings"] == 0


def test_the_contract_says_which_agent_and_how_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", sharing="snp+id", actor=True, density=1)
    export_run(run, "c", tmp_path / "out", episodes=1, agent="hunter_1")
    contract = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert [(each["id"], each["name"]) for each in contract["agents"]] == [(0, "hunter_1")]
    first, second = 8 * 16 + 16, 16 * 16 + 16
    assert contract["agent"] == {
        "index": 1,
        "name": "hunter_1",
        "of": 2,
        "neurons": {"layers.0": [16, 12], "layers.1": [16, 12]},
        "parameters": [first + second + 16 * 5 + 5, 6 * 12 + 12 + 12 * 12 + 12 + 12 * 5 + 5],
    }
    assert contract["input"] == "observation"
    team = export_run(run, "c", tmp_path / "team", episodes=1)
    assert contract["c"]["constant_bytes"] < team["c"]["constant_bytes"]
    with pytest.raises(UserError, match="one agent alone, hunter_1 of a team of 2"):
        exported_config(tmp_path / "out")
    agent = load_exported(tmp_path / "team")[0]
    assert agent.stochastic  # type: ignore[attr-defined]
    assert agent.hidden_size == 0


def test_the_hidden_units_of_one_agent_are_those_of_the_team(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", sharing="snp", density=1)
    contract = export_run(run, "c", tmp_path / "out", episodes=1, agent=0)
    neurons = policy_of(run).agent.parts.neurons  # type: ignore[union-attr]
    units = np.array(contract["c"]["hidden_units"][0])
    np.testing.assert_array_equal(units[units >= 0], np.flatnonzero(neurons["gru"][0]))


@pytest.mark.parametrize("agent", ["2", "-1", "hunter_2", "", "1.0", "²"])
def test_no_such_agent(agent: str) -> None:
    with pytest.raises(UserError, match=r"must be an index from 0 to 1 or one of hunter_0, hun"):
        index_of(agent, ["hunter_0", "hunter_1"])


@pytest.mark.parametrize(("sharing", "actor"), [*KINDS[:4], ("independent", True)])
def test_compact_actors_and_parts(tmp_path: Path, sharing: str, actor: bool) -> None:
    run = make_run(tmp_path / "run", sharing=sharing, actor=actor, density=0.06, seed=3)
    report = compact_run(run, tmp_path / "out", episodes=1)
    assert report["check"]["largest_difference"] < 1e-4
    assert report["total"]["after"]["weights"] < report["total"]["before"]["weights"]
    assert not (actor and any("last action" in name for name in report["unread"]))
    again = Policy.load(tmp_path / "out")
    assert compacted(again).inputs == again.description["inputs"]
