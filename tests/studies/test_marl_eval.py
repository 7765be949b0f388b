"""The export for marl-eval: its nesting, lists and names."""

import json
from pathlib import Path

import pytest
from test_study_report import SCORES, lite

from mast.cli import main
from mast.studies.groups import panels_of
from mast.studies.marl_eval import marl_eval_data


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


def test_the_command_writes_it() -> None:
    lite({"dense": (0.5,)})
    line = ["study", "report", "table1-lite", "--html", "r.html", "--marl-eval", "out/m.json"]
    assert main([*line, "--map", "3m", "--quiet"]) == 0
    data = json.loads(Path("out/m.json").read_text())
    assert list(data["smax"]) == ["3m"]
