"""Where a command's words go: a console for people, one JSON object for programs."""

import contextlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from mast.terminal.values import Values

PIPED_WIDTH = 100
"""Columns of a table that goes into a file or a pipe."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves a closed pipe to `mast.cli.main`; rich would end the process with 1."""
        raise BrokenPipeError


def make_console() -> Console:
    """A console on standard output that colours nothing but what we colour."""
    console = _Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def plain_table() -> Table:
    """A table without lines, its headings dimmed."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


class Output:
    """What a command prints, as --quiet and --json ask.

    Args:
        values: the typed options.
    """

    def __init__(self, values: Values) -> None:
        self.quiet = bool(values.get("quiet"))
        self.console = make_console()
        self._json = bool(values.get("json"))
        self._stdout = sys.stdout

    def say(self, text: str) -> None:
        """A line for people; nothing when quiet."""
        if not self.quiet:
            self.console.print(text, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """A table for people; nothing when quiet."""
        if not self.quiet:
            self.console.print(renderable)

    def result(self, values: Mapping[str, Any]) -> None:
        """The JSON object, if it was asked for; the last thing that is printed."""
        if self._json:
            encoding = getattr(self._stdout, "encoding", None) or ""
            only_ascii = not encoding.lower().replace("-", "").startswith("utf8")
            text = json.dumps(_plain(values), ensure_ascii=only_ascii, allow_nan=False)
            print(text, file=self._stdout, flush=True)

    @contextlib.contextmanager
    def only_ours(self) -> Iterator[None]:
        """Keeps what libraries print off standard output: to standard error, or away if quiet."""
        with contextlib.ExitStack() as stack:
            aside = sys.stderr
            if self.quiet:
                aside = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA: errors only
                before = logging.root.manager.disable
                stack.callback(logging.disable, before)
                logging.disable(logging.WARNING)
            stack.enter_context(contextlib.redirect_stdout(aside))
            yield


def _plain(value: Any) -> Any:
    """JSON's own types; numbers that are none become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "tolist"):  # NumPy's and JAX's numbers, booleans and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
