"""Several seeds: one vmapped trainer, or one process each."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from played import FakeTrainer, last_json
from rich.console import Console

from mast.cli import main
from mast.commands import several, train
from mast.commands.several_display import RunsDisplay
from mast.commands.summary import mean_summary
from mast.config import Config, load_run_record, resolve
from mast.folders import held
from mast.terminal.live_table import LiveTable
from mast.terminal.output import Output
from mast.training.logging import MetricsWriter
from mast.training.remaining import seconds_left


def test_vmapped_seeds_are_one_trainer(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "smax/3m", "--seeds", "3", "--placement", "vmap", "--out", "r", "--quiet"]
    assert main(line) == 0
    [played] = trainer.made
    assert played.config.placement == "vmap"
    assert played.config.seeds == 3
    assert load_run_record(Path("r"))["settings"]["placement"] == "vmap"


CHILD = """
import json, pathlib, signal, sys, time
line = sys.argv[1:]
get = lambda name: line[line.index(name) + 1]
if line[0] == "train":
    out, seed = pathlib.Path(get("--out")), int(get("--seed"))
    assert "--seeds" in line and "--threads" in line and "--config" in line
else:
    out, seed = pathlib.Path(line[1]), int(line[1].rpartition("-")[2])
assert "--quiet" in line and "--json" in line
out.mkdir(exist_ok=True)
with open(out / "log", "a") as log:
    log.write(line[0] + "\\n")
(out / "config.json").write_text("{}")
if seed in FAILING:
    sys.exit("mast: error: loss is nan")
if WAITING:
    stop = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    (out / "ready").touch()
    while not stop:
        time.sleep(0.02)
print(json.dumps({"env_steps": 100 + seed, "score": seed / 4, "win_rate": None, "out": str(out),
                  "return": 1.0, "parameters": 5, "parameters_dense": 50, "density": 0.1,
                  "flops_train_ratio": 0.1, "flops_inference_ratio": 0.1, "seconds": 1.0,
                  "env_steps_per_second": 3.0, "updates_per_second": None}))
sys.exit(130 if WAITING else 0)
"""


def play_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str = "()", waiting: bool = False
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "child.py"
    script.write_text(f"FAILING = {failing}\nWAITING = {waiting}\n" + CHILD)
    monkeypatch.setattr(several, "PROGRAM", (sys.executable, str(script)))
    monkeypatch.setattr(several, "POLL_SECONDS", 0.02)


SEVERAL = ["train", "smax/3m", "--seeds", "3", "--placement", "process", "--out", "r", "--json"]


def test_seeds_as_processes_come_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play_children(monkeypatch, tmp_path)
    before = os.sched_getaffinity(0)
    assert main(SEVERAL) == 0
    assert os.sched_getaffinity(0) == before
    out = capsys.readouterr().out
    result = last_json(out)
    assert [run["seed"] for run in result["runs"]] == [0, 1, 2]
    assert result["env_steps"] == 101
    assert type(result["env_steps"]) is int
    assert result["score"] == 0.25
    assert result["win_rate"] is None
    assert result["out"] == "r"
    assert "seed-2  finished" in out
    assert "mean of 3 runs: 0.000, 0.250, 0.500" in out
    assert load_run_record(Path("r"))["settings"]["seeds"] == 3
    assert main(SEVERAL) == 2

    assert main(["resume", "r", "--steps", "3e6", "--quiet"]) == 0
    assert Path("r/seed-1/log").read_text() == "train\nresume\n"
    assert load_run_record(Path("r"))["settings"]["steps"] == 3_000_000


def test_a_seed_that_starts_after_an_extension_explores_as_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play_children(monkeypatch, tmp_path)
    assert main([*SEVERAL, "--steps", "20000", "--quiet"]) == 0
    assert main(["resume", "r", "--steps", "3e6", "--quiet"]) == 0
    record = load_run_record(Path("r"))
    assert record["settings"]["epsilon_steps"] == 2_000
    assert resolve(record["given"]).epsilon_steps == 2_000  # what mast train --config r makes of it


def test_notes_are_said_once_when_a_run_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = [*SEVERAL, "--method", "dense", "--sparsity", "0.5"]
    play_children(monkeypatch, tmp_path, failing="(0, 1, 2)")
    assert main(dense) == 1
    assert "note" not in capsys.readouterr().out
    play_children(monkeypatch, tmp_path)
    assert main([*dense, "--out", "again"]) == 0
    assert capsys.readouterr().out.count("note: method dense ignores sparsity = 0.5") == 1


def test_one_failing_seed_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play_children(monkeypatch, tmp_path, failing="(1,)")
    assert main([*SEVERAL, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert [run["seed"] for run in last_json(out)["runs"]] == [0, 2]
    assert err == "seed-1: mast: error: loss is nan\n"


def test_ctrl_c_reaches_the_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play_children(monkeypatch, tmp_path, waiting=True)
    update = several.RunsDisplay.update

    def interrupt_when_ready(display: Any) -> None:
        update(display)
        if Path("r/seed-0/ready").exists():
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(several.RunsDisplay, "update", update)

    monkeypatch.setattr(several.RunsDisplay, "update", interrupt_when_ready)
    assert main(SEVERAL) == 130
    assert "go on with: mast resume r" in capsys.readouterr().out


def test_counts_stay_whole_and_a_run_that_did_not_train_has_no_speed() -> None:
    means = mean_summary(
        [
            {"seed": 0, "updates": 10, "score": 0.5, "env_steps_per_second": None, "return": None},
            {"seed": 1, "updates": 13, "score": 0.25, "env_steps_per_second": 8.0, "return": 1.0},
        ]
    )
    assert means == {"updates": 12, "score": 0.375, "env_steps_per_second": 8.0, "return": None}
    assert type(means["updates"]) is int
    assert mean_summary([{"env_steps_per_second": None}] * 2) == {"env_steps_per_second": None}


def test_every_run_shows_its_own_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (1500.4, None):
        row = {"env_steps": 500_000, "win_rate": 0.25, "return": 3.0, "env_steps_per_second": rate}
        MetricsWriter(tmp_path, tensorboard=False).write(row)
        run = SimpleNamespace(folder=tmp_path, state="running")
        RunsDisplay(Config(environment="smax/3m"), [run], Output({})).update()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("running  500,000 steps 25%  win 0.25  return 3.00  1,500 env steps/s")
    assert second.endswith("return 3.00")


def test_the_table_says_compiling_and_when_a_run_will_be_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[tuple[str, ...]] = []
    monkeypatch.setattr(LiveTable, "draw", lambda table, rows: drawn.extend(rows))
    output = Output({})
    output.console = Console(file=io.StringIO(), force_terminal=True)
    run = SimpleNamespace(folder=tmp_path, state="running")
    with RunsDisplay(Config(environment="smax/3m", steps=10_000), [run], output) as display:
        display.update()
        writer = MetricsWriter(tmp_path, tensorboard=False)
        for steps, seconds in ((1000, 100.0), (2000, 200.0)):
            writer.write({"env_steps": steps, "seconds": seconds, "win_rate": 0.25, "return": 3.0})
        display.update()
    assert drawn[0][1] == "compiling…"
    assert drawn[1][3] == "win 0.25"
    assert drawn[1][6] == "13 min left"  # 8,000 steps at 0.1 s


def test_time_left_shrinks_between_evaluations() -> None:
    rows = [
        {"env_steps": 1000 * k, "seconds": 10.0 * k, "env_steps_per_second": 1.0} for k in (1, 2)
    ]
    assert seconds_left(rows, 5000, 0.0) == 30.0
    assert seconds_left(rows, 5000, 4.0) == 26.0
    assert seconds_left(rows, 5000, 99.0) == 0.0
    assert seconds_left(rows[:1], 5000, 0.0) == 4000.0  # one evaluation: its own speed
    assert seconds_left([], 5000, 0.0) is None


def test_a_refused_command_leaves_a_live_run_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second command is typed before the first one has written anything."""
    play_children(monkeypatch, tmp_path)
    monkeypatch.setattr(train, "check_new", lambda out: None)
    assert main([*SEVERAL, "--seed", "0", "--quiet"]) == 0
    before = Path("r/config.json").read_bytes()
    assert main([*SEVERAL, "--seed", "10"]) == 2
    with held(Path("r"), print):
        assert main([*SEVERAL, "--seed", "10"]) == 2
        assert main(["resume", "r", "--steps", "9e6"]) == 2
    assert Path("r/config.json").read_bytes() == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks for Linux's prctl")
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from mast.child_process import ending_with_parent
line = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
child = subprocess.Popen(ending_with_parent(line))
child.wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()  # the child's
        parent.kill()
        assert parent.stdout.read() == ""  # which ends when the child has ended too
