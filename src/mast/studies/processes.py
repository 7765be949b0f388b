"""Cells as processes of this machine: `mast train` or `mast resume`, one core each. Imports no JAX."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mast.config import load_run_config
from mast.configuration.text import as_typed
from mast.errors import UserError
from mast.files import write_atomically
from mast.studies.cell import Cell
from mast.studies.job import Progress
from mast.studies.results import CellFiles
from mast.studies.run_result import check_is_cell, files_of_run, is_finished
from mast.studies.training_process import PROGRAM, TrainingProcess, locked, progress_of
from mast.training.checkpoint import FOLDER_NAME as CHECKPOINTS

CHECKPOINT_SECONDS = 60.0
KEEP = ("everything", "policy")
"""What stays of a finished cell's run folder: everything, or all but checkpoints and TensorBoard's events."""
_PRUNED = (CHECKPOINTS, "tensorboard")


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
        words += ["--" + name.replace("_", "-"), as_typed(name, value)]
    if source is not None:
        words += ["--from", str(source)]
    return [*words, "--out", str(run), "--quiet", "--json"]


class CpuTime:
    """The processor time of a run over all its sessions, in a small file beside its folder.

    Wall time says little where a core is shared. It is known only of runs that a study has begun.

    Args:
        path: of the file.
        is_new: whether the run begins now.
    """

    def __init__(self, path: Path, *, is_new: bool) -> None:
        self._path = path
        self.session = 0.0
        self._before: float | None = 0.0
        if not is_new:
            try:
                self._before = float(path.read_text())
            except (OSError, ValueError):
                self._before = None

    @property
    def total(self) -> float | None:
        """Seconds; None where an earlier session is not known."""
        return None if self._before is None else self._before + self.session

    def keep(self) -> None:
        """Writes the total, for a later session."""
        if self.total is not None and self.session > 0:
            write_atomically(self._path, f"{self.total:.2f}\n".encode())


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
        self._process: TrainingProcess | None = None
        self._cpu = CpuTime(
            work / f"{cell.name}.cpu", is_new=not (self.run / "config.json").exists()
        )
        self._trouble = ""
        work.mkdir(parents=True, exist_ok=True)
        self._lock = locked(work / f"{cell.name}.lock")
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
            with contextlib.suppress(
                UserError
            ):  # damaged: resuming it mends that, or says what is wrong
                self._was_finished = is_finished(self.run)
            if self._was_finished:
                return
        elif source is not None and not (source / CHECKPOINTS).exists():
            raise UserError(
                f"{source} is missing: {self.cell.name} begins with it (run it with --keep everything)"
            )
        options = {"threads": "1", "execution": execution}
        arguments = run_arguments(self.cell, self.run, source, options)
        assert self._lock is not None
        log = work / f"{self.cell.name}.log"
        self._process = TrainingProcess([*self._program, *arguments], log, core, [self._lock])

    def poll(self) -> str:
        """As `Job` says."""
        if self._trouble:
            return "failed"
        if self._was_finished:
            return "finished"
        if self._process is None:
            return "busy"
        state = self._process.poll()
        self._cpu.session = self._process.cpu_seconds
        return state

    def progress(self) -> Progress:
        """From its metrics.csv."""
        self._cpu.keep()
        return progress_of(self.run, self.cell.config.steps)

    def files(self) -> CellFiles:
        """What to keep of it."""
        return files_of_run(self.run, self.cell, self._cpu.total)

    def complaint(self) -> str:
        """What it wrote last."""
        return self._trouble or ("" if self._process is None else self._process.complaint())

    def stop(self) -> None:
        """Asks it to save after the round it is in."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Ends it; its last checkpoint stands."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Lets go of the cell."""
        if self._lock is not None:
            self._cpu.keep()
            self._lock.close()
            self._lock = None


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
