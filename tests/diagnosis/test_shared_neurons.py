"""Agents that share a network in part: who has which neuron, and what each makes of one observation."""

from pathlib import Path

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from examples.pursuit import Pursuit

from export.teams import SPEC, make_run, policy_of
from mast.diagnosis.sharing_pictures import Features, apart, draw_features, draw_overlaps
from mast.watching.sharing import (
    Shared,
    facts_of,
    features_of,
    hidden_features,
    overlap_of_agents,
)

OWN = np.array([[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0]], bool)


def test_overlaps_by_hand() -> None:
    expected = [[1, 2 / 3, 1 / 3], [2 / 3, 1, 2 / 3], [1 / 2, 1, 1]]
    np.testing.assert_allclose(overlap_of_agents(OWN), expected)
    assert overlap_of_agents(OWN & False).tolist() == np.ones((3, 3)).tolist()
    facts = facts_of({"agent.gru": OWN})["agent.gru"]
    del facts["overlap"]
    assert facts == {"neurons": 6, "of_all": 1, "of_one": 1, "of_none": 2}


def test_how_far_agents_lie_apart_by_hand() -> None:
    """Three agents, two observations 5 apart in each; of one observation agents are 0, 4 and 4 apart."""
    one, other = [0.0, 0.0], [3.0, 4.0]
    values = np.array([[one, other], [one, other], [[0.0, 4.0], [3.0, 8.0]]])
    assert apart(Features("layer", [0, 1, 2], values)) == pytest.approx((0 + 4 + 4) / 3 / 5)
    assert apart(Features("layer", [0, 1], values[:2])) == 0
    assert apart(Features("layer", [0, 1], 0 * values)) == 0


@pytest.mark.parametrize("actor", [False, True])
def test_every_agent_is_shown_the_same(tmp_path: Path, actor: bool) -> None:
    agent = policy_of(make_run(tmp_path, sharing="snp", actor=actor, density=1)).agent
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(3, 2, SPEC.observation)).astype("f4")
    last = rng.integers(SPEC.actions, size=(3, 2)).astype("i4")
    found = hidden_features(agent, seen, last, 2)
    assert list(found) == (["layers.0", "layers.1"] if actor else ["fc1", "gru"])
    assert agent.parts is not None
    assert agent.parts.neurons is not None
    for name, own in agent.parts.neurons.items():
        values = np.asarray(found[name])
        assert values.shape == (3, 2, 2, 16)
        assert (values[:, :, ~np.asarray(own)] == 0).all()
    first = "layers.0" if actor else "fc1"  # the ratio of the first layer is 0
    np.testing.assert_array_equal(found[first][:, :, 0], found[first][:, :, 1])
    if not actor:
        hidden = agent.initial_hidden(2, 2)
        for step in range(3):
            both = (jnp.stack([part[step]] * 2, 1) for part in (seen, last))
            _, hidden = agent.step(*both, hidden)
            np.testing.assert_allclose(found["gru"][step], hidden, atol=1e-6)


def test_features_of_whole_episodes_and_their_picture(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    policy = policy_of(make_run(tmp_path / "run", sharing="snp", actor=True, density=1))
    shared = Shared(policy, None)
    assert list(shared.neurons) == ["agent.layers.1"]
    layers = features_of(shared, Pursuit())
    assert [each.layer for each in layers] == ["agent.layers.0", "agent.layers.1"]
    assert layers[0].agents == [0, 1]
    assert layers[0].values.shape[0] == 2
    assert 0 < layers[0].values.shape[1] <= 200
    few = [Features(each.layer, each.agents, each.values[:, :12]) for each in layers]
    draw_features(few, SPEC.agent_names, tmp_path / "a.png")
    draw_features(few, SPEC.agent_names, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_overlaps(facts_of(shared.neurons), SPEC.agent_names, tmp_path / "c.png")
    assert matplotlib.image.imread(tmp_path / "c.png").std() > 0
