"""Rows and curves: written whole, found by their hash, refused when damaged; and only of the right run."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_cells import files, small_study

from mast.algorithms.registry import algorithm_entry
from mast.config import resolve, write_run_record
from mast.configuration.record import RecordedTeam, without_folders
from mast.errors import UserError
from mast.execution.account import account_of
from mast.execution.environment import environment_of
from mast.studies.results import CellFiles, ResultFolder, curve_text
from mast.studies.run_result import check_is_cell, environment_identity, files_of_run, is_finished
from mast.studies.study import read_study
from mast.training.logging import columns_with


def finished_run(run: Path, wins: list[float], **given: Any) -> Path:
    """The folder of a run that has taken its 2,000 steps, without checkpoints."""
    run.mkdir(parents=True)
    settings = {"environment": "smax/3m", "steps": 2000, "method": "dense", **given}
    config = resolve(settings)
    write_run_record(run, config, settings)
    columns = columns_with(algorithm_entry(config.algorithm).columns)
    lines = [",".join(columns)]
    for number, win in enumerate(wins, 1):
        values = dict.fromkeys(columns, "0.5") | {"win_rate": str(win), "seconds": str(number)}
        values |= {"env_steps": str(2000 * number // len(wins)), "episodes": "9", "updates": "8"}
        if config.environment.startswith(
            "lbf/"
        ):  # nothing is won there; one number tells which is which
            values |= {"win_rate": "", "sampled_win_rate": "", "sampled_return": "7.25"}
        lines.append(",".join(values[name] for name in columns))
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    return run


def test_a_row_is_found_by_its_hash(tmp_path: Path) -> None:
    folder, cells = ResultFolder(tmp_path / "small"), small_study().cells
    assert folder.find(cells[0]) is None
    written = folder.write(cells[0], files(0.25))
    written.path.rename(written.path.with_name(f"renamed-{cells[0].key}.json"))
    written.path.with_suffix(".csv").rename(written.path.with_name(f"renamed-{cells[0].key}.csv"))
    found = folder.find(cells[0])
    assert found is not None
    assert found.score == 0.25
    np.testing.assert_array_equal(found.curve["env_steps"], [1000.0])
    assert found.diagnostics == []
    assert [r.cell.key for r in folder.find_all(cells)] == [cells[0].key]
    assert not list(folder.folder.glob("*.partial"))


def test_the_number_of_a_policy_that_draws_its_actions_is_its_sampled_return(
    tmp_path: Path,
) -> None:
    given = {"environment": "lbf/lbf1", "algorithm": "maa2c"}
    run = finished_run(tmp_path / "run", [0.0, 0.0], seed=0, **given)
    study = read_study(
        "forage",
        {"title": "Forage", "seeds": 1, "settings": {**given, "steps": 2000}, "cells": [{}]},
        "",
    )
    cell = study.cells[0]
    result = ResultFolder(tmp_path / "kept").write(cell, files_of_run(run, cell))
    assert result.measure == "sampled_return"
    assert result.number == 7.25
    assert {"sampled_return", "train_return", "entropy"} <= result.curve.keys()
    assert "q_tot" not in result.curve


def test_a_row_names_no_folder_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["/opt/tool/mast", "train", "smax/3m", "--out", "/data/me/r", "--from=/data/me/a b"]
    monkeypatch.setattr(sys, "argv", [*typed, "--config", "here/c.json"])
    run = finished_run(tmp_path / "run", [0.5], seed=0, sparsity=0.9)
    command = files_of_run(run, small_study().cells[0]).row["command"]
    assert command == "mast train smax/3m --out r '--from=a b' --config here/c.json"
    assert without_folders("/opt/src/mast/__main__.py train smax/3m") == "mast train smax/3m"


def test_no_row_of_the_repository_names_a_folder_of_a_machine() -> None:
    rows = Path(__file__).parents[2] / "results"
    for path in (*rows.rglob("*.json"), *rows.glob("*.csv")):
        assert not re.search(r"[\s\",=']/\w", path.read_text(encoding="utf-8")), path


def test_a_row_appears_only_once_its_curve_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mast.studies import results

    def write(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr(results, "write_atomically", write)
    folder, cell = ResultFolder(tmp_path), small_study().cells[0]
    with pytest.raises(KeyboardInterrupt):
        folder.write(cell, files())
    assert folder.find(cell) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9, "score": 1}', '{"format": 1}'])
def test_a_damaged_row_is_named(tmp_path: Path, text: str) -> None:
    folder, cell = ResultFolder(tmp_path), small_study().cells[0]
    written = folder.write(cell, files())
    written.path.write_text(text)
    with pytest.raises(UserError, match=cell.key):
        folder.find(cell)


def test_a_row_without_its_curve_is_named(tmp_path: Path) -> None:
    folder, cell = ResultFolder(tmp_path), small_study().cells[0]
    folder.write(cell, files()).path.with_suffix(".csv").unlink()
    with pytest.raises(UserError, match=r"its curve .* is missing"):
        folder.find(cell)


def test_the_row_of_a_run(tmp_path: Path) -> None:
    study = small_study()
    wins = [0.0] * 5 + [k / 32 for k in range(20)]
    run = finished_run(tmp_path / "run", wins)
    kept = files_of_run(run, study.cells[0])
    assert kept.row["score"] == pytest.approx(sum(range(20)) / 32 / 20)
    assert kept.row["evaluations"] == 25
    assert kept.row["env_steps"] == 2000
    assert kept.row["seconds"] == 25.0
    assert kept.row["size_ratio"] == 1.0
    assert kept.row["environment"] == "SMAX (jaxmarl 0.2.0), limit 101, reward x10"
    assert kept.row["settings"]["method"] == "dense"
    assert kept.curve.splitlines()[0].startswith("env_steps,episodes,updates,seconds,win_rate")
    assert len(kept.curve.splitlines()) == 26
    json.dumps(kept.row, allow_nan=False)


def test_the_row_of_a_run_in_an_own_environment(tmp_path: Path) -> None:
    given: dict[str, Any] = {"environment": "my.module:Own", "sparsity": 0.9, "steps": 2000}
    study = read_study("own", {"seeds": 1, "settings": given, "cells": [{}]}, "")
    run = finished_run(tmp_path / "run", [0.5], **given, method="mast")
    sizes = RecordedTeam(30, 48, 9, 3, "Own, limit 10, reward x2", ("",) * 3)
    before = files_of_run(run, study.cells[0]).row
    assert before["environment"] == "my.module:Own"
    assert before["parameters"] is None
    write_run_record(run, resolve({**given, "method": "mast"}), given, sizes)
    row = files_of_run(run, study.cells[0]).row
    assert row["environment"] == "Own, limit 10, reward x2"
    account = account_of(study.cells[0].config, sizes)
    assert (row["parameters"], row["size_ratio"]) == (account.parameters, account.size_ratio)
    assert 0.05 < row["flops_train_ratio"] < 0.15


def test_only_the_right_run_becomes_a_cell(tmp_path: Path) -> None:
    cell = small_study().cells[0]
    other = finished_run(tmp_path / "other", [0.5], seed=1)
    with pytest.raises(UserError, match=r"is not cell 3m-qmix-dense-s0-\w+: its seed is 1, not 0"):
        check_is_cell(other, cell)
    settings = finished_run(tmp_path / "settings", [0.5], target_interval=200)
    with pytest.raises(UserError, match="its target_interval is 200, not 50"):
        files_of_run(settings, cell)
    same = finished_run(
        tmp_path / "same", [0.5], threads=1, checkpoint_interval=1, diagnostics=True
    )
    check_is_cell(same, cell)
    several = finished_run(tmp_path / "several", [0.5], seeds=2)
    with pytest.raises(UserError, match="holds 2 runs, name one: seed-0"):
        check_is_cell(several, cell)


def test_an_unfinished_run_is_none(tmp_path: Path) -> None:
    cell = small_study().cells[0]
    run = finished_run(tmp_path / "run", [0.5, 0.5])
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(lines[:-1]))
    assert not is_finished(run)
    with pytest.raises(UserError, match="is not finished; go on with: mast resume"):
        files_of_run(run, cell)


def test_a_run_whose_last_checkpoint_is_missing_must_be_resumed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", [0.5, 0.5])
    (run / "checkpoints").mkdir()
    assert not is_finished(run)


def test_the_environment_says_what_it_is() -> None:
    versions = {"jaxmarl": "0.2.0"}
    config = resolve({"environment": "smax/3m", "reward_scale": 1, "state_last_action": True})
    text = "SMAX (jaxmarl 0.2.0), limit 101, reward x1, last actions in the state"
    assert environment_identity(config, versions) == text
    smac = resolve({"environment": "smax/MMM2", "episode_limit": "smac"})
    assert environment_identity(smac, versions) == "SMAX (jaxmarl 0.2.0), limit 180, reward x10"
    foraging = resolve({"environment": "lbf/8x8-3p-2f", "team_reward": "mean"})
    text = "Level-based foraging (Mast's own, after lbforaging 2.0), limit 50, reward x12"
    mean = f"{text}, mean of the agents' rewards"
    assert (
        environment_identity(foraging, versions) == environment_of(foraging).spec.identity == mean
    )
    joint = resolve({"environment": "lbf/8x8-3p-2f", "algorithm": "maa2c", "rewards": "team"})
    added = f"{text}, sum of the agents' rewards"
    assert environment_identity(joint, versions) == environment_of(joint).spec.identity == added
    own = resolve({"environment": "my.module:Own"})
    assert environment_identity(own, versions) == "my.module:Own"


def test_curves_keep_what_is_not_defined() -> None:
    text = curve_text([{"a": 1, "b": None}, {"a": 2, "b": 0.123456789}], ("a", "b"))
    assert text == "a,b\n1,\n2,0.123457\n"


def test_an_own_environment_has_no_costs(tmp_path: Path) -> None:
    study = small_study(cells=[{"environment": "my.module:Own", "method": "dense"}])
    run = finished_run(tmp_path / "run", [0.5], environment="my.module:Own")
    row = files_of_run(run, study.cells[0]).row
    assert row["flops_train_ratio"] is None
    assert isinstance(files(), CellFiles)
