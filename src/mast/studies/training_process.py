"""A `mast train` or `mast resume` as a child: on its core, with locks, ending with its parent. No JAX."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mast.child_process import ending_with_parent
from mast.errors import UserError
from mast.files import writing
from mast.folders import lock
from mast.studies.job import Progress, last_lines
from mast.training.logging import FILE_NAME as METRICS
from mast.training.logging import read_metrics
from mast.training.remaining import seconds_left

PROGRAM = (sys.executable, "-m", "mast")


class TrainingProcess:
    """A child whose output goes into a file.

    Args:
        command: program and words.
        log: file for what it prints.
        core: to pin it to; None leaves it to the system.
        locks: files whose locks it inherits, so that they are held as long as it lives.
    """

    def __init__(
        self, command: Sequence[str], log: Path, core: int | None, locks: Sequence[IO[bytes]]
    ) -> None:
        self._log = log
        self._cpu_seconds = 0.0
        with log.open("wb") as file:
            self._process = _start(command, file, core, [lock.fileno() for lock in locks])

    def poll(self) -> str:
        """running, finished, interrupted or failed."""
        self._cpu_seconds = cpu_seconds_of(self._process.pid) or self._cpu_seconds
        code = self._process.poll()
        if code is None:
            return "running"
        # A child that is asked before it can save dies of the signal.
        stopped = code in (130, -signal.SIGINT, -signal.SIGTERM)
        return "finished" if code == 0 else "interrupted" if stopped else "failed"

    @property
    def cpu_seconds(self) -> float:
        """Processor time that it has taken, as of the last `poll`; 0 where the system does not say."""
        return self._cpu_seconds

    def complaint(self) -> str:
        """What it wrote last."""
        return last_lines(self._log.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """Asks it to save after the round it is in.

        Not by SIGINT, which a child of a background job ignores until it sets its own handler.
        """
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it; its last checkpoint stands."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


def cpu_seconds_of(pid: int) -> float | None:
    """Processor time of a process and its threads in seconds; None where the system has no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name stands in brackets and can hold anything; the times are fields 14 and 15.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def progress_of(run: Path, steps: int) -> Progress:
    """How far a run is, by its metrics.csv.

    Args:
        run: its folder.
        steps: that it takes in all.
    """
    try:
        rows = read_metrics(run)
        age = time.time() - (run / METRICS).stat().st_mtime
    except (OSError, UserError):  # damaged: its own process says so
        return Progress()
    if not rows:
        return Progress()
    last = rows[-1]
    return Progress(int(last["env_steps"] or 0), last["win_rate"], seconds_left(rows, steps, age))


def locked(path: Path) -> IO[bytes] | None:
    """The file, locked for this process and the children that inherit it; None where another has it.

    On a file system without locks it is only opened.
    """
    with writing(path):
        file = path.open("ab")
    try:
        lock(file.fileno())
    except BlockingIOError:
        file.close()
        return None
    return file


def _start(
    command: Sequence[str], log: IO[bytes], core: int | None, locks: Sequence[int]
) -> subprocess.Popen[bytes]:
    """A child on its core that is told to save and end should this process be killed."""
    before = os.sched_getaffinity(0) if core is not None else set()
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        return subprocess.Popen(
            ending_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C reaches it once, through us
            pass_fds=tuple(locks),
        )
    finally:
        if core is not None:
            os.sched_setaffinity(0, before)
