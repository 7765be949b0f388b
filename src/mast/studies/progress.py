"""What is seen of a study while it runs: a live table at a terminal, elsewhere a line for what is new."""

from __future__ import annotations

import time
from types import TracebackType

from mast.studies.cell import Cell
from mast.studies.results import Result
from mast.studies.runner import Seen, Standing
from mast.terminal.live_table import LiveTable
from mast.terminal.output import Output

LINE_SECONDS = 60.0
"""At least that long between two lines that say how far it is, where there is no terminal."""


class StudyProgress:
    """Shows a run of a study.

    Args:
        output: where to, and whether at all.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._table = LiveTable(output)
        self._said_at = 0.0
        self._line = ""

    def __enter__(self) -> StudyProgress:
        self._table.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._table.__exit__(kind, error, traceback)

    def started(self, cell: Cell) -> None:
        """A cell has been started or gone on with."""
        if not self._table.is_shown:
            self._output.say(f"started   {cell.name}")

    def finished(self, result: Result) -> None:
        """A cell has a result now."""
        score = "-" if result.score is None else f"{result.score:.3f}"
        self._output.say(
            f"done      {result.cell.name}  score {score}  {duration(result.row['seconds'])}"
        )
        self._said_at = 0.0

    def failed(self, cell: Cell, complaint: str) -> None:
        """A cell has failed; the others go on."""
        self._output.say(f"failed    {cell.name}:\n{complaint}")

    def stopping(self, why: str) -> None:
        """Running cells have been asked to save and end."""
        reason = "the budget is spent" if why == "budget" else "stopping"
        self._output.say(f"{reason}: saving the running cells; Ctrl-C stops at once")

    def update(self, standing: Standing) -> None:
        """Shows where it stands, if that is new."""
        line = standing_line(standing)
        if self._table.is_shown:
            running = [(name, *running_cells(seen)) for name, seen in standing.running.items()]
            self._table.draw([*running, (line,)])
            return
        now = time.monotonic()
        if line != self._line and now - self._said_at >= LINE_SECONDS:
            self._line, self._said_at = line, now
            self._output.say(line)


def running_cells(seen: Seen) -> tuple[str, str, str]:
    """A running cell's share, last win rate and time left, as a table shows them."""
    left = f"{duration(seen.seconds_left)} left"
    if seen.share == 0:
        return "compiling…", "", f"about {left}"
    win = "" if seen.win_rate is None else f"win {seen.win_rate:.2f}"
    return f"{seen.share:.0%}", win, left


def standing_line(standing: Standing) -> str:
    """How far a study is, in one line."""
    parts = [f"{standing.done} of {standing.total} done"]
    if standing.running:
        parts.append(f"{len(standing.running)} running")
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    if standing.seconds_left > 0:
        parts.append(f"about {duration(standing.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3 h 05 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"
