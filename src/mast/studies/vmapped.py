"""Cells that differ only in their seed as one vmapped program, for a GPU. Imports no JAX.

The first that is started trains all: `mast train --seeds N --placement vmap`. It holds the others' locks
meanwhile, and puts each seed's folder where the cell's own would be, so that the others are found finished.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mast.studies.cell import Cell
from mast.studies.job import Progress
from mast.studies.processes import run_arguments
from mast.studies.results import CellFiles
from mast.studies.run_result import files_of_run
from mast.studies.training_process import PROGRAM, TrainingProcess, locked, progress_of

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")
_GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "jax_rocm60_plugin")


def has_gpu() -> bool:
    """Whether there is a GPU and a JAX that can use it; told without importing JAX."""
    device = any(os.path.exists(path) for path in _GPU_DEVICES)
    return device and any(importlib.util.find_spec(name) is not None for name in _GPU_PLUGINS)


def together(cell: Cell, cells: Sequence[Cell], work: Path) -> list[Cell]:
    """The cells to train with this one: of its group, of consecutive seeds, none of them begun alone.

    Args:
        cell: that is started.
        cells: those that are wanted.
        work: folder of the study's run folders.

    Returns:
        in the order of their seeds; this one alone where it has begun alone or begins with another cell.
    """
    if cell.source is not None or (work / cell.name / "config.json").exists():
        return [cell]
    alike = {
        other.config.seed: other
        for other in cells
        if other.group == cell.group and not (work / other.name / "config.json").exists()
    } | {cell.config.seed: cell}
    first = last = cell.config.seed
    while first - 1 in alike:
        first -= 1
    while last + 1 in alike:
        last += 1
    return [alike[seed] for seed in range(first, last + 1)]


class VmappedJob:
    """Several seeds of a cell as one child process.

    Args:
        cell: that was asked for, among `cells`.
        cells: of consecutive seeds.
        work: folder of the study's run folders.
        program: that trains; `mast` of this Python by default.
    """

    def __init__(
        self, cell: Cell, cells: Sequence[Cell], work: Path, program: Sequence[str] | None = None
    ) -> None:
        self.cell, self._cells, self._work = cell, cells, work
        first, last = cells[0].config.seed, cells[-1].config.seed
        self._run = work / f"{cell.map}-{cell.density_name}-{cell.group}-s{first}to{last}"
        self._process: TrainingProcess | None = None
        self._trouble = ""
        work.mkdir(parents=True, exist_ok=True)
        self._locks = _locked_together([work / f"{each.name}.lock" for each in cells])
        if self._locks:
            command = [*(PROGRAM if program is None else program), *self._arguments()]
            log = self._run.with_name(self._run.name + ".log")
            self._process = TrainingProcess(command, log, None, self._locks)

    def _arguments(self) -> list[str]:
        options = {"seeds": str(len(self._cells)), "placement": "vmap", "execution": "masked"}
        return run_arguments(self._cells[0], self._run, None, options)

    def poll(self) -> str:
        """As `Job` says; the seeds' folders are put in their places once it is finished."""
        if self._trouble:
            return "failed"
        if self._process is None:
            return "busy"
        state = self._process.poll()
        if state == "finished":
            try:
                self._put_in_place()
            except OSError as error:
                self._trouble = f"{self._run}: {error.strerror}"
                return "failed"
        return state

    def _put_in_place(self) -> None:
        for each in self._cells:
            trained = self._run / f"seed-{each.config.seed}"
            if trained.exists():
                trained.rename(self._work / each.name)

    def progress(self) -> Progress:
        """From the metrics of its own seed."""
        run = self._run / f"seed-{self.cell.config.seed}"
        return progress_of(run, self.cell.config.steps)

    def files(self) -> CellFiles:
        """What to keep of its own seed."""
        return files_of_run(self._work / self.cell.name, self.cell)

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
        """Lets go of all its cells."""
        for lock in self._locks:
            lock.close()
        self._locks = []


def _locked_together(paths: Sequence[Path]) -> list[IO[bytes]]:
    """All files locked, or none of them: an empty list."""
    locks: list[IO[bytes]] = []
    for path in paths:
        lock = locked(path)
        if lock is None:
            for each in locks:
                each.close()
            return []
        locks.append(lock)
    return locks
