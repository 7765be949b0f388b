"""The tiny baseline: the nearest dense widths, found again by trying all."""

import pytest

from mast.sparsity.accounting import (
    account,
)
from mast.sparsity.team_networks import (
    Dimensions,
    Widths,
)
from mast.sparsity.tiny import tiny_account, tiny_widths

THREE_MARINES = Dimensions(observation=30, state=48, actions=9, agents=3)


def agent_parameters(hidden: int) -> int:
    """Linear(42 → h), GRU(h), Linear(h → 9), with biases: Torch's count but for one bias per GRU matrix."""
    return (42 * hidden + hidden) + 2 * (3 * hidden * hidden + 3 * hidden) + (9 * hidden + 9)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 0.9, 0.95])
def test_the_agents_width_is_the_nearest_of_all(sparsity: float) -> None:
    found = tiny_widths(THREE_MARINES, "qmix", sparsity)
    wanted = int(account(THREE_MARINES, "qmix", sparsity).networks[0].costs.parameters.sparse)
    nearest = min(range(1, 65), key=lambda hidden: abs(agent_parameters(hidden) - wanted))
    assert found.widths.hidden == nearest
    assert found.networks[0].sparse == wanted
    assert found.networks[0].tiny == agent_parameters(nearest)


def test_each_network_is_matched_by_itself() -> None:
    found = tiny_widths(THREE_MARINES, "owqmix", 0.9)
    names = [network.name for network in found.networks]
    assert names == ["agent", "mixer", "unrestricted_agent", "unrestricted_mixer"]
    for network in found.networks:
        assert abs(network.tiny - network.sparse) < 0.06 * network.sparse, network
    widths = found.widths
    assert widths.mixer_embed / 32 == pytest.approx(widths.hyper_hidden / 64, abs=1 / 32)


def test_networks_without_weights_are_left_out() -> None:
    assert [n.name for n in tiny_widths(THREE_MARINES, "vdn", 0.9).networks] == ["agent"]


def test_its_account_is_against_dense_networks_of_the_full_widths() -> None:
    tiny = Widths(hidden=12, mixer_embed=3, hyper_hidden=6)
    costs = tiny_account(THREE_MARINES, "qmix", tiny).costs
    assert costs.parameters.sparse == account(THREE_MARINES, "qmix", 0.0, widths=tiny).parameters
    assert costs.parameters.dense == account(THREE_MARINES, "qmix", 0.0).parameters_dense
    assert costs.flops_train.ratio is not None
    assert costs.flops_train.ratio < 0.1
