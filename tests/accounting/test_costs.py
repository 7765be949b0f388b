"""Sizes and FLOPs: the paper's Table 1, the formulas of its Appendix B.4, and the report."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import pytest

from mast.accounting import costs
from mast.accounting.costs import Account, Cost, account_active, forward_flops, parameters
from mast.algorithms.registry import BUILT_IN, NAMES, algorithm_entry
from mast.errors import UserError
from mast.networks.spec import (
    NetworkSpec,
    Sizes,
    feed_forward_mixer_spec,
    monotonic_mixer_spec,
    recurrent_agent_spec,
)

PAPER_ALGORITHM = {"qmix": "qmix", "wqmix": "owqmix", "res": "res"}
THREE_MARINES = Sizes(observation=30, state=48, actions=9, agents=3)


def networks_of(sizes: Sizes, algorithm: str) -> dict[str, NetworkSpec]:
    return algorithm_entry(algorithm).networks(sizes)


def uses_of(sizes: Sizes, algorithm: str) -> dict[str, costs.Use]:
    operator = BUILT_IN[algorithm].defaults.get("operator", "max")
    return algorithm_entry(algorithm).uses(sizes, operator)


def account(
    sizes: Sizes, algorithm: str, sparsity: float, allocation: str = "erdos_renyi"
) -> Account:
    networks, uses = networks_of(sizes, algorithm), uses_of(sizes, algorithm)
    return costs.account(networks, uses, sparsity, allocation)


def rows(name: str) -> list[dict[str, str]]:
    text = resources.files("mast").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


SMAC = {
    row["map"]: Sizes(int(row["obs"]), int(row["state"]), int(row["actions"]), int(row["agents"]))
    for row in rows("smac_dimensions.csv")
}


def table1_cells() -> Iterator[tuple[str, str, float, str, float]]:
    for row in rows("table1.csv"):
        for column in ("total_size", "flops_train", "flops_test"):
            yield (
                row["algorithm"],
                row["map"],
                float(row["sparsity"]),
                column,
                float(row[column]),
            )


def ratio(algorithm: str, scenario: str, sparsity: float, column: str) -> float:
    report = account(SMAC[scenario], PAPER_ALGORITHM[algorithm], sparsity)
    return {
        "total_size": report.size_ratio,
        "flops_train": report.flops_train_ratio,
        "flops_test": report.flops_inference_ratio,
    }[column]


@pytest.mark.parametrize(
    ("algorithm", "scenario", "sparsity", "column", "printed"), list(table1_cells())
)
def test_reproduces_table_1(
    algorithm: str, scenario: str, sparsity: float, column: str, printed: float
) -> None:
    assert ratio(algorithm, scenario, sparsity, column) == pytest.approx(printed, abs=1e-3)


def test_table_1_has_36_cells_and_all_but_one_agree_to_the_printed_digit() -> None:
    cells = list(table1_cells())
    assert len(cells) == 36
    differing = [
        cell[:4] for cell in cells if f"{ratio(*cell[:4]):.3f}" != f"{cell[4]:.3f}"
    ]  # fmt: skip
    assert differing == [("wqmix", "2s3z", 0.9, "total_size")]
    assert ratio(*differing[0]) == pytest.approx(0.1066, abs=5e-5)


def test_dense_agent_follows_equations_9_to_12() -> None:
    inputs, hidden, actions = 42, 64, 9
    layers = recurrent_agent_spec(THREE_MARINES)
    dense = {shape.name: shape.weights for shape in layers.shapes}
    assert list(dense) == ["fc1", "gru_input", "gru_hidden", "fc2"]
    assert forward_flops(layers, dense) == pytest.approx(
        (2 * inputs - 1) * hidden
        + 3 * hidden * (2 * (hidden + hidden) - 1)
        + (2 * hidden - 1) * actions
    )
    # Torch's GRUCell has a bias of 3h for each of its two matrices.
    assert parameters(layers, dense) == (
        (inputs + 1) * hidden + 2 * 3 * hidden * (hidden + 1) + (hidden + 1) * actions
    )


def test_gru_uses_the_parameter_weighted_mean_of_its_two_densities() -> None:
    # hidden differs from the input of the GRU only here, so that the weights of the mean matter
    agent = recurrent_agent_spec(replace(THREE_MARINES, hidden_size=8))
    gru = NetworkSpec(agent.layers[1:3])
    active = {"gru_input": 60, "gru_hidden": 12}
    density = (60 + 12) / (3 * 8 * (8 + 8))
    assert forward_flops(gru, active) == pytest.approx(density * 3 * 8 * (2 * (8 + 8) - 1))


def test_qmix_mixer_layers() -> None:
    shapes = [
        (layer.name, layer.inputs, layer.outputs)
        for layer in monotonic_mixer_spec(THREE_MARINES).layers
    ]
    assert shapes == [
        ("w1_hidden", 48, 64),
        ("w1_out", 64, 96),
        ("w_final_hidden", 48, 64),
        ("w_final_out", 64, 32),
        ("b1", 48, 32),
        ("v_hidden", 48, 32),
        ("v_out", 32, 1),
    ]


def test_unrestricted_mixer_layers() -> None:
    shapes = [
        (layer.inputs, layer.outputs) for layer in feed_forward_mixer_spec(THREE_MARINES).layers
    ]
    assert shapes == [(51, 256), (256, 256), (256, 256), (256, 1), (48, 256), (256, 1)]


def test_generated_mixing_pass_is_dense() -> None:
    mixer = networks_of(THREE_MARINES, "qmix")["mixer"]
    assert mixer.generated_flops == 5 * 32 + 63 == 223
    assert account(THREE_MARINES, "vdn", 0.95).networks[1].costs.flops_train == Cost(4 * 2, 4 * 2)


def forward(report: Account, name: str) -> float:
    network = next(network for network in report.networks if network.name == name)
    return network.costs.flops_train.sparse / network.use.training


def test_training_flops_are_those_of_table_6() -> None:
    n, m = THREE_MARINES.agents, THREE_MARINES.actions
    for algorithm in NAMES:
        report = account(THREE_MARINES, algorithm, 0.9)
        agent = forward(report, "agent")
        expected = 4 * agent
        if algorithm == "vdn":
            expected += 4 * (n - 1)
        elif algorithm in ("qmix", "qplex"):
            expected += 4 * forward(report, "mixer")
        elif algorithm == "res":
            expected += (3 + 2 * n * m) * forward(report, "mixer")
        elif algorithm in ("owqmix", "cwqmix"):
            expected = 3 * (agent + forward(report, "mixer"))
            expected += 4 * forward(report, "unrestricted_agent")
            expected += (4 + (algorithm == "cwqmix")) * forward(report, "unrestricted_mixer")
        elif algorithm == "maa2c":  # no target copies; the critic values what follows once more
            expected = 3 * agent + 4 * forward(report, "critic")
        elif algorithm in ("ippo", "mappo"):
            expected = 3 * agent + 5 * forward(report, "critic")
        assert report.costs.flops_train.sparse == pytest.approx(expected), algorithm
        assert report.costs.flops_inference.sparse == pytest.approx(agent), algorithm


def test_size_counts_target_networks() -> None:
    copies = {
        algorithm: {n.name: n.use.copies for n in account(THREE_MARINES, algorithm, 0.9).networks}
        for algorithm in NAMES
    }
    weighted = {"agent": 1, "mixer": 1, "unrestricted_agent": 2, "unrestricted_mixer": 2}
    assert copies == {
        "iql": {"agent": 2},
        "vdn": {"agent": 2, "mixer": 2},
        "qmix": {"agent": 2, "mixer": 2},
        "owqmix": weighted,
        "cwqmix": weighted,
        "qplex": {"agent": 2, "mixer": 2},
        "res": {"agent": 2, "mixer": 2},
        **{name: {"agent": 1, "critic": 1} for name in ("maa2c", "ippo", "mappo")},
    }
    report = account(THREE_MARINES, "owqmix", 0.9)
    assert report.costs.size.sparse == sum(
        n.use.copies * n.costs.parameters.sparse for n in report.networks
    )


@pytest.mark.parametrize("algorithm", NAMES)
def test_layers_networks_and_whole_agree(algorithm: str) -> None:
    report = account(THREE_MARINES, algorithm, 0.9)
    networks = networks_of(THREE_MARINES, algorithm)
    generated = {name: network.generated_flops for name, network in networks.items()}
    for quantity in ("parameters", "size", "flops_train", "flops_inference"):
        for network in report.networks:
            extra = {
                "flops_train": network.use.training * generated[network.name],
                "flops_inference": network.use.inference * generated[network.name],
            }.get(quantity, 0)
            total = getattr(network.costs, quantity)
            parts = [getattr(layer.costs, quantity) for layer in network.layers]
            assert total.sparse == pytest.approx(sum(part.sparse for part in parts) + extra)
            assert total.dense == pytest.approx(sum(part.dense for part in parts) + extra)
        whole = getattr(report.costs, quantity)
        parts = [getattr(network.costs, quantity) for network in report.networks]
        assert whole.sparse == pytest.approx(sum(part.sparse for part in parts))
        assert whole.dense == pytest.approx(sum(part.dense for part in parts))


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("allocation", ["erdos_renyi", "uniform"])
def test_zero_sparsity_is_dense(algorithm: str, allocation: str) -> None:
    report = account(THREE_MARINES, algorithm, 0.0, allocation)
    assert report.parameters == report.parameters_dense
    assert report.density == 1.0
    assert report.size_ratio == report.flops_train_ratio == report.flops_inference_ratio == 1.0
    assert all(layer.active == layer.inputs * layer.outputs for layer in report.layers)


def test_report_counts_one_set_of_online_networks_with_biases() -> None:
    report = account(THREE_MARINES, "qmix", 0.95)
    active = sum(layer.active for layer in report.layers)
    weights = sum(layer.inputs * layer.outputs for layer in report.layers)
    biases = sum(layer.outputs for layer in report.layers)
    assert report.parameters == active + biases
    assert report.parameters_dense == weights + biases
    assert report.costs.size.sparse == 2 * report.parameters
    assert report.density == active / weights == pytest.approx(0.05, abs=2e-4)
    first = report.layers[0]
    assert (first.network, first.layer, first.inputs, first.outputs) == ("agent", "fc1", 42, 64)
    assert first.density == first.active / (42 * 64)


def test_measured_counts_may_stand_in_for_allocated_ones() -> None:
    allocated = account(THREE_MARINES, "qmix", 0.9)
    networks, uses = networks_of(THREE_MARINES, "qmix"), uses_of(THREE_MARINES, "qmix")
    counts: dict[str, dict[str, int]] = {}
    for layer in allocated.layers:
        counts.setdefault(layer.network, {})[layer.layer] = layer.active
    assert account_active(networks, uses, counts) == allocated
    counts["agent"]["fc2"] = 0  # a layer may die where layers share one budget
    assert account_active(networks, uses, counts).parameters < allocated.parameters


def test_what_a_network_never_does_has_no_ratio() -> None:
    mixer = account(THREE_MARINES, "qmix", 0.9).networks[1]
    assert mixer.costs.flops_inference.dense == 0
    assert mixer.costs.flops_inference.ratio is None


def test_widths_change_the_size() -> None:
    sizes = replace(THREE_MARINES, hidden_size=32, unrestricted_hidden=64)
    narrow = account(sizes, "owqmix", 0.0)
    assert narrow.parameters < account(THREE_MARINES, "owqmix", 0.0).parameters
    assert {layer.outputs for layer in narrow.layers if layer.layer == "fc1"} == {32, 64}


def test_unknown_algorithm_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^[^\n]*qplexx[^\n]*iql, vdn, qmix[^\n]*$"):
        algorithm_entry("qplexx")


def test_imports_without_jax() -> None:
    program = "import sys, mast.sparsity.allocation, mast.execution.account; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
