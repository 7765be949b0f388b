"""Kill -9 and signals: whatever ends a training, it goes on to the same bits."""

import atexit
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from campaign.made_run import restored
from campaign.trial import Trial
from mast.config import write_run_record
from mast.training.logging import read_metrics
from training.small_runs import SMALL, assert_same_run, small
from training.test_checkpoint import (
    SAVING_PROGRAM,
    assert_same_ring,
    assert_same_state,
    filled_ring,
    small_state,
)

ROOT = Path(__file__).parents[2]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def mast(*words: str) -> list[str]:
    """The command line of a new process."""
    return [sys.executable, "-m", "mast", *words]


def kill_while_saving(delay: float, folder: Path) -> None:
    """A process that does nothing but save: what it has announced is there."""
    with subprocess.Popen(
        [sys.executable, "-c", SAVING_PROGRAM, str(folder)],
        cwd=ROOT / "tests" / "training",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        announced = int(process.stdout.readline())
        time.sleep(delay)
        process.kill()
        announced = max([announced, *map(int, process.stdout.read().split())])
    found, ring = restored(folder)
    assert found is not None
    assert found.step >= announced
    assert_same_state(found.state, small_state(found.step))
    assert_same_ring(ring, filled_ring(found.step))


@cache
def uninterrupted() -> Path:
    """A run that nothing disturbed."""
    folder = Path(tempfile.mkdtemp(prefix="mast-campaign-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_settings(folder)
    subprocess.run(mast("resume", str(folder), "--quiet"), cwd=ROOT, check=True)
    return folder


def write_settings(run: Path) -> None:
    """A run that has only its config.json: `mast resume` starts it."""
    write_run_record(run, small(), SMALL)


def stop_and_go_on(number: int, seed: int, folder: Path) -> None:
    """Sends a signal at random moments, resumes each time, and compares the end."""
    chance = random.Random(seed)
    wanted = uninterrupted()
    run = folder / "run"
    run.mkdir()
    write_settings(run)
    for _ in range(3):
        rows = len(read_metrics(run)) + chance.randint(0, 2)
        process = subprocess.Popen(
            mast("resume", str(run), "--quiet"),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if (run / "checkpoints").exists() and len(read_metrics(run)) >= rows:
                break
            time.sleep(0.01)
        time.sleep(chance.random())
        if process.poll() is None:
            os.kill(process.pid, number)
        _, err = process.communicate()
        assert "Traceback" not in err, err
        assert process.returncode in (0, 130, -number), err
    done = subprocess.run(mast("resume", str(run), "--quiet"), cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, wanted)


def interrupt_while_starting(delay: float, folder: Path) -> None:
    """Ctrl-C a moment after a command was typed: one line or nothing."""
    process = subprocess.Popen(
        mast("methods"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    # Python's own start is not ours, nor is the moment before `main` is called.
    assert "in main" not in err, err
    assert process.returncode in (0, 1, 130, -signal.SIGINT)


def trials(long: bool) -> Iterator[Trial]:
    """Short: a process killed while it saves. Long: whole trainings too."""
    for delay in [0.05 * n for n in range(20 if long else 1)]:
        yield Trial(
            "kill -9 while saving", f"after {delay:.2f} s", partial(kill_while_saving, delay)
        )
    if not long:
        return
    for delay in [0.02 * n for n in range(60)]:
        play = partial(interrupt_while_starting, delay)
        yield Trial("Ctrl-C while starting", f"after {delay:.2f} s", play)
    for seed in range(8):
        play = partial(stop_and_go_on, signal.SIGKILL, seed)
        yield Trial("kill -9 and resume", f"seed {seed}", play)
    for number in STOPS:
        for seed in range(3):
            play = partial(stop_and_go_on, number, seed)
            yield Trial("signals and resume", f"{number.name}, seed {seed}", play)
