"""Which execution a run gets, and what is refused."""

from typing import Any

import pytest

from mast import kernels
from mast.config import resolve
from mast.errors import UserError
from mast.training.execution import choose_execution

HAS_KERNELS = kernels.available()


def chosen(vmapped: bool = False, **settings: Any) -> str:
    config, _ = choose_execution(resolve({"environment": "smax/3m"} | settings), vmapped)
    return config.execution


@pytest.mark.parametrize("algorithm", ["iql", "vdn", "qmix"])
def test_sparse_teams_are_compact_where_there_are_kernels(algorithm: str) -> None:
    assert chosen(algorithm=algorithm) == ("compact" if HAS_KERNELS else "masked")


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "dense"},
        {"method": "tiny"},
        {"method": "magnitude"},
        {"sparsity": 0.7},
        {"algorithm": "owqmix"},
        {"algorithm": "res"},
        {"sharing": "independent"},
        {"execution": "masked"},
        {"vmapped": True},
        {"method": "one-shot", "from_run": "runs/before"},
        {"method": "random-ticket", "initial_mask": "ones"},
    ],
)
def test_auto_is_masked_where_compact_is_not_faster_or_not_there(settings: dict[str, Any]) -> None:
    assert chosen(**settings) == "masked"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"vmapped": True}, "several runs in one program have none"),
        ({"algorithm": "owqmix"}, "algorithm owqmix has none yet"),
        ({"sharing": "independent"}, "sharing = independent has none yet"),
        (
            {"method": "rigl", "grown_state": "keep"},
            "grown_state = keep needs the slots of inactive weights",
        ),
        ({"method": "magnitude"}, "method magnitude changes the number of active weights"),
    ],
)
def test_compact_is_refused_in_one_line(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(execution="compact", **settings)
    message = f"execution = compact: no native kernels: {reason}; use masked"
    assert str(caught.value) == message


def test_without_a_compiler_auto_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "unavailable_reason", lambda: "there is no C++ compiler")
    config, said = choose_execution(resolve({"environment": "smax/3m"}), vmapped=False)
    assert config.execution == "masked"
    assert said == ["no native kernels, so zeros are computed too: there is no C++ compiler"]
