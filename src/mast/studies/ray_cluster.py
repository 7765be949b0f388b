"""Cells as tasks of a Ray cluster that is already there: one CPU each. Ray is imported only when asked for.

A task runs its cell as a process of the worker's machine and gives back the row and the curve; only the
machine that asked writes results, so a cell that ran twice counts once. When a worker dies, Ray starts its
task again: on the same machine it goes on from the run's checkpoint, on another it starts afresh.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.job import Progress
from mast.studies.processes import ProcessJob
from mast.studies.results import CellFiles
from mast.studies.training_process import PROGRAM

RETRIES = 5
"""How often Ray starts a cell again whose worker has died."""
POLL_SECONDS = 0.5
CONNECT_SECONDS = 5.0
HANDOVER_SECONDS = 120.0
"""How long a cell waits for the process of a worker that has died, which saves and ends by itself."""


class CellFailedError(Exception):
    """A cell's process has failed; the message is its last lines."""


def compute_cell(
    cell: Cell, work: str, execution: str, program: Sequence[str] | None = None
) -> CellFiles:
    """What a worker does: trains a cell, or goes on with it, and gives back what is kept of it.

    Args:
        cell: to compute.
        work: folder of run folders on the worker's machine.
        execution: as in `mast train`.
        program: that trains; by default `mast` of the worker's Python.

    Raises:
        CellFailedError: its process has failed.
    """
    job = _begin(cell, Path(work), execution, program or PROGRAM)
    try:
        while (state := job.poll()) == "running":
            time.sleep(POLL_SECONDS)
        if state != "finished":
            raise CellFailedError(job.complaint())
        return job.files()
    except UserError as error:
        raise CellFailedError(str(error)) from None
    finally:
        _end(job)


def _begin(cell: Cell, work: Path, execution: str, program: Sequence[str]) -> ProcessJob:
    deadline = time.monotonic() + HANDOVER_SECONDS
    while True:
        job = ProcessJob(cell, work, None, execution, program)
        if job.poll() != "busy":
            return job
        job.close()
        if time.monotonic() > deadline:
            raise CellFailedError(f"another process of this machine has {work / cell.name}")
        time.sleep(POLL_SECONDS)


def _end(job: ProcessJob) -> None:
    """A task that is cancelled lets its process save first."""
    job.stop()
    deadline = time.monotonic() + HANDOVER_SECONDS
    while job.poll() == "running" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    job.kill()
    job.close()


def _check_reachable(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: no cluster: {error}") from None


class RayCluster:
    """A connection to a cluster.

    Args:
        address: as `ray.init` takes it: auto, HOST:PORT or ray://HOST:PORT.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    program: ClassVar[Sequence[str] | None] = None
    """What workers train with; None is `mast` of their own Python."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--ray: Ray is not installed; pip install 'mast-marl[ray]'") from None
        _check_reachable(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises many kinds, builtin ones among them
            reason = str(error).strip().splitlines()
            raise UserError(
                f"--ray {address}: no cluster: {reason[0] if reason else error!r}"
            ) from None
        self._ray = ray
        self._task: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(compute_cell)

    @property
    def cpus(self) -> int:
        """CPUs of the whole cluster."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    def launch(self, cell: Cell, work: Path, execution: str) -> RayJob:
        """Sends a cell."""
        reference = self._task.remote(cell, str(work.resolve()), execution, self.program)
        return RayJob(self._ray, reference)

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


class RayJob:
    """A cell on the cluster.

    Args:
        ray: the module.
        reference: of the task's result.
    """

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference
        self._state, self._complaint = "running", ""
        self._files: CellFiles | None = None
        self._asked_to_stop = False

    def poll(self) -> str:
        """As `Job` says."""
        if self._state == "running":
            ready, _ = self._ray.wait([self._reference], timeout=0)
            if ready:
                self._receive()
        return self._state

    def _receive(self) -> None:
        try:
            self._files = self._ray.get(self._reference)
            self._state = "finished"
        except self._ray.exceptions.TaskCancelledError:
            self._state = "interrupted"
        except self._ray.exceptions.RayError as error:
            self._state = "interrupted" if self._asked_to_stop else "failed"
            cause = getattr(error, "cause", None)
            self._complaint = str(cause if isinstance(cause, CellFailedError) else error)

    def progress(self) -> Progress:
        """Not known from here."""
        return Progress()

    def files(self) -> CellFiles:
        """What the worker sent."""
        assert self._files is not None
        return self._files

    def complaint(self) -> str:
        """The last lines of its process, or what happened to its workers."""
        return self._complaint

    def stop(self) -> None:
        """Cancels the task, which lets its process save."""
        self._asked_to_stop = True
        self._ray.cancel(self._reference)

    def kill(self) -> None:
        """Ends its worker."""
        with contextlib.suppress(
            Exception
        ):  # a task that has ended since, or a cluster that is gone
            self._ray.cancel(self._reference, force=True)

    def close(self) -> None:
        """Holds nothing."""
