"""Cells as processes, with a played `mast`: arguments, locks, resuming, stopping, a killed runner."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_cells import small_study, wait_until
from test_study_results import finished_run

from mast.commands.options import given_settings, parse
from mast.commands.train import TRAIN
from mast.config import resolve, write_run_record
from mast.studies import processes, vmapped
from mast.studies.processes import CpuTime, ProcessJob, prune, run_arguments
from mast.studies.training_process import cpu_seconds_of
from mast.studies.vmapped import VmappedJob, together

CHILD = """
import pathlib, signal, sys, time
line = sys.argv[1:]
out = pathlib.Path(line[line.index("--out") + 1] if line[0] == "train" else line[1])
out.mkdir(parents=True, exist_ok=True)
with open(out / "log", "a") as log:
    log.write(" ".join(line) + "\\n")
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
(out / "ready").touch()
if MODE == "fails":
    sys.exit("one\\n" * 20 + "mast: error: loss is nan")
while MODE == "waits" and not stop:
    time.sleep(0.01)
(out / "saved").touch()
sys.exit(130 if stop else 0)
"""


def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"MODE = {mode!r}\n" + CHILD)
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(script)))


def job_of(work: Path = Path("work")) -> ProcessJob:
    core = min(os.sched_getaffinity(0))
    return ProcessJob(small_study().cells[2], work, core, "auto")


def ended(job: ProcessJob) -> bool:
    return wait_until(lambda: job.poll() != "running")


def test_a_cell_is_trained_with_its_own_settings_on_one_thread() -> None:
    cell = small_study().cells[2]
    words = run_arguments(cell, Path("work/run"), None, {"threads": "1", "execution": "auto"})
    assert words[:2] == ["train", "smax/3m"]
    assert words[-4:] == ["--out", "work/run", "--quiet", "--json"]
    text = " ".join(words)
    for each in ("--method mast", "--sparsity 0.9", "--seed 0", "--steps 2000", "--threads 1"):
        assert each in text


def test_whatever_a_study_can_say_of_a_cell_reaches_its_process() -> None:
    settings = {
        "environment": "lbf/lbf1",
        "algorithm": "maa2c",
        "sharing": "snp",
        "env_args": {"size": 10, "fast": True, "name": "x", "share": 0.5},
        "snapshots": [[0.0, 0.5]],
        "prune_ratio": [[0.0, 0.1, 0.25]],
        "state_last_action": False,
    }
    cell = small_study(settings={}, cells=[settings]).cells[0]
    typed = parse(TRAIN, run_arguments(cell, Path("work/run"), None, {})[1:])
    config = resolve(given_settings(typed) | {"checkpoint_interval": 30.0})
    assert config == cell.config


def test_a_cell_as_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    play(monkeypatch, tmp_path, "finishes")
    before = os.sched_getaffinity(0)
    job = job_of()
    assert ended(job)
    assert job.poll() == "finished"
    assert os.sched_getaffinity(0) == before
    job.close()
    log = (Path("work") / job.cell.name / "log").read_text()
    assert log.startswith("train smax/3m")


@pytest.mark.parametrize("metrics", ["", "damaged\n"])
def test_a_started_cell_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, metrics: str
) -> None:
    """Also where its metrics.csv is damaged: resuming puts that back."""
    play(monkeypatch, tmp_path, "finishes")
    cell = small_study().cells[2]
    run = Path("work") / cell.name
    run.mkdir(parents=True)
    write_run_record(run, cell.config, cell.given)
    (run / "metrics.csv").write_text(metrics)
    job = job_of()
    assert ended(job)
    assert (run / "log").read_text() == f"resume {run} --quiet --json\n"
    job.close()


def test_the_folder_of_another_run_is_not_touched(tmp_path: Path) -> None:
    cell = small_study().cells[2]
    run = Path("work") / cell.name
    run.mkdir(parents=True)
    write_run_record(run, resolve({"environment": "smax/3m"}), {"environment": "smax/3m"})
    job = job_of()
    assert job.poll() == "failed"
    assert "is not cell" in job.complaint()
    job.close()


def test_a_finished_folder_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROGRAM", ("/nowhere",))
    cell = small_study().cells[0]
    finished_run(Path("work") / cell.name, [0.5, 0.75])
    job = ProcessJob(cell, Path("work"), None, "auto")
    assert job.poll() == "finished"
    assert job.files().row["score"] == 0.625
    assert job.progress().env_steps == 2000
    job.close()


def test_a_failed_cell_says_its_last_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    play(monkeypatch, tmp_path, "fails")
    job = job_of()
    assert ended(job)
    assert job.poll() == "failed"
    assert job.complaint().splitlines()[-1] == "mast: error: loss is nan"
    assert len(job.complaint().splitlines()) == 8
    job.close()


def test_two_runners_never_have_the_same_cell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(monkeypatch, tmp_path, "waits")
    first, second = job_of(), job_of()
    assert (first.poll(), second.poll()) == ("running", "busy")
    second.close()
    assert wait_until((Path("work") / first.cell.name / "ready").exists)
    first.stop()
    assert ended(first)
    assert first.poll() == "interrupted"
    first.close()
    third = job_of()
    assert third.poll() == "running"
    third.kill()
    third.close()


HOLDER = """
import sys, time
sys.path[:0] = {path!r}
from mast.studies import processes, vmapped
from study_cells import small_study, wait_until
from pathlib import Path
processes.PROGRAM = (sys.executable, {script!r})
job = processes.ProcessJob(small_study().cells[2], Path("work"), None, "auto")
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a child")
def test_a_killed_runner_leaves_no_process_and_no_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(monkeypatch, tmp_path, "waits")
    path = [str(Path(__file__).parent), *sys.path]
    code = HOLDER.format(path=path, script=str(tmp_path / "child.py"))
    holder = subprocess.Popen([sys.executable, "-c", code])
    run = Path("work") / small_study().cells[2].name
    assert wait_until((run / "ready").exists)
    assert job_of().poll() == "busy"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert wait_until((run / "saved").exists)

    def is_free() -> bool:
        job = job_of()
        state = job.poll()
        job.kill()
        job.close()
        return state == "running"

    assert wait_until(is_free)


def test_pruning_leaves_what_is_small(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", [0.5])
    for name in ("checkpoints", "tensorboard", "snapshots"):
        (run / name).mkdir()
    (run / "policy.safetensors").touch()
    prune(run)
    left = {path.name for path in run.iterdir()}
    assert left == {"config.json", "metrics.csv", "policy.safetensors", "snapshots"}


VMAPPED = """
import sys
sys.path[:0] = PATH
from pathlib import Path
from test_study_results import finished_run
line = sys.argv[1:]
get = lambda name: line[line.index(name) + 1]
assert get("--placement") == "vmap" and "--threads" not in line
for seed in range(int(get("--seed")), int(get("--seed")) + int(get("--seeds"))):
    finished_run(Path(get("--out")) / f"seed-{seed}", [seed / 4], seed=seed)
"""


def test_seeds_of_a_gpu_are_one_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"PATH = {[str(Path(__file__).parent)]!r}\n" + VMAPPED)
    program = (sys.executable, str(script))
    cells, work = small_study(seeds=3).cells, Path("work")
    seeds = together(cells[1], cells, work)
    assert [cell.config.seed for cell in seeds] == [0, 1, 2]
    job = VmappedJob(cells[1], seeds, work, program)
    assert ProcessJob(cells[0], work, None, "auto").poll() == "busy"
    assert wait_until(lambda: job.poll() != "running", 60.0)
    assert job.poll() == "finished"
    assert job.files().row["score"] == 0.25
    job.close()
    other = ProcessJob(cells[2], work, None, "auto")  # found finished: nothing is started
    assert other.poll() == "finished"
    assert other.files().row["score"] == 0.5
    other.close()


def test_only_consecutive_seeds_that_have_not_begun_are_together(tmp_path: Path) -> None:
    cells, work = small_study(seeds=[0, 1, 2, 4]).cells, Path("work")
    dense = [cell for cell in cells if cell.config.method == "dense"]
    assert [c.config.seed for c in together(dense[0], cells, work)] == [0, 1, 2]
    assert together(dense[3], cells, work) == [dense[3]]
    finished_run(work / dense[1].name, [0.5], seed=1)
    assert together(dense[0], cells, work) == [dense[0]]
    assert together(dense[1], cells, work) == [dense[1]]
    assert vmapped.has_gpu() in (True, False)


def test_processor_time_is_added_up_over_sessions(tmp_path: Path) -> None:
    path = tmp_path / "cell.cpu"
    first = CpuTime(path, is_new=True)
    first.session = 2.5
    first.keep()
    second = CpuTime(path, is_new=False)
    second.session = 1.5
    assert second.total == 4.0
    unknown = CpuTime(tmp_path / "by-hand.cpu", is_new=False)
    unknown.session = 3.0
    unknown.keep()
    assert unknown.total is None
    assert not (tmp_path / "by-hand.cpu").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_processor_time_of_a_process() -> None:
    mine = cpu_seconds_of(os.getpid())
    assert mine is not None
    assert mine == pytest.approx(sum(os.times()[:2]), abs=0.1)
    assert cpu_seconds_of(2**22 + 1) is None
