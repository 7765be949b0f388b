"""Runs the cells of a study that have no result yet: longest first, so many at a time. Imports no JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.estimate import Estimator, makespan
from mast.studies.job import Job, Launcher
from mast.studies.results import Result, ResultFolder

POLL_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""Between two looks at how far running cells are, which read their metrics."""
SAVING_SECONDS = 120.0
"""How long cells may take to save once asked to; a round, an evaluation or a compilation is in between."""


@runtime_checkable
class Watcher(Protocol):
    """What is told of a run of a study."""

    def started(self, cell: Cell) -> None:
        """A cell has been started or gone on with."""

    def finished(self, result: Result) -> None:
        """A cell has a result now."""

    def failed(self, cell: Cell, complaint: str) -> None:
        """A cell has failed; the others go on."""

    def update(self, standing: Standing) -> None:
        """Nothing new, or something: called at every look."""

    def stopping(self, why: str) -> None:
        """Running cells have been asked to save and end."""


class Seen(NamedTuple):
    """How far a running cell is; the share is 0 before its first evaluation."""

    share: float
    win_rate: float | None
    seconds_left: float


@dataclass(frozen=True)
class Standing:
    """Where a run of a study stands.

    Attributes:
        done: cells with a result, earlier ones included.
        total: cells that were chosen.
        running: cell → how far it is; their `share` is that of their steps.
        failed: how many.
        seconds_left: of wall time: of running cells by their own pace, of others by the estimate.
    """

    done: int
    total: int
    running: Mapping[str, Seen]
    failed: int
    seconds_left: float


@dataclass
class Outcome:
    """What came of a run of a study."""

    done: list[Result] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[Cell] = field(default_factory=list)
    stopped: str = ""
    """Why it ended with cells left: "budget", "interrupted", or "" where it did not."""


class Runner:
    """Computes what is missing of a study.

    Args:
        cells: those that are wanted.
        results: where their rows go.
        launch: starts a cell in a slot.
        slots: how many cells run at the same time.
        watcher: told of everything.
        budget: seconds after which running cells are asked to save; None for no limit.
        interrupted: asked at every look whether the user wants to stop.
        settled: called with each cell that has its row now, its job still holding it.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        results: ResultFolder,
        launch: Launcher,
        slots: int,
        watcher: Watcher,
        *,
        budget: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        settled: Callable[[Cell], None] = lambda cell: None,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._results, self._launch, self._watcher = results, launch, watcher
        self._settled, self._interrupted, self._poll = settled, interrupted, poll
        self._deadline = None if budget is None else time.monotonic() + budget
        self._free = list(range(slots))
        self._slots = slots
        self._running: dict[int, tuple[Cell, Job]] = {}
        self._outcome = Outcome(done=results.find_all(cells))
        self._total = len(cells)
        have = {result.cell.key for result in self._outcome.done}
        self._waiting = [cell for cell in cells if cell.key not in have]
        self._estimator = Estimator(self._outcome.done)
        self._sources = {cell.source.key for cell in cells if cell.source is not None}
        self._busy: set[str] = set()
        self._began: dict[str, float] = {}
        self._look_at = 0.0
        self._aside: list[Cell] = []

    def run(self) -> Outcome:
        """Goes on until everything is done, the budget is spent or the user stops it."""
        try:
            while self._running or self._waiting:
                self._start_waiting()
                if not self._running:
                    break  # what is left waits for another process, or for a cell that failed
                if time.monotonic() >= self._look_at:
                    self._watcher.update(self.standing())
                    self._look_at = time.monotonic() + LOOK_SECONDS
                why = self._reason_to_stop()
                if why:
                    self._outcome.stopped = why
                    self._watcher.stopping(why)
                    self._stop_running()
                    break
                time.sleep(self._poll)
                self._collect()
        finally:
            self._end_running()
        self._outcome.left = [*self._aside, *self._waiting]
        self._watcher.update(self.standing())
        return self._outcome

    def standing(self) -> Standing:
        """Where it stands now."""
        running, left = {}, []
        for cell, job in self._running.values():
            progress = job.progress()
            share = min(1.0, progress.env_steps / cell.config.steps)
            seconds = progress.seconds_left
            if seconds is None:
                elapsed = time.monotonic() - self._began[cell.key]
                seconds = max(0.0, (1 - share) * self._estimator.seconds(cell) - elapsed)
            running[cell.name] = Seen(share, progress.win_rate, seconds)
            left.append(seconds)
        left += [self._estimator.seconds(cell) for cell in (*self._waiting, *self._aside)]
        return Standing(
            done=len(self._outcome.done),
            total=self._total,
            running=running,
            failed=len(self._outcome.failed),
            seconds_left=makespan(left, self._slots),
        )

    def _reason_to_stop(self) -> str:
        if self._interrupted():
            return "interrupted"
        spent = self._deadline is not None and time.monotonic() >= self._deadline
        return "budget" if spent else ""

    def _start_waiting(self) -> None:
        if not self._free:
            return
        for cell in longest_first(self._waiting, self._estimator):
            if not self._free:
                return
            if not self._is_ready(cell):
                continue
            # Another process of this machine may have finished it since we looked.
            found = self._results.find(cell)
            if found is None and cell.key not in self._sources:
                found = self._results.take_over(cell)
            if found is not None:
                self._waiting.remove(cell)
                self._done(found)
                continue
            slot = self._free.pop(0)
            job = self._launch(cell, slot)
            if job.poll() == "busy":
                job.close()
                self._busy.add(cell.key)
                self._free.insert(0, slot)
                continue
            self._waiting.remove(cell)
            self._running[slot] = (cell, job)
            self._began[cell.key] = time.monotonic()
            self._watcher.started(cell)

    def _is_ready(self, cell: Cell) -> bool:
        if cell.key in self._busy:
            return False
        return cell.source is None or self._results.find(cell.source) is not None

    def _collect(self) -> None:
        states = {slot: job.poll() for slot, (_, job) in self._running.items()}
        ended = [slot for slot, state in states.items() if state != "running"]
        for slot in ended:
            cell, job = self._running.pop(slot)
            self._free.append(slot)
            self._settle(cell, job, states[slot])
        self._free.sort()
        if ended:
            self._busy.clear()  # another process may have let go of its cell by now

    def _settle(self, cell: Cell, job: Job, state: str) -> None:
        """The row of a finished job, or what became of it instead."""
        try:
            if state == "finished":
                result = self._results.write(cell, job.files())
                self._settled(cell)
                self._done(result)
            elif state == "failed":
                self._fail(cell, job.complaint())
            else:
                self._aside.append(cell)
        except UserError as error:
            self._fail(cell, str(error))
        finally:
            job.close()

    def _done(self, result: Result) -> None:
        self._outcome.done.append(result)
        self._estimator = Estimator(self._outcome.done)
        self._look_at = 0.0
        self._watcher.finished(result)

    def _fail(self, cell: Cell, complaint: str) -> None:
        self._outcome.failed[cell.name] = complaint
        self._watcher.failed(cell, complaint)

    def _stop_running(self) -> None:
        """Asks running cells to save, and waits for that; a second Ctrl-C ends the wait."""
        for _, job in self._running.values():
            job.stop()
        deadline = time.monotonic() + SAVING_SECONDS
        try:
            while self._running and time.monotonic() < deadline:
                time.sleep(min(self._poll, 0.1))
                self._collect()
        except KeyboardInterrupt:
            self._outcome.stopped = "interrupted"

    def _end_running(self) -> None:
        """Leaves no process behind, whatever happened."""
        for cell, job in self._running.values():
            job.kill()
            self._aside.append(cell)
            job.close()
        self._running.clear()


def longest_first(cells: Iterable[Cell], estimator: Estimator) -> list[Cell]:
    """Cells in the order to start them: the longest first, counted with those that begin with them."""
    cells = list(cells)
    seconds = {cell.key: estimator.seconds(cell) for cell in cells}
    after: dict[str, float] = {}
    for cell in cells:
        if cell.source is not None:
            key = cell.source.key
            after[key] = max(after.get(key, 0.0), seconds[cell.key])
    return sorted(cells, key=lambda cell: -(seconds[cell.key] + after.get(cell.key, 0.0)))
