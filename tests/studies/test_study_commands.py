"""`mast study`: what is printed and refused. Cells are played."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from study_cells import PlayedJob
from test_study_results import finished_run

from mast.cli import main
from mast.commands import study_run as commands
from mast.studies import runner
from mast.studies.progress import running_cells
from mast.studies.runner import Seen

SMALL = """
title = "Small"
seeds = 2
[settings]
environment = "smax/3m"
steps = 2000
method = ["dense", "mast"]
[[cells]]
"""


@pytest.fixture
def small() -> str:
    """The path of a small study of one's own."""
    Path("small.toml").write_text(SMALL)
    return "small.toml"


def play(monkeypatch: pytest.MonkeyPatch, states: dict[str, list[str]] | None = None) -> None:
    def launch(cell: Any, *_: Any) -> PlayedJob:
        return PlayedJob(
            cell, list((states or {}).get(cell.config.method, ["running", "finished"]))
        )

    monkeypatch.setattr(commands, "ProcessJob", launch)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.001)


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_run_show_and_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: str
) -> None:
    play(monkeypatch)
    assert main(["study", "show", small, "--json"]) == 0
    shown = last_json(capsys)
    assert (shown["done"], shown["total"]) == (0, 4)
    assert isinstance(shown["done"], int)
    assert shown["seconds_left"] > 0

    assert main(["study", "run", small, "--only", "method=dense", "--seed", "1", "--json"]) == 0
    done = last_json(capsys)
    assert (done["done"], done["total"], done["left"], done["failed"]) == (1, 1, [], [])
    assert main(["study", "run", small, "--jobs", "3", "--json"]) == 0
    assert last_json(capsys)["done"] == 4
    rows = sorted(path.name for path in Path("results/small").glob("*.json"))
    assert len(rows) == 4

    assert main(["study", "show", small, "--json"]) == 0
    shown = last_json(capsys)
    assert (shown["done"], shown["total"], shown["seconds_left"]) == (4, 4, 0.0)
    assert {cell["score"] for cell in shown["cells"]} == {0.5}


def test_a_results_folder_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: str
) -> None:
    play(monkeypatch)
    for words in (["list"], ["show", small]):
        assert main(["study", *words, "--results", "reslts"]) == 0
        assert "note: --results reslts: no such folder; nothing counts" in capsys.readouterr().out
        assert main(["study", "show", small, "--results", "reslts", "--jobs", "0"]) == 2
        assert capsys.readouterr().out == ""  # no note before an error about the same line
    Path("work").touch()
    assert main(["study", "run", small, "--results", "reslts", "--work", "work"]) == 2
    assert capsys.readouterr().out == ""
    Path("reslts/small").rmdir()
    Path("reslts").rmdir()
    assert main(["study", "run", small, "--results", "reslts"]) == 0
    assert "note: --results reslts: no such folder; it is made" in capsys.readouterr().out
    assert main(["study", "show", small, "--results", "reslts"]) == 0
    assert "note" not in capsys.readouterr().out


def test_the_live_table_says_compiling_the_win_rate_and_the_time_left() -> None:
    assert running_cells(Seen(0.0, None, 130.0)) == ("compiling…", "", "about 2 min left")
    assert running_cells(Seen(0.25, 0.5, 90.0)) == ("25%", "win 0.50", "90 s left")
    assert running_cells(Seen(0.25, None, 90.0)) == ("25%", "", "90 s left")


def test_a_failure_is_said_and_sets_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: str
) -> None:
    play(monkeypatch, {"dense": ["failed"]})
    assert main(["study", "run", small, "--json"]) == 1
    out = capsys.readouterr().out
    assert "mast: error: loss is nan" in out
    result = json.loads(out.splitlines()[-1])
    assert result["done"] == 2
    assert result["failed"][0]["last_lines"] == "mast: error: loss is nan"


def test_a_budget_ends_with_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: str
) -> None:
    play(monkeypatch, {"dense": ["running"], "mast": ["running"]})
    assert main(["study", "run", small, "--budget", "0.01s", "--json"]) == 0
    out = capsys.readouterr().out
    assert "4 left" in out
    assert "go on with: mast study run small.toml" in out
    assert json.loads(out.splitlines()[-1])["stopped"] == "budget"


def test_adopting_a_run(capsys: pytest.CaptureFixture[str], small: str) -> None:
    finished_run(Path("runs/by-hand"), [0.25, 0.75], seed=1, threads=1)
    assert main(["study", "adopt", small, "runs/by-hand", "--json"]) == 0
    [name] = last_json(capsys)["adopted"]
    assert name.startswith("3m-qmix-dense-s1-")
    assert Path("results/small", f"{name}.json").is_file()
    finished_run(Path("runs/other"), [0.5], gradient_clip=5.0)
    assert main(["study", "adopt", small, "runs/other"]) == 2
    assert "its gradient_clip is 5.0, not 10.0" in capsys.readouterr().err
    assert len(list(Path("results/small").glob("*.json"))) == 1


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "list", "--json"]) == 0
    listed = {each["study"]: each for each in last_json(capsys)["studies"]}
    assert listed["table1-lite"]["total"] == 56
    assert main(["study"]) == 0
    assert "study show" in capsys.readouterr().out


REFUSALS = [
    (["study", "shwo"], "unknown command 'study shwo' (did you mean show?)"),
    (["study", "show"], "STUDY: missing; for example table1-lite"),
    (["study", "show", "table1-lit"], "unknown study 'table1-lit' (did you mean table1-lite?)"),
    (["study", "run", "nowhere.toml"], "cannot read nowhere.toml"),
    (["study", "run", "table1-lite", "--budget", "soon"], "budget = soon: must be a time such as"),
    (["study", "run", "table1-lite", "--jobs", "0"], "jobs = 0: must be a whole number at least 1"),
    (["study", "run", "table1-lite", "--only", "map"], "--only map: must look like map=3m"),
    (["study", "run", "table1-lite", "--map", "8m"], "map = 8m: study table1-lite has 3m, 2s3z"),
    (["study", "run", "table1-lite", "--keep", "all"], "keep = all: must be one of everything"),
    (["study", "run", "table1-lite", "--placement", "x"], "placement = x: must be one of auto"),
    (["study", "run", "table1-lite", "--execution", "x"], "execution = x: must be one of auto"),
    (["study", "run", "table1-lite", "--results", "file"], "cannot write to file/table1-lite"),
    (["study", "adopt", "table1-lite"], "RUN: missing; for example"),
    (["study", "adopt", "table1-lite", "nowhere"], "nowhere is no run: no such folder"),
]


@pytest.mark.parametrize(("line", "message"), REFUSALS)
def test_refusals(
    capsys: pytest.CaptureFixture[str], line: list[str], message: str, tmp_path: Path
) -> None:
    Path("file").touch()
    assert main(line) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("setting", ["drop", "growth", "drop_schedule"])
def test_a_rule_of_ones_own_that_is_not_there_is_refused_before_any_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str
) -> None:
    Path("small.toml").write_text(
        SMALL.replace('"dense", "mast"', '"rigl"') + f'{setting} = "nowhere.rules:mine"\n'
    )
    assert main(["study", "run", "small.toml"]) == 2
    assert "nowhere.rules:mine: no module nowhere" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_looking_at_studies_needs_no_jax() -> None:
    code = "import sys\nfrom mast.cli import main\n"
    code += "main(['study', 'list']); main(['study', 'show', 'table1-lite'])\n"
    code += "sys.exit('jax' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )
