"""Size and FLOPs of a run by its settings: what pruning, narrow and independent networks change."""

import pytest

from mast.accounting.costs import (
    Account,
)
from mast.config import resolve
from mast.envs.smac_sizes import SmacSizes, smac_sizes
from mast.errors import UserError
from mast.execution.account import account_of, size_notices

THREE_MARINES = SmacSizes("smac/3m", observation=30, state=48, actions=9, agents=3)


def account(**settings: object) -> Account:
    return account_of(resolve({"environment": "smax/3m"} | settings), THREE_MARINES)


def test_smac_sizes_are_the_papers() -> None:
    assert smac_sizes("smac/3m") == THREE_MARINES
    with pytest.raises(UserError, match="did you mean smac/3s5z"):
        smac_sizes("smac/3s5")


@pytest.mark.parametrize("sharing", ["shared", "seps"])
def test_a_pruned_run_trains_with_the_mean_of_the_cubic_law(sharing: str) -> None:
    """Dense to 10 %, then (1 − p)³ of the way to 75 %: 0.1 + 0.65/4 of the pruned weights are there."""
    dense = account(method="dense", sharing=sharing)
    final = account(method="ss", sparsity=0.9, sharing=sharing)
    pruned = account(method="magnitude", sparsity=0.9, sharing=sharing)
    assert pruned.parameters == final.parameters
    assert pruned.flops_inference_ratio == final.flops_inference_ratio
    steps = 100_000
    law = sum((1 - (step + 0.5) / steps) ** 3 for step in range(steps)) / steps
    there = 0.1 + 0.65 * law
    low, high = final.costs.flops_train.sparse, dense.costs.flops_train.sparse
    assert pruned.costs.flops_train.sparse == pytest.approx(low + there * (high - low), rel=1e-3)


def test_independent_agents_have_as_many_networks_without_the_id() -> None:
    """Per agent 39 inputs instead of 42; all biases three times."""
    shared, own = account(method="dense"), account(method="dense", sharing="independent")
    difference = (
        own.networks[0].costs.parameters.dense - 3 * shared.networks[0].costs.parameters.dense
    )
    assert difference == -3 * 3 * 64
    assert own.networks[1] == shared.networks[1]
    sparse = account(method="ss", sparsity=0.9, sharing="independent")
    assert sparse.density == pytest.approx(0.1, abs=1e-3)
    assert sparse.flops_inference_ratio == pytest.approx(0.1, abs=2e-3)


def test_what_stays_dense_is_counted_as_dense() -> None:
    assert account(method="random-ticket", initial_mask="ones").density == 1.0


def test_res_without_its_joint_operator_makes_qmixs_passes() -> None:
    soft = account(algorithm="res", sparsity=0.9, operator="soft_mellowmax")
    assert soft.flops_train_ratio == account(algorithm="qmix", sparsity=0.9).flops_train_ratio
    joint = account(algorithm="res", sparsity=0.9)
    assert joint.costs.flops_train.sparse > 2 * soft.costs.flops_train.sparse


def test_a_tiny_team_says_both_counts() -> None:
    config = resolve({"environment": "smax/3m", "method": "tiny", "sparsity": 0.95})
    (notice,) = size_notices(config, THREE_MARINES)
    agent = account_of(config, THREE_MARINES).networks[0].costs.parameters.sparse
    assert f"agent {agent:,} for " in notice
    assert "mixer " in notice
    assert size_notices(resolve({"environment": "smax/3m"}), THREE_MARINES) == []


def test_fixed_densities_per_agent_are_counted() -> None:
    own = account(
        method="ss", sparsity=0.9, sharing="independent", density_per_agent="0.3,0.1,0.05"
    )
    weights = sum(layer.weights for layer in own.networks[0].layers)
    active = sum(layer.active for layer in own.networks[0].layers)
    assert active / weights == pytest.approx((0.3 + 0.1 + 0.05) / 3, abs=1e-3)
    assert own.networks[1] == account(method="ss", sparsity=0.9).networks[1]


@pytest.mark.parametrize(
    ("pattern", "sparsity", "density"),
    [("n:16", 0.98, "0.02"), ("neuron", 0.98, "0.02"), ("fan-in", 0.995, "0.005")],
)
def test_a_pattern_that_stays_far_denser_than_asked_says_so(
    pattern: str, sparsity: float, density: str
) -> None:
    config = resolve(
        {"environment": "smax/3m", "method": "mast", "pattern": pattern, "sparsity": sparsity}
    )
    (notice,) = size_notices(config, THREE_MARINES)
    held = account_of(config, THREE_MARINES).density
    assert held > 1.1 * (1 - sparsity)
    assert notice.startswith(f"pattern {pattern}: density {held:.3g} instead of {density},")
    near = config.model_copy(update={"sparsity": 0.8})
    assert size_notices(near, THREE_MARINES) == []
