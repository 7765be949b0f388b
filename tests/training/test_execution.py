"""Which execution a run gets, and what is refused."""

import dataclasses
from typing import Any
from unittest import mock

import pytest
from examples.pursuit import Pursuit

from kernels.cases import needs_kernels
from mast import kernels
from mast.algorithms.registry import NAMES, algorithm_entry
from mast.config import resolve
from mast.errors import UserError
from mast.runs.trainer import Trainer
from mast.training import execution
from mast.training.execution import choose_execution, compact_speedup

HAS_KERNELS = kernels.available()


def chosen(vmapped: bool = False, **settings: Any) -> str:
    config, _ = choose_execution(resolve({"environment": "smax/3m"} | settings), vmapped)
    return config.execution


@pytest.mark.parametrize("algorithm", ["iql", "vdn", "qmix", "owqmix", "cwqmix", "res"])
def test_sparse_teams_are_compact_where_there_are_kernels(algorithm: str) -> None:
    assert chosen(algorithm=algorithm) == ("compact" if HAS_KERNELS else "masked")


@pytest.mark.parametrize("sharing", ["fups", "seps", "snp", "snp+id", "snp-nps", "independent"])
def test_sparse_teams_that_share_otherwise_are_compact_too(sharing: str) -> None:
    assert chosen(sharing=sharing) == ("compact" if HAS_KERNELS else "masked")
    assert chosen(sharing=sharing, method="dense") == "masked"


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "dense"},
        {"method": "magnitude"},
        {"sharing": "usnp"},
        {"algorithm": "owqmix", "sharing": "usnp"},
        {"execution": "masked"},
        {"vmapped": True},
        {"method": "one-shot", "from_run": "runs/before"},
        {"method": "random-ticket", "initial_mask": "ones"},
    ],
)
def test_auto_is_masked_where_compact_is_not_faster_or_not_there(settings: dict[str, Any]) -> None:
    assert chosen(**settings) == "masked"


def test_speedup_is_that_of_the_table_and_between_its_rows_interpolated() -> None:
    table = {"any": {64: {0.05: 8.0, 0.2: 4.0, 0.8: 0.5}, 256: {0.05: 2.0}}}
    with mock.patch.object(execution, "_measured_speedups", return_value=table):
        assert [compact_speedup("any", 64, density) for density in (0.01, 0.05, 0.2, 1.0)] == [
            *(8.0, 8.0, 4.0, 0.5)
        ]
        assert compact_speedup("any", 70, 0.1) == pytest.approx(6.0)  # halfway in the logarithm
        assert compact_speedup("any", 1000, 0.1) == 2.0


@needs_kernels
def test_auto_asks_more_of_algorithms_that_gain_less_than_qmix() -> None:
    speedups = {name: algorithm_entry(name).compact_speedup for name in NAMES}
    least = {name: 1 / speedup for name, speedup in speedups.items() if speedup}
    assert least["qmix"] == 1 < least["res"]
    for algorithm, speedup in least.items():
        for factor, expected in ((0.99, "masked"), (1.01, "compact")):
            with mock.patch.object(execution, "compact_speedup", return_value=factor * speedup):
                assert chosen(algorithm=algorithm) == expected


@needs_kernels
def test_a_tiny_team_counts_as_a_narrow_dense_one() -> None:
    for speedup, expected in ((0.99, "masked"), (1.01, "compact")):
        with mock.patch.object(execution, "compact_speedup", return_value=speedup) as asked:
            assert chosen(method="tiny", sparsity=0.95) == expected
        assert asked.call_args.args[1:] == (14, 1.0)


@needs_kernels
def test_auto_asks_more_of_several_networks() -> None:
    for speedup, expected in ((1.4, "masked"), (1.5, "compact")):
        with mock.patch.object(execution, "compact_speedup", return_value=speedup):
            assert chosen(sharing="independent") == chosen(sharing="seps") == expected
        with mock.patch.object(execution, "compact_speedup", return_value=speedup):
            assert chosen() == "compact"


def test_compact_is_refused_to_an_algorithm_whose_networks_have_no_kernels() -> None:
    masked_only = dataclasses.replace(algorithm_entry("qmix"), compact_speedup=None)
    with (
        mock.patch.object(execution, "algorithm_entry", return_value=masked_only),
        pytest.raises(UserError, match="algorithm qmix has none; use masked"),
    ):
        chosen(algorithm="qmix", execution="compact")


def test_the_table_in_the_package_covers_every_instruction_set() -> None:
    for instruction_set in ("avx512", "avx2", "baseline"):
        for width in (16, 64, 256, 1024):
            for density in (0.005, 0.05, 0.1, 0.2):
                assert compact_speedup(instruction_set, width, density) > 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"vmapped": True}, "several runs in one program have none"),
        ({"sharing": "usnp"}, "sharing = usnp has none"),
        ({"algorithm": "res", "sharing": "usnp"}, "sharing = usnp has none"),
        (
            {"method": "rigl", "grown_state": "keep"},
            "grown_state = keep needs the slots of inactive weights",
        ),
        (
            {"environment": "smax/smacv2_5_units", "sharing": "snp"},
            "sharing = snp has none where episodes draw the agents' types",
        ),
        ({"agent_gradient": "mean"}, "agent_gradient = mean has none"),
        ({"method": "magnitude"}, "method magnitude changes the number of active weights"),
    ],
)
def test_compact_is_refused_in_one_line(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(execution="compact", **settings)
    message = f"execution = compact: no native kernels: {reason}; use masked"
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "reason", ["there is no C++ compiler", "g++ cannot compile the kernels: no space left"]
)
def test_where_kernels_cannot_be_made_auto_says_so_once(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "unavailable_reason", lambda: reason)
    config, said = choose_execution(resolve({"environment": "smax/3m"}), vmapped=False)
    assert config.execution == "masked"
    assert said == [f"no native kernels, so zeros are computed too: {reason}"]
    monkeypatch.setenv("MAST_KERNELS", "off")  # which was asked for
    assert choose_execution(resolve({"environment": "smax/3m"}), vmapped=False) == (config, [])


class Typed(Pursuit):
    """A user's own environment that says in each observation which type an agent is of."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = dataclasses.replace(self.spec, type_features=(0, 1))


@needs_kernels
def test_auto_is_masked_where_an_own_environment_draws_types() -> None:
    settings = {"environment": "examples.pursuit:Pursuit", "sharing": "snp", "hidden_size": 8}
    with mock.patch.object(execution, "compact_is_faster", return_value=True):
        assert Trainer(resolve(settings), environment=Typed()).config.execution == "masked"
        assert Trainer(resolve(settings), environment=Pursuit()).config.execution == "compact"
    with pytest.raises(UserError, match=r"draws types anew, .* use execution = masked"):
        Trainer(resolve(settings | {"execution": "compact"}), environment=Typed())
