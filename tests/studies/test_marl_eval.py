"""The export for marl-eval: its nesting, lists and names."""

import json
from pathlib import Path

import pytest
from study_cells import row, small_study
from test_study_report import SCORES, lite

from mast.cli import main
from mast.studies.groups import panels_of
from mast.studies.marl_eval import marl_eval_data
from mast.studies.results import CellFiles, ResultFolder


def test_the_format_is_marl_evals() -> None:
    study, results = lite()
    data = marl_eval_data(panels_of(study, results))
    assert set(data) == {"smax"}
    assert set(data["smax"]) == {"3m", "2s3z"}
    assert set(data["smax"]["3m"]) == {f"qmix_{method}" for method in SCORES}
    runs = data["smax"]["3m"]["qmix_mast"]
    assert set(runs) == {"seed_0", "seed_1"}
    run = runs["seed_0"]
    assert list(run) == [*(f"step_{number}" for number in range(5)), "absolute_metrics"]
    first = {"step_count": 1000, "elapsed_time": 0.0, "win_rate": [0.85], "return": [17.0]}
    assert run["step_0"] == first
    assert run["absolute_metrics"] == {"win_rate": [pytest.approx(0.85)], "return": [17.0]}


def test_what_is_drawn_from_a_policy_is_there_too() -> None:
    settings = {"environment": "lbf/lbf1", "algorithm": "maa2c", "steps": 2000}
    study = small_study(settings=settings, cells=[{}], seeds=1)
    curve = "env_steps,win_rate,return,sampled_return\n1000,,0.5,0.75\n2000,,0.5,0.25\n"
    result = ResultFolder(Path("kept")).write(study.cells[0], CellFiles(row(None), curve))
    data = marl_eval_data(panels_of(study, [result]))
    run = data["lbf"]["lbf1"]["maa2c_dense"]["seed_0"]
    assert run["step_0"]["sampled_return"] == [0.75]
    assert run["absolute_metrics"] == {"return": [0.5], "sampled_return": [result.number]}


def test_the_command_writes_it() -> None:
    lite({"dense": (0.5,)})
    line = ["study", "report", "table1-lite", "--html", "r.html", "--marl-eval", "out/m.json"]
    assert main([*line, "--map", "3m", "--quiet"]) == 0
    data = json.loads(Path("out/m.json").read_text())
    assert list(data["smax"]) == ["3m"]
