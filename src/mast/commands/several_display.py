"""A line per run while several train side by side, read from their metrics.csv."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from mast.config import Config
from mast.studies.progress import duration
from mast.terminal.live_table import LiveTable
from mast.terminal.output import Output
from mast.training.logging import FILE_NAME as METRICS
from mast.training.logging import read_metrics
from mast.training.remaining import seconds_left


@runtime_checkable
class Watched(Protocol):
    """A run that can be looked at from outside."""

    folder: Path

    @property
    def state(self) -> str:
        """waiting, running, finished, interrupted or failed."""


class RunsDisplay:
    """A live table at a terminal; elsewhere a line whenever a run has something new.

    Args:
        config: of all runs.
        runs: in the order to show.
        output: where to, and whether at all.
        notes: said as soon as a run trains: then none of them has been refused.
    """

    def __init__(
        self, config: Config, runs: Sequence[Watched], output: Output, notes: Sequence[str] = ()
    ) -> None:
        self._config = config
        self._runs = runs
        self._output = output
        self._notes = notes
        self._said = ["waiting"] * len(runs)
        self._table = LiveTable(output)

    def __enter__(self) -> "RunsDisplay":
        self._table.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._table.__exit__(kind, error, traceback)

    def note(self, text: str) -> None:
        """Says something beside the table."""
        self._output.say(text)

    def update(self) -> None:
        """Looks at every run again."""
        if self._output.quiet:
            return
        rows = [(run.folder.name, *self._seen(run)) for run in self._runs]
        if any(steps or state == "finished" for _, state, steps, *_ in rows):
            for note in self._notes:
                self.note(f"note: {note}")
            self._notes = ()
        if self._table.is_shown:
            self._table.draw(rows)
            return
        for index, row in enumerate(rows):
            line = "  ".join(cell for cell in row if cell)
            if row[1] != "waiting" and line != self._said[index]:
                self._said[index] = line
                self._output.say(line)

    def _seen(self, run: Watched) -> tuple[str, str, str, str, str, str]:
        rows = read_metrics(run.folder) if run.folder.exists() else []
        if not rows:
            state = "compiling…" if run.state == "running" else run.state
            return state, "", "", "", "", ""
        last = rows[-1]
        steps = last["env_steps"] or 0
        win, rate = last["win_rate"], last["env_steps_per_second"]
        return (
            run.state,
            f"{steps:,} steps {min(1.0, steps / self._config.steps):.0%}",
            "" if win is None else f"win {win:.2f}",
            f"return {last['return'] or 0:.2f}",
            "" if rate is None else f"{rate:,.0f} env steps/s",
            self._eta(run, rows) if self._table.is_shown and run.state == "running" else "",
        )

    def _eta(self, run: Watched, rows: Sequence[Mapping[str, int | float | None]]) -> str:
        """Moves between evaluations too, so that only a table redrawn in place shows it."""
        try:
            age = time.time() - (run.folder / METRICS).stat().st_mtime
        except OSError:
            return ""
        seconds = seconds_left(rows, self._config.steps, age)
        return "" if seconds is None else f"{duration(seconds)} left"
