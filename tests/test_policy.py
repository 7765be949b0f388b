"""The policy file: what is saved is what acts, and what is no policy is refused in one line."""

import inspect
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

from fresh_networks import independent_agents, recurrent_agent
from golden import networks_by_definition as golden
from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.networks.agent import RecurrentAgent
from mast.policy import (
    COMPACT_FORMAT,
    FORMAT,
    LAYERS,
    Memory,
    Policy,
    check_fit,
    save_policy,
)
from mast.policy_file import CHECKSUM, LARGEST_SIZE
from mast.sparsity.masks import Masks, apply_masks

FEATURES, ACTIONS, AGENTS, HIDDEN = 5, 4, 2, 6
SPEC = EnvironmentSpec(
    id="toy/pair",
    agents=AGENTS,
    actions=ACTIONS,
    observation=FEATURES,
    state=7,
    episode_limit=10,
    has_win=False,
    is_jax=True,
    agent_names=("left", "right"),
    unit_types=("", ""),
    reward_scale=1.0,
    identity="toy pair, limit 10",
    max_return=None,
)
ABOUT = {"method": "mast", "algorithm": "qmix", "sparsity": 0.5, "seed": 3, "env_steps": 1000}


@pytest.fixture(scope="module")
def trained() -> tuple[RecurrentAgent, Masks]:
    """A half-empty agent; its last layer has no mask."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
        lambda key: recurrent_agent(key, FEATURES, ACTIONS, AGENTS, HIDDEN), jax.random.key(0)
    )
    agent = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    masks = {
        f"agent.{name}.weight": jnp.asarray(rng.random(getattr(agent, name).weight.shape) < 0.5)
        for name in LAYERS[:3]
    }
    return apply_masks({"agent": agent}, masks)["agent"], masks


@pytest.fixture
def path(tmp_path: Path, trained: tuple[RecurrentAgent, Masks]) -> Path:
    file = tmp_path / "policy.safetensors"
    save_policy(file, *trained, SPEC, ABOUT)
    return file


def metadata_of(file: Path) -> dict[str, str]:
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header["__metadata__"]


def rewrite(file: Path, change: Any) -> None:
    """The file with `change(tensors, description)` applied to its parts."""
    tensors = {name: tensor.copy() for name, tensor in load(file.read_bytes()).items()}
    description = json.loads(metadata_of(file)["mast"])
    change(tensors, description)
    file.write_bytes(save(tensors, metadata={"mast": json.dumps(description)}))


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        Policy.load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    return message


# --- saving and loading ---


def test_what_is_loaded_is_what_was_saved(
    path: Path, trained: tuple[RecurrentAgent, Masks]
) -> None:
    agent, masks = trained
    policy = Policy.load(path)
    assert str(jax.tree.structure(policy.agent)) == str(jax.tree.structure(agent))
    for ours, theirs in zip(jax.tree.leaves(policy.agent), jax.tree.leaves(agent), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    for name in LAYERS:
        expected = masks.get(f"agent.{name}.weight", np.ones((ACTIONS, HIDDEN), bool))
        np.testing.assert_array_equal(policy.masks[name], expected)
    active = sum(int(mask.sum()) for mask in masks.values()) + ACTIONS * HIDDEN
    size = sum(mask.size for mask in masks.values()) + ACTIONS * HIDDEN
    assert policy.density == pytest.approx(active / size)


def test_the_description_says_what_the_file_is(path: Path) -> None:
    description = Policy.load(path).description
    assert description == ABOUT | {
        "format": FORMAT,
        "sharing": "shared",
        "environment": "toy/pair",
        "identity": "toy pair, limit 10",
        "agents": AGENTS,
        "agent_names": ["left", "right"],
        "features": FEATURES,
        "actions": ACTIONS,
        "hidden_size": HIDDEN,
        "input": "observation, one-hot last action (zeros at the start), one-hot agent id",
    }


def test_a_run_folder_stands_for_its_policy(path: Path) -> None:
    assert Policy.load(path.parent).description == Policy.load(str(path)).description


def test_the_same_agent_gives_the_same_bytes(
    path: Path, trained: tuple[RecurrentAgent, Masks], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = path.parent / "elsewhere" / "other-name.safetensors"
    other.parent.mkdir()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    monkeypatch.setattr(time, "time_ns", lambda: int(4e18))
    agent, masks = trained
    reversed_masks = dict(reversed(masks.items()))
    save_policy(other, agent, reversed_masks, SPEC, dict(reversed(ABOUT.items())))
    assert other.read_bytes() == path.read_bytes()
    assert sorted(each.name for each in path.parent.iterdir()) == ["elsewhere", path.name]


def test_the_metadata_is_one_sorted_entry_without_a_path(path: Path) -> None:
    metadata = metadata_of(path)
    assert list(metadata) == ["mast"]
    description = json.loads(metadata["mast"])
    assert metadata["mast"] == json.dumps(description, sort_keys=True)
    assert len(description[CHECKSUM]) == 64
    assert str(path.parent).encode() not in path.read_bytes()


def test_saving_again_replaces_the_file(path: Path, trained: tuple[RecurrentAgent, Masks]) -> None:
    save_policy(path, *trained, SPEC, ABOUT | {"env_steps": 2000})
    assert Policy.load(path).description["env_steps"] == 2000


# --- acting ---


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_acts_greedily_among_the_available_and_remembers(
    path: Path, trained: tuple[RecurrentAgent, Masks], dtype: str
) -> None:
    """Along an episode, against the float64 agent that is fed the actions it took."""
    rng = np.random.default_rng(1)
    steps = 8
    observation = rng.normal(size=(steps, AGENTS, FEATURES)).astype(dtype)
    available = rng.random((steps, AGENTS, ACTIONS)) < 0.5
    available[..., 1] |= ~available.any(-1)
    policy, memory, taken = Policy.load(path), None, []
    for t in range(steps):
        action, memory = policy.act(observation[t], available[t], memory)
        assert isinstance(action, np.ndarray)
        assert action.shape == (AGENTS,)
        assert np.issubdtype(action.dtype, np.integer)
        taken.append(action)
    q = golden.agent_utilities(trained[0], observation.astype("f4"), np.array(taken[:-1]))
    np.testing.assert_array_equal(taken, np.where(available, q, -np.inf).argmax(-1))
    unrestricted = q.argmax(-1)
    assert (np.array(taken) != unrestricted).any(), "availability must matter here"


def test_memory_matters_and_starts_empty(path: Path) -> None:
    policy = Policy.load(path)
    rng = np.random.default_rng(2)
    everything = np.ones((AGENTS, ACTIONS), bool)
    first, other = rng.normal(size=(2, AGENTS, FEATURES)).astype("f4")
    fresh = policy.initial_memory()
    np.testing.assert_array_equal(fresh.hidden, 0)
    np.testing.assert_array_equal(fresh.last_action, -1)
    action, memory = policy.act(first, everything)
    same_action, same_memory = policy.act(first, everything, fresh)
    np.testing.assert_array_equal(action, same_action)
    np.testing.assert_array_equal(memory.hidden, same_memory.hidden)
    np.testing.assert_array_equal(memory.last_action, action)
    later = policy.act(other, everything, memory)[1]
    assert not np.allclose(later.hidden, policy.act(other, everything)[1].hidden)


# --- refusals ---


@pytest.mark.parametrize("name", ["fc1.weight", "gru_hidden.bias", "fc2.mask"])
def test_a_missing_tensor_is_named(path: Path, name: str) -> None:
    rewrite(path, lambda tensors, _: tensors.pop(name))
    assert f"tensor {name} is missing" in refusal(path)


def test_an_extra_tensor_is_named(path: Path) -> None:
    rewrite(path, lambda tensors, _: tensors.update(fc3=np.zeros((2, 2), "f4")))
    assert "tensor fc3" in refusal(path)


@pytest.mark.parametrize("name", ["fc1.weight", "gru_input.mask", "fc2.bias"])
def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(path: Path, name: str) -> None:
    shape = load(path.read_bytes())[name].shape
    rewrite(path, lambda tensors, _: tensors.update({name: tensors[name][:-1]}))
    message = refusal(path)
    assert f"tensor {name}" in message
    assert str((shape[0] - 1, *shape[1:])) in message
    assert str(shape) in message


@pytest.mark.parametrize(
    ("name", "dtype"), [("fc2.weight", "int32"), ("fc1.bias", "float64"), ("fc1.mask", "float32")]
)
def test_a_tensor_of_the_wrong_number_type_is_named(path: Path, name: str, dtype: str) -> None:
    rewrite(path, lambda tensors, _: tensors.update({name: tensors[name].astype(dtype)}))
    message = refusal(path)
    assert f"tensor {name}" in message
    assert dtype in message


def test_another_size_in_the_description_names_the_tensor_that_does_not_fit(path: Path) -> None:
    rewrite(path, lambda _, description: description.update(actions=ACTIONS + 1))
    assert "tensor fc" in refusal(path)


def test_a_newer_format_says_so(path: Path) -> None:
    rewrite(path, lambda _, description: description.update(format=COMPACT_FORMAT + 1))
    message = refusal(path)
    assert f"format {COMPACT_FORMAT + 1}" in message
    assert f"reads {FORMAT} and {COMPACT_FORMAT}" in message


def forget_checksum(description: dict[str, Any]) -> None:
    """As files were written before there was one."""
    del description[CHECKSUM]


def test_a_file_without_a_checksum_is_read(path: Path) -> None:
    before = Policy.load(path)
    rewrite(path, lambda _, description: forget_checksum(description))
    after = Policy.load(path)
    assert after.description == before.description
    np.testing.assert_array_equal(after.agent.fc1.weight, before.agent.fc1.weight)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _: np.negative(tensors["fc2.weight"], out=tensors["fc2.weight"]),
        lambda tensors, _: np.put(tensors["gru_input.bias"], 0, 3.0),
        lambda _, description: description.update(method="dense"),
        lambda _, description: description.update({CHECKSUM: "0" * 64}),
        lambda _, description: description.update({CHECKSUM: 7}),
    ],
)
def test_another_content_than_was_written_is_refused(path: Path, change: Any) -> None:
    rewrite(path, change)
    assert "checksum" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["gru_hidden.weight", "fc2.bias"])
def test_weights_that_are_no_numbers_are_refused(path: Path, name: str, value: float) -> None:
    def change(tensors: Any, description: Any) -> None:
        tensors[name].reshape(-1)[0] = value
        forget_checksum(description)

    rewrite(path, change)
    assert f"tensor {name} holds a NaN or an infinity" in refusal(path)


def test_a_mask_that_denies_a_weight_is_refused(path: Path) -> None:
    def change(tensors: Any, description: Any) -> None:
        tensors["fc1.mask"][tensors["fc1.weight"] != 0] = 0
        forget_checksum(description)

    rewrite(path, change)
    assert "tensor fc1.weight has a weight where fc1.mask has none" in refusal(path)


def test_a_mask_of_other_numbers_is_refused(path: Path) -> None:
    def change(tensors: Any, description: Any) -> None:
        tensors["fc1.mask"] *= 7
        forget_checksum(description)

    rewrite(path, change)
    assert "tensor fc1.mask holds 7, must hold 0 and 1" in refusal(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"agents": 0},
        {"features": -FEATURES},
        {"hidden_size": LARGEST_SIZE + 1},
        {"actions": 10**30},
        {"agents": True},
        {"features": 5.0},
        {"sharing": "between friends"},
        {"sharing": ["shared"]},
        {"format": [1]},
        {"format": COMPACT_FORMAT},
        {"format": COMPACT_FORMAT, "encoded_size": HIDDEN, "inputs": "all"},
        {"format": COMPACT_FORMAT, "encoded_size": HIDDEN, "inputs": [0, "1"]},
        {"format": COMPACT_FORMAT, "encoded_size": HIDDEN, "inputs": {"0": 1}},
        {"format": COMPACT_FORMAT, "encoded_size": 2**20, "features": 2**20, "inputs": [0]},
    ],
    ids=str,
)
def test_a_description_of_no_policy_is_refused(path: Path, wrong: dict[str, Any]) -> None:
    def change(_: Any, description: Any) -> None:
        description.update(wrong)
        forget_checksum(description)

    rewrite(path, change)
    refusal(path)


def test_sizes_that_add_up_to_the_same_do_not_fit_the_environment(path: Path) -> None:
    """An action more and a feature less: every matrix but the last has the shape that it had."""
    policy = Policy.load(path)
    check_fit(path, policy.description, SPEC)
    swapped = policy.description | {"features": FEATURES - 1, "actions": ACTIONS + 1}
    with pytest.raises(UserError, match="agents, features, actions are"):
        check_fit(path, swapped, SPEC)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_no_number_is_refused(path: Path, value: float) -> None:
    observation = np.zeros((AGENTS, FEATURES), "f4")
    observation[1, 3] = value
    with pytest.raises(UserError, match="observation: that of agent 1 holds a NaN or an infinity"):
        Policy.load(path).act(observation, np.ones((AGENTS, ACTIONS), bool))


def act_after(policy: Policy, observation: Any, available: Any, memory: Any) -> None:
    """`act` without the suite's own check of types, which users do not have."""
    inspect.unwrap(Policy.act)(policy, observation, available, memory)


@pytest.mark.parametrize(
    ("memory", "told"),
    [
        (np.zeros((AGENTS, HIDDEN)), "hidden is a ndarray, must be what the last call returned"),
        ((np.zeros((AGENTS, HIDDEN)), np.zeros(AGENTS, int)), "hidden is a tuple"),
        (
            Memory(jnp.zeros((AGENTS, HIDDEN + 1)), jnp.zeros(AGENTS, jnp.int32)),
            r"hidden: hidden has shape \[2, 7\], must be \[2, 6\]",
        ),
        (
            Memory(jnp.zeros((AGENTS, HIDDEN)), jnp.zeros(AGENTS + 1, jnp.int32)),
            "hidden: last_action has shape",
        ),
        (
            Memory(jnp.full((AGENTS, HIDDEN), jnp.nan), jnp.zeros(AGENTS, jnp.int32)),
            "hidden: that of agent 0 holds a NaN",
        ),
    ],
)
def test_a_memory_that_is_none_is_refused(path: Path, memory: Any, told: str) -> None:
    observation, available = np.zeros((AGENTS, FEATURES), "f4"), np.ones((AGENTS, ACTIONS), bool)
    with pytest.raises(UserError, match=told):
        act_after(Policy.load(path), observation, available, memory)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such" in refusal(tmp_path / "policy.safetensors")
    with pytest.raises(UserError, match="no such policy file"):
        Policy.load(tmp_path)


def foreign(metadata: dict[str, str] | None) -> bytes:
    return save({"x": np.zeros(3, "f4")}, metadata=metadata)


BFLOAT16_HEADER = b'{"x":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
BFLOAT16 = len(BFLOAT16_HEADER).to_bytes(8, "little") + BFLOAT16_HEADER + bytes(2)
"""A valid file of a number type that NumPy does not have, as language models are shipped in."""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no policy at all\n",
        bytes(range(256)) * 8,
        foreign(None),
        foreign({"format": "pt"}),
        foreign({"mast": "no JSON"}),
        foreign({"mast": "[1, 2]"}),
        foreign({"mast": "{}"}),
        foreign({"mast": json.dumps({"format": FORMAT})}),
        foreign({"mast": json.dumps({"format": FORMAT, "features": "many"})}),
        BFLOAT16,
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policy.safetensors"
    file.write_bytes(content)
    refusal(file)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refusal(path)


def test_a_damaged_header_is_refused(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff\xfe\x00" + content[23:])
    assert "damaged" in refusal(path)


def test_networks_of_their_own_are_saved_and_act_alike(tmp_path: Path) -> None:
    team = independent_agents(jax.random.key(5), FEATURES, ACTIONS, AGENTS, HIDDEN)
    mask = jax.random.bernoulli(jax.random.key(6), 0.5, team.gru_hidden.weight.shape)
    masks: Masks = {"agent.gru_hidden.weight": mask}
    team = apply_masks({"agent": team}, masks)["agent"]
    path = tmp_path / "policy.safetensors"
    save_policy(path, team, masks, SPEC, ABOUT)
    policy = Policy.load(path)
    assert policy.description["sharing"] == "independent"
    assert policy.masks["gru_hidden"].shape == (AGENTS, 3 * HIDDEN, HIDDEN)
    observation = jax.random.normal(jax.random.key(7), (AGENTS, FEATURES))
    available = jnp.ones((AGENTS, ACTIONS), bool)
    q, _ = team.step(observation, jnp.full(AGENTS, -1), team.initial_hidden(AGENTS))
    action, memory = policy.act(observation, available)
    np.testing.assert_array_equal(action, q.argmax(-1))
    assert memory.hidden.shape == (AGENTS, HIDDEN)
