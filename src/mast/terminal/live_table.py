"""A table redrawn in place while something runs, at a terminal only."""

from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.live import Live
from rich.table import Table

from mast.terminal.output import Output


class LiveTable:
    """A table at a terminal; nothing elsewhere, or when quiet.

    Args:
        output: where to, and whether at all.
    """

    def __init__(self, output: Output) -> None:
        self._live: Live | None = None
        if output.console.is_terminal and not output.quiet:
            self._live = Live(console=output.console, refresh_per_second=4)

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to draw it at; lines have to say it all elsewhere."""
        return self._live is not None

    def __enter__(self) -> "LiveTable":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, rows: Iterable[Sequence[str]]) -> None:
        """Draws these rows in the place of those before."""
        if self._live is not None:
            table = Table.grid(padding=(0, 2))
            for row in rows:
                table.add_row(*row)
            self._live.update(table)
