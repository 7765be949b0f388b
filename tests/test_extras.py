"""A plain install, played by blocking the import of what it does not bring."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import savgol_filter

from mast.cli import main
from mast.studies.statistics import smoothed

CODE = """
import json, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("matplotlib", "tensorboardX"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from mast.cli import main

codes = [main(line) for line in json.loads(sys.argv[1])]
sys.exit(f"exit codes {codes}" if any(codes) else 0)
"""


def test_training_evaluating_and_info_need_no_extra(tmp_path: Path) -> None:
    train = ["train", "examples.pursuit:Pursuit", "--steps", "200", "--out", "r"]
    small = ["--eval-interval", "100", "--eval-episodes", "2", "--hidden-size", "8"]
    lines = [[*train, *small], ["evaluate", "r", "--episodes", "2"], ["info", "r"]]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(lines)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment_with_examples(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no TensorBoard events: tensorboardX is not installed") == 1
    assert (tmp_path / "r" / "metrics.csv").is_file()
    assert not (tmp_path / "r" / "tensorboard").exists()


def environment_with_examples() -> dict[str, str]:
    paths = [str(Path(__file__).parents[1] / name) for name in ("src", ".")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.mark.parametrize(
    "line",
    [
        ["study", "report", "table1-lite", "--html", "r.html"],
        ["study", "report", "table1-lite", "--figures", "f"],
        ["inspect", "runs/any"],
        ["watch", "runs/any", "--out", "team.gif"],
    ],
    ids=" ".join,
)
def test_pictures_without_matplotlib_are_refused_in_one_line(
    line: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(line) == 2
    err = capsys.readouterr().err
    assert "matplotlib, which is not installed: pip install 'mast-marl[report]'" in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_of_ours_needs_scipy() -> None:
    source = Path(__file__).parents[1] / "src"
    for path in source.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) scipy\b", path.read_text(), re.M), path


@pytest.mark.parametrize("length", [4, 5, 9, 20, 21, 22, 60])
def test_the_filter_is_scipys(length: int) -> None:
    values = np.random.default_rng(length).random(length)
    window = min(21, length if length % 2 else length - 1)
    wanted = savgol_filter(values, window, 2) if window > 3 else values
    np.testing.assert_allclose(smoothed(values), wanted, atol=1e-12)
