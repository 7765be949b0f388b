"""What a checkpoint knows of the files beside it: settings, metrics.csv, policies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mast.errors import UserError
from mast.runs.trainer import Trainer
from training.small_runs import SMALL, assert_same_run, small

pytestmark = pytest.mark.usefixtures("shared_programs")

GIVEN = SMALL | {"steps": 1000, "eval_interval": 250}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, and the same one stopped in the middle."""
    folder = tmp_path_factory.mktemp("runs")
    Trainer(small(**GIVEN), folder / "whole", given=GIVEN).run()
    trainer = Trainer(small(**GIVEN), folder / "stopped", given=GIVEN)
    for metrics in trainer:
        if metrics.env_steps > 550:
            break
    trainer.save()
    trainer.close()
    return folder


@pytest.fixture
def stopped(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs / "stopped", tmp_path / "run"))


def set_setting(run: Path, name: str, value: object) -> None:
    path = run / "config.json"
    record = json.loads(path.read_text())
    record["settings"][name] = value
    path.write_text(json.dumps(record))


def notices_of(run: Path) -> list[str]:
    trainer = Trainer.resume(run)
    trainer.close()
    return trainer.notices


def test_a_changed_setting_is_refused_and_nothing_is_written(stopped: Path) -> None:
    set_setting(stopped, "learning_rate", 0.25)
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match=r"config.json: learning_rate = 0.25, but the run was trained with 0.00\d+:"
    ):
        Trainer.resume(stopped)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_what_does_not_make_another_run_is_only_said(stopped: Path) -> None:
    set_setting(stopped, "checkpoint_interval", 7.0)
    assert "checkpoint_interval 0.0 → 7.0 since the last checkpoint" in notices_of(stopped)


def first_row_edited(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace(",", ",1", 1)
    path.write_text("".join(lines))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited": (first_row_edited, "is not what the checkpoint left"),
    "shorter": (
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:2])),
        "is not what the checkpoint left",
    ),
    "odd line": (lambda path: path.write_text(path.read_text() + "1,x\n"), "line 4 is no row"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe\n"), "is no text"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    "gone": (lambda path: path.unlink(), "is gone"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_metrics_are_put_back_from_the_checkpoint(runs: Path, stopped: Path, damage: str) -> None:
    path = stopped / "metrics.csv"
    assert len(path.read_text().splitlines()) == 3
    change, said = DAMAGE[damage]
    change(path)
    trainer = Trainer.resume(stopped)
    [notice] = [line for line in trainer.notices if "put back" in line]
    assert said in notice
    assert (stopped / "metrics.csv.1").exists() == (damage != "gone")
    trainer.run()
    assert_same_run(runs / "whole", stopped)


def test_rows_of_another_run_before_the_first_evaluation_are_noticed(tmp_path: Path) -> None:
    """The checkpoint knows that there were none."""
    trainer = Trainer(small(**GIVEN), tmp_path / "run", given=GIVEN)
    next(iter(trainer))
    trainer.close()
    path = tmp_path / "run" / "metrics.csv"
    assert not path.exists()
    path.write_text("env_steps,win_rate\n10,1.0\n")
    assert any("put back" in line for line in notices_of(tmp_path / "run"))
    assert (tmp_path / "run" / "metrics.csv.1").exists()


def test_rows_after_the_checkpoint_are_nothing_odd(runs: Path, stopped: Path) -> None:
    """A run that is killed has them, and a best policy from there."""
    for name in ("policy.safetensors", "policy-best.safetensors"):
        shutil.copy(runs / "whole" / name, stopped / name)
    rows = (runs / "whole" / "metrics.csv").read_text().splitlines(keepends=True)
    (stopped / "metrics.csv").write_text((stopped / "metrics.csv").read_text() + "".join(rows[3:]))
    trainer = Trainer.resume(stopped)
    assert not any(word in line for line in trainer.notices for word in ("metrics", "policy"))
    trainer.run()
    assert_same_run(runs / "whole", stopped)


def test_a_damaged_policy_is_said_and_made_again(stopped: Path) -> None:
    before = (stopped / "policy.safetensors").read_bytes()
    for name in ("policy.safetensors", "policy-best.safetensors"):
        (stopped / name).write_bytes(b"x")
    trainer = Trainer.resume(stopped)
    last, best = (line for line in trainer.notices if "policy" in line)
    assert last.endswith("policy.safetensors is not the one that this run wrote")
    assert "kept as policy-best.safetensors.1: the best evaluation from here on" in best
    assert (stopped / "policy.safetensors").read_bytes() == before
    trainer.run()
    assert (stopped / "policy-best.safetensors").exists()
