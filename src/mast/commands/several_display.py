"""A line per run while several train side by side, read from their metrics.csv."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from mast.commands.live_table import LiveTable
from mast.commands.output import Output
from mast.config import Config
from mast.training.logging import read_metrics


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
    """

    def __init__(self, config: Config, runs: Sequence[Watched], output: Output) -> None:
        self._config = config
        self._runs = runs
        self._output = output
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
        if self._table.is_shown:
            self._table.draw(rows)
            return
        for index, row in enumerate(rows):
            line = "  ".join(cell for cell in row if cell)
            if row[1] != "waiting" and line != self._said[index]:
                self._said[index] = line
                self._output.say(line)

    def _seen(self, run: Watched) -> tuple[str, str, str, str, str]:
        rows = read_metrics(run.folder) if run.folder.exists() else []
        if not rows:
            return run.state, "", "", "", ""
        last = rows[-1]
        steps = last["env_steps"] or 0
        win, rate = last["win_rate"], last["env_steps_per_second"]
        return (
            run.state,
            f"{steps:,} steps {min(1.0, steps / self._config.steps):.0%}",
            "" if win is None else f"win {win:.2f}",
            f"return {last['return'] or 0:.2f}",
            "" if rate is None else f"{rate:,.0f} env steps/s",
        )
