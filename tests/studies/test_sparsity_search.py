"""The bisection, the judgement by hand, and the command with played cells."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_cells import PlayedJob, files, small_study

from mast.cli import main
from mast.commands import search_sparsity as command
from mast.studies.groups import groups_of
from mast.studies.results import ResultFolder
from mast.studies.sparsity_search import Interval, Probe, grid, judge, search


def probe(sparsity: float, holds: bool) -> Probe:
    return Probe(sparsity, Interval(1.0, 1.0, 1.0), holds, True, 1.0)


@given(st.integers(-1, 49))
def test_the_last_that_holds_is_found_in_few_probes(last: int) -> None:
    sparsities = grid(0.5, 0.99, 0.01)
    assert len(sparsities) == 50
    found = search(sparsities, lambda s: probe(s, sparsities.index(s) <= last))
    assert found.finished
    assert found.best == (None if last < 0 else sparsities[last])
    assert len(found.probes) <= 6


def test_a_stopped_search_keeps_what_it_has() -> None:
    found = search([0.5, 0.6, 0.7], lambda s: probe(s, True) if s < 0.7 else None)
    assert (found.best, found.finished, len(found.probes)) == (0.6, False, 1)


def test_the_grid_has_both_ends() -> None:
    assert grid(0.9, 0.95, 0.01) == [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]
    assert grid(0.9, 0.95, 0.02) == [0.9, 0.92, 0.94]


def test_judging_by_hand(tmp_path: Path) -> None:
    study, folder = small_study(seeds=3), ResultFolder(tmp_path)
    scores = {"dense": (0.8, 0.8, 0.8), "mast": (0.7, 0.9, 0.8)}
    for cell in study.cells:
        folder.write(cell, files(scores[cell.config.method][cell.config.seed], 30.0))
    dense, mast = groups_of(study, folder.find_all(study.cells))
    found = judge(mast, dense, 0.03)
    assert found.of_dense.mean == pytest.approx(1.0)
    assert (found.of_dense.low, found.of_dense.high) == pytest.approx((0.875, 1.125))
    assert (found.holds, found.is_sure, found.seconds) == (True, False, 90.0)
    assert judge(mast, dense, 0.2).is_sure
    for seeds in (1, 2):  # too few for an interval, as everywhere
        few = replace(mast, results=mast.results[:seeds])
        assert not judge(few, dense, 0.2).is_sure
        assert not judge(mast, replace(dense, results=dense.results[:seeds]), 0.2).is_sure
    low = judge(mast, dense, 0.1)
    assert (low.holds, low.is_sure) == (True, False)


def play(monkeypatch: pytest.MonkeyPatch, score: Any) -> list[float]:
    launched: list[float] = []

    def launch(cell: Any, *_: Any) -> PlayedJob:
        launched.append(cell.config.sparsity)
        return PlayedJob(cell, ["finished"], score=score(cell.config))

    monkeypatch.setattr(command, "ProcessJob", launch)
    return launched


LINE = ["search-sparsity", "smax/3m", "--seeds", "2", "--low", "0.8", "--high", "0.98", "--json"]


def test_the_command_finds_the_sparsity_and_says_its_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = play(monkeypatch, lambda config: 0.8 if config.sparsity <= 0.93 else 0.7)
    assert main(LINE) == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert result["best"] == 0.93
    assert result["finished"] is True
    assert result["runs"] == len(launched) == 2 * (1 + len(result["probes"]))
    assert "highest sparsity that holds: 0.93" in out
    assert "of one core, dense included" in out
    count = len(launched)
    assert main([*LINE, "--tolerance", "0.2"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["best"] == 0.98
    assert len(launched) < 2 * count  # what was trained before is not trained again


def test_a_spent_budget_is_no_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ProcessJob", lambda cell, *_: PlayedJob(cell, ["running"]))
    assert main([*LINE, "--budget", "0.01s"]) == 0
    assert "stopped before dense was trained; the same command goes on" in capsys.readouterr().out


def test_dense_must_win_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(monkeypatch, lambda config: 0.0)
    assert main(LINE) == 2
    assert "dense has a win rate of 0 on smax/3m" in capsys.readouterr().err


def test_dense_has_no_topology(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = play(monkeypatch, lambda config: 0.8)
    assert main([*LINE, "--growth", "random", "--allocation", "uniform"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["best"] == 0.98
    assert launched[0] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tolerance", "3"], "tolerance = 3: must be a number above 0 and below 1"),
        (["--low", "0.99"], "low = 0.99: must be below high = 0.98"),
        (["--method", "dense"], "method = dense: has no sparsity to search"),
        (["--steps", "x"], "steps = x: must be a whole number"),
        (["--budget", "x"], "budget = x: must be a time"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    line = [word for word in LINE if word != "--json"]
    if more[0] == "--low":
        line = [word for word in line if word not in ("--low", "0.8")]
    assert main([*line, *more]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()
