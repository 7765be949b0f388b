"""The regression gate: levels and bands by hand, and what the command says."""

import json
from pathlib import Path

import pytest
from study_cells import row

from mast.cli import main
from mast.studies.groups import groups_of
from mast.studies.library import find_study
from mast.studies.regression import band, compare, level
from mast.studies.results import CellFiles, ResultFolder


def store(folder: str, levels: dict[int, float]) -> ResultFolder:
    """Rows of the study regress: each method's curve is level from its half on, per seed."""
    kept = ResultFolder(Path(folder) / "regress")
    for cell in find_study("regress").cells:
        if cell.config.seed in levels:
            value = levels[cell.config.seed]
            lines = [f"{1000 * k},{0.0 if k <= 2 else value},1" for k in range(1, 5)]
            curve = "\n".join(["env_steps,win_rate,return", *lines]) + "\n"
            kept.write(cell, CellFiles(row(value), curve))
    return kept


def test_levels_and_bands_by_hand() -> None:
    kept = store("results", {0: 0.5, 1: 0.7})
    study = find_study("regress")
    group = groups_of(study, kept.find_all(study.cells))[0]
    assert [level(result) for result in group.results] == [0.5, 0.7]
    # The spread of 0.5 and 0.7 is 0.1·√2; of a difference of two means of two, times √(1/2 + 1/2).
    assert band([0.5, 0.7], 2) == pytest.approx(3 * 0.1 * 2**0.5)
    assert band([0.5, 0.5], 2) == 0.08
    assert band([0.5], 2) == 0.08
    verdict = compare(group, group)
    assert verdict.identical
    assert verdict.holds
    assert verdict.fresh == pytest.approx(0.6)


def test_the_command_holds_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    store("results", {0: 0.6, 1: 0.62, 2: 0.6, 3: 0.62})
    store("same", {0: 0.6, 1: 0.62})
    store("near", {0: 0.65, 1: 0.67})
    store("far", {0: 0.4, 1: 0.42})
    line = ["study", "check", "regress", "--seed", "0,1", "--json", "--fresh"]
    assert main([*line, "same"]) == 0
    out = capsys.readouterr().out
    assert "identical" in out
    assert json.loads(out.splitlines()[-1])["holds"] is True
    assert main([*line, "near"]) == 0
    assert "identical" not in capsys.readouterr().out.splitlines()[2]
    assert main([*line, "far"]) == 3
    out, err = capsys.readouterr()
    assert "FAILS" in out
    assert "outside the band of results/regress" in err


def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "check", "regress"]) == 2
    assert "--fresh: missing" in capsys.readouterr().err
    assert main(["study", "check", "regress", "--fresh", "f"]) == 2
    assert "results/regress has no dense" in capsys.readouterr().err
    store("results", {0: 0.6})
    assert main(["study", "check", "regress", "--fresh", "f"]) == 2
    assert "f/regress has no dense; first: mast study run" in capsys.readouterr().err


def test_what_cannot_be_won_is_not_held_to_anything(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("results", "fresh"):
        kept = ResultFolder(Path(folder) / "regress")
        for cell in find_study("regress").cells:
            kept.write(cell, CellFiles(row(None), "env_steps,win_rate,return\n1000,,1\n"))
    assert main(["study", "check", "regress", "--fresh", "fresh"]) == 2
    assert "is measured by return: only win rates are held" in capsys.readouterr().err
