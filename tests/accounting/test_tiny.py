"""The tiny baseline: the nearest dense widths, found again by trying all."""

from dataclasses import replace

import pytest

from mast.accounting.costs import account
from mast.accounting.tiny import Tiny, tiny_account, tiny_sizes
from mast.algorithms.registry import algorithm_entry
from mast.networks.spec import Sizes

THREE_MARINES = Sizes(observation=30, state=48, actions=9, agents=3)


def tiny(algorithm: str, sparsity: float) -> Tiny:
    return tiny_sizes(algorithm_entry(algorithm).networks, THREE_MARINES, sparsity)


def agent_parameters(hidden: int) -> int:
    """Linear(42 → h), GRU(h), Linear(h → 9), with biases: Torch's count but for one bias per GRU matrix."""
    return (42 * hidden + hidden) + 2 * (3 * hidden * hidden + 3 * hidden) + (9 * hidden + 9)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 0.9, 0.95])
def test_the_agents_width_is_the_nearest_of_all(sparsity: float) -> None:
    found = tiny("qmix", sparsity)
    entry = algorithm_entry("qmix")
    sparse = account(entry.networks(THREE_MARINES), entry.uses(THREE_MARINES, "max"), sparsity)
    wanted = int(sparse.networks[0].costs.parameters.sparse)
    nearest = min(range(1, 65), key=lambda hidden: abs(agent_parameters(hidden) - wanted))
    assert found.sizes.hidden_size == nearest
    assert found.networks[0].sparse == wanted
    assert found.networks[0].tiny == agent_parameters(nearest)


def test_each_network_is_matched_by_itself() -> None:
    found = tiny("owqmix", 0.9)
    names = [network.name for network in found.networks]
    assert names == ["agent", "mixer", "unrestricted_agent", "unrestricted_mixer"]
    for network in found.networks:
        assert abs(network.tiny - network.sparse) < 0.06 * network.sparse, network
    sizes = found.sizes
    assert sizes.mixer_embed / 32 == pytest.approx(sizes.hypernet_hidden / 64, abs=1 / 32)


def test_networks_without_weights_are_left_out() -> None:
    assert [n.name for n in tiny("vdn", 0.9).networks] == ["agent"]


def test_its_account_is_against_dense_networks_of_the_full_widths() -> None:
    entry = algorithm_entry("qmix")
    narrow_sizes = replace(THREE_MARINES, hidden_size=12, mixer_embed=3, hypernet_hidden=6)
    narrow, full = (entry.networks(sizes) for sizes in (narrow_sizes, THREE_MARINES))
    uses = entry.uses(THREE_MARINES, "max")
    costs = tiny_account(narrow, full, uses).costs
    assert costs.parameters.sparse == account(narrow, uses, 0.0).parameters
    assert costs.parameters.dense == account(full, uses, 0.0).parameters_dense
    assert costs.flops_train.ratio is not None
    assert costs.flops_train.ratio < 0.1
