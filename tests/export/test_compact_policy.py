"""Compact policies: fewer neurons and inputs, the same values."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from teams import make_run, policy_of

from mast.errors import SelfCheckError, UserError
from mast.export import compact
from mast.export.compact import compact_run, compacted
from mast.export.network import networks_of, small_networks_of
from mast.policy import LAYERS, Policy


@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_a_compact_policy_is_the_same_function(tmp_path: Path, sharing: str) -> None:
    whole = policy_of(make_run(tmp_path / "run", sharing=sharing, density=0.03, seed=3))
    small = compacted(whole)
    small.write(tmp_path / "small.safetensors")
    policy = Policy.load(tmp_path / "small.safetensors")
    assert policy.agent.hidden_size < whole.agent.hidden_size
    assert len(small.inputs) < whole.masks["fc1"].shape[-1]
    rng = np.random.default_rng(0)
    memory, small_memory = None, None
    for _ in range(6):
        seen, available = rng.normal(size=(2, 6)).astype("f4"), rng.random((2, 5)) < 0.6
        available[:, 0] = True
        action, memory = whole.act(seen, available, memory)
        small_action, small_memory = policy.act(seen, available, small_memory)
        np.testing.assert_array_equal(small_action, action)
        units = np.stack([network.units for network in small.networks])
        units = np.broadcast_to(units, (2, units.shape[1]))
        expected = np.take_along_axis(np.asarray(memory.hidden), np.maximum(units, 0), 1)
        difference = np.where(units >= 0, small_memory.hidden - expected, 0)
        np.testing.assert_allclose(difference, 0, atol=1e-5)
    for layer in LAYERS:
        weight = np.asarray(getattr(policy.agent, layer).weight)
        np.testing.assert_array_equal(policy.masks[layer], weight != 0)


def test_what_is_left_is_counted(tmp_path: Path) -> None:
    """Of 4 hidden units and 4 encoder neurons, by hand, three chains matter."""

    def change(agent: object) -> object:
        import equinox as eqx

        def only(shape: tuple[int, ...], *places: tuple[int, int]) -> jnp.ndarray:
            return jnp.zeros(shape).at[tuple(np.array(places).T)].set(0.5)

        def weights(agent: object) -> list[object]:
            return [getattr(agent, layer).weight for layer in LAYERS]

        return eqx.tree_at(
            weights,
            agent,
            [
                only((4, 13), (0, 2), (1, 3), (3, 12)),  # encoder neuron 2 reads nothing
                only((12, 4), (0, 0), (1, 2), (2, 1)),  # unit 0 reads 0; 1 the constant; 2 reads 1
                only((12, 4), (4, 3)),  # unit 0 reads unit 3 in its second gate
                only((5, 4), (0, 0), (4, 1)),  # the values read units 0 and 1
            ],
        )

    run = make_run(tmp_path / "run", hidden=4, change=change)
    report = compact_run(run, episodes=1)
    # Unit 2 leads nowhere, and so do the neurons 1 and 3 of the encoder.
    assert report["neurons"] == {"encoder": [4, 1], "hidden": [4, 3]}
    assert report["inputs"] == [13, 1]
    assert "other_x" not in report["unread"]
    assert {"x", "last action stay", "agent id hunter_1"} <= set(report["unread"])
    layers = report["layers"]
    assert layers["fc1"]["after"] == {
        "shape": "1 × 1", "weights": 1, "parameters": 2, "bytes": 8, "flops": 2 * 1.0,
    }  # fmt: skip
    assert layers["gru_input"]["before"]["shape"] == "12 × 4"
    assert layers["gru_input"]["after"]["weights"] == 1
    assert layers["gru_hidden"]["after"]["shape"] == "9 × 3"
    assert layers["gru_hidden"]["after"]["bytes"] == 4 * (27 + 9)
    # One weight of the GRU adds (2k − 1)/k FLOPs with k = 1 + 3 summands, for each of two agents.
    assert layers["gru_hidden"]["after"]["flops"] == pytest.approx(2 * 7 / 4)
    assert report["total"]["after"]["weights"] == 5
    assert report["total"]["before"]["weights"] == 9
    assert report["check"]["largest_difference"] < 1e-5


def test_a_team_without_any_weight(tmp_path: Path) -> None:
    report = compact_run(make_run(tmp_path / "run", density=0), tmp_path / "out", episodes=1)
    assert report["total"]["after"]["weights"] == 0
    np.testing.assert_array_equal(
        Policy.load(tmp_path / "out").agent.fc2.bias, policy_of(tmp_path / "run").agent.fc2.bias
    )


def test_a_mismatch_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))

    def wrong(policy: Policy) -> list[compact.AnyNetwork]:
        from dataclasses import replace

        return [
            replace(network, output_bias=network.output_bias + 1)
            for network in small_networks_of(policy)
        ]

    monkeypatch.setattr(compact, "small_networks_of", wrong)
    with pytest.raises(SelfCheckError, match="the compact policy does not do what the policy does"):
        compact_run(run, tmp_path / "out", episodes=1)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("inputs", [0, 99], "is damaged"),
        ("inputs", [1, 0], "is damaged"),
        ("inputs", "all", "is damaged"),
        ("inputs", [0], "tensor fc1.mask is uint8"),
        ("encoded_size", None, "is damaged"),
        ("encoded_size", 77, "tensor fc1.bias is float32"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, entry: str, value: object, message: str
) -> None:
    small = compacted(policy_of(make_run(tmp_path / "run")))
    small.description[entry] = value
    small.write(tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=message):
        Policy.load(tmp_path / "small.safetensors")


def test_a_compact_policy_can_be_made_compact_again(tmp_path: Path) -> None:
    small = compacted(policy_of(make_run(tmp_path / "run", density=0.1)))
    small.write(tmp_path / "small.safetensors")
    again = compacted(Policy.load(tmp_path / "small.safetensors"))
    assert again.inputs == small.inputs
    weights = [
        network.weights for network in networks_of(Policy.load(tmp_path / "small.safetensors"))
    ]
    assert [network.weights for network in again.networks] == weights
