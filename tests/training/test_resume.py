"""Stopped, killed, damaged or taken up again: the run ends in the same bits, in the programs that users get.

`test_resume_of_every_kind` resumes the other algorithms and kinds of run, whose state is another, in programs
that are compiled quickly.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernels.cases import needs_kernels
from mast.runs.trainer import Trainer
from mast.training.logging import read_metrics
from training.small_runs import SMALL, assert_resumed_bit_for_bit, assert_same_run, small

pytestmark = [pytest.mark.as_shipped, pytest.mark.always]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    Trainer(small(), out, given=SMALL).run()
    return out


def test_the_summary_has_what_the_command_line_promises(uninterrupted: Path) -> None:
    summary = Trainer.resume(uninterrupted).summary()
    promised = (
        "env_steps episodes updates seconds compile_seconds env_steps_per_second updates_per_second "
        "learner_updates_per_second win_rate score return parameters parameters_dense density "
        "flops_train_ratio flops_inference_ratio out"
    )
    assert set(promised.split()) <= set(summary)
    assert summary["env_steps_per_second"] is None  # nothing was trained in this session


def test_resume_after_an_interruption_is_bit_identical(tmp_path: Path, uninterrupted: Path) -> None:
    out = tmp_path / "run"
    trainer = Trainer(small(), out, given=SMALL)
    for metrics in trainer:
        if metrics.env_steps > 1200:
            break
    trainer.save()
    trainer.close()
    resumed = Trainer.resume(out)
    assert not resumed.finished
    resumed.run()
    assert_same_run(out, uninterrupted)


@needs_kernels
def test_a_compact_run_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    given = SMALL | {"execution": "compact", "steps": 1200}
    assert_resumed_bit_for_bit(given, tmp_path, 600)


def test_resume_after_kill_9_is_bit_identical(tmp_path: Path, uninterrupted: Path) -> None:
    """A second process trains the same run and is killed without warning in the middle."""
    out = tmp_path / "run"
    program = (
        "import json, sys\n"
        "from mast import Trainer, resolve\n"
        "given = json.loads(sys.argv[1])\n"
        "Trainer(resolve(given), sys.argv[2], given=given).run()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(SMALL), str(out)], cwd=Path(__file__).parents[2]
    )
    deadline = time.monotonic() + 120
    while len(read_metrics(out)) < 3 and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.poll() is None, "it ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    Trainer.resume(out).run()
    assert_same_run(out, uninterrupted)


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    tmp_path: Path, uninterrupted: Path
) -> None:
    out = tmp_path / "run"
    Trainer(small(), out, given=SMALL).close()
    trainer = Trainer.resume(out)
    assert any("starts again" in notice for notice in trainer.notices)
    trainer.run()
    assert_same_run(out, uninterrupted)


def test_a_damaged_newest_checkpoint_is_passed_over_and_said(
    tmp_path: Path, uninterrupted: Path
) -> None:
    out = tmp_path / "run"
    trainer = Trainer(small(), out, given=SMALL)
    for metrics in trainer:
        if metrics.env_steps > 1200:
            break
    trainer.close()
    newest = sorted((out / "checkpoints").glob("checkpoint-*.json"))[-1]
    newest.write_text(newest.read_text()[:-40])
    resumed = Trainer.resume(out)
    assert any("damaged" in notice for notice in resumed.notices)
    resumed.run()
    assert_same_run(out, uninterrupted)


def test_resuming_a_finished_run_changes_nothing(uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    trainer = Trainer.resume(uninterrupted)
    assert trainer.finished
    assert list(trainer) == []
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before
