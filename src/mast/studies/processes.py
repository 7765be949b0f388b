"""Cells as processes of this machine: `mast train` or `mast resume`, one core each. Imports no JAX."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from mast.config import load_run_config
from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.job import Progress, last_lines
from mast.studies.results import CellFiles
from mast.studies.run_result import check_is_cell, files_of_run, is_finished
from mast.training.checkpoint import FOLDER_NAME as CHECKPOINTS
from mast.training.logging import read_metrics

PROGRAM = (sys.executable, "-m", "mast")
CHECKPOINT_SECONDS = 60.0
KEEP = ("everything", "policy")
"""What stays of a finished cell's run folder: everything, or all but checkpoints and TensorBoard's events."""
_PRUNED = (CHECKPOINTS, "tensorboard")
_SET_PARENT_DEATH_SIGNAL = 1
"""Linux: prctl's PR_SET_PDEATHSIG."""


def run_arguments(
    cell: Cell, run: Path, source: Path | None, options: Mapping[str, str]
) -> list[str]:
    """What to type after `mast` to start a cell, or to go on with it.

    Args:
        cell: the cell.
        run: its folder.
        source: folder of the run that it begins with, where it does.
        options: of the machine: threads, execution.
    """
    if (run / "config.json").exists():
        return ["resume", str(run), "--quiet", "--json"]
    words = ["train", str(cell.config.environment)]
    settings = {"checkpoint_interval": CHECKPOINT_SECONDS, **cell.given, **options}
    settings.pop("environment")
    for name, value in settings.items():
        words += ["--" + name.replace("_", "-"), _typed(value)]
    if source is not None:
        words += ["--from", str(source)]
    return [*words, "--out", str(run), "--quiet", "--json"]


def _typed(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


class ProcessJob:
    """A cell as a child process; it holds the cell's lock until both it and this object are gone.

    Args:
        cell: to compute.
        work: folder of the study's run folders.
        core: to pin it to; None leaves it to the system.
        execution: as `mast train --execution`.
        program: that trains; `mast` of this Python by default.
    """

    def __init__(
        self,
        cell: Cell,
        work: Path,
        core: int | None,
        execution: str,
        program: Sequence[str] | None = None,
    ) -> None:
        self.cell, self.run = cell, work / cell.name
        self._program = PROGRAM if program is None else program
        self._log_path = work / f"{cell.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""
        work.mkdir(parents=True, exist_ok=True)
        self._lock: IO[bytes] | None = _locked(work / f"{cell.name}.lock")
        self._was_finished = False
        if self._lock is not None:
            try:
                self._begin(work, core, execution)
            except UserError as error:
                self._trouble = str(error)

    def _begin(self, work: Path, core: int | None, execution: str) -> None:
        source = None if self.cell.source is None else work / self.cell.source.name
        if (self.run / "config.json").exists():
            check_is_cell(self.run, self.cell)
            self._was_finished = is_finished(self.run)
            if self._was_finished:
                return
        elif source is not None and not (source / CHECKPOINTS).exists():
            raise UserError(
                f"{source} is missing: {self.cell.name} begins with it (run it with --keep everything)"
            )
        options = {"threads": "1", "execution": execution}
        assert self._lock is not None
        with self._log_path.open("wb") as log:
            self._process = _start(
                [*self._program, *run_arguments(self.cell, self.run, source, options)],
                log,
                core,
                self._lock.fileno(),
            )

    def poll(self) -> str:
        """As `Job` says."""
        if self._trouble:
            return "failed"
        if self._was_finished:
            return "finished"
        if self._process is None:
            return "busy"
        code = self._process.poll()
        if code is None:
            return "running"
        # A child that is asked before it can save dies of the signal.
        stopped = code in (130, -signal.SIGINT, -signal.SIGTERM)
        return "finished" if code == 0 else "interrupted" if stopped else "failed"

    def progress(self) -> Progress:
        """From its metrics.csv."""
        rows = read_metrics(self.run) if self.run.exists() else []
        if not rows:
            return Progress()
        return Progress(int(rows[-1]["env_steps"] or 0), rows[-1]["win_rate"])

    def files(self) -> CellFiles:
        """What to keep of it."""
        return files_of_run(self.run, self.cell)

    def complaint(self) -> str:
        """What it wrote last."""
        if self._trouble:
            return self._trouble
        return last_lines(self._log_path.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """Asks it to save after the round it is in.

        Not by SIGINT, which a child of a background job ignores until it sets its own handler.
        """
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it; its last checkpoint stands."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """Lets go of the cell."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def _locked(path: Path) -> IO[bytes] | None:
    """The file, locked for this process and the children that inherit it; None where another has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _start(
    command: Sequence[str], log: IO[bytes], core: int | None, lock: int
) -> subprocess.Popen[bytes]:
    """A child on its core that is told to save and end should this process be killed."""
    before = os.sched_getaffinity(0) if core is not None else set()
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C reaches it once, through us
            pass_fds=(lock,),
            preexec_fn=_end_with_parent(),
        )
    finally:
        if core is not None:
            os.sched_setaffinity(0, before)


def _end_with_parent() -> Callable[[], object] | None:
    """What a child does first so that the system ends it (it saves) when its parent dies; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)  # loaded before the fork: nothing is imported after it
    return lambda: library.prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))


def cores() -> list[int]:
    """The cores that this process may use; empty where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))


def prune(run: Path) -> None:
    """Leaves a finished run's settings, metrics, policies and snapshots, without its checkpoints."""
    load_run_config(run)  # nothing is deleted in a folder that is no run
    for name in _PRUNED:
        shutil.rmtree(run / name, ignore_errors=True)
