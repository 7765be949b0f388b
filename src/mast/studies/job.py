"""A cell while it is being computed, wherever that is. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mast.studies.cell import Cell
from mast.studies.results import CellFiles

LAST_LINES = 8
"""Lines that a failed cell is reported with."""


@dataclass(frozen=True)
class Progress:
    """How far a cell is.

    Attributes:
        env_steps: 0 while it starts, compiles and plays up to its first evaluation.
        win_rate: of its last evaluation.
        seconds_left: by its own pace; None before its first evaluation.
    """

    env_steps: int = 0
    win_rate: float | None = None
    seconds_left: float | None = None


@runtime_checkable
class Job(Protocol):
    """A started cell."""

    def poll(self) -> str:
        """running, finished, interrupted (saved), failed, or busy (another process has it)."""

    def progress(self) -> Progress:
        """How far it is; nothing where it cannot be seen from here."""

    def files(self) -> CellFiles:
        """What to keep of it, once it is finished."""

    def complaint(self) -> str:
        """The last lines of a failed one."""

    def stop(self) -> None:
        """Asks it to save and end; asked again, it ends at once."""

    def kill(self) -> None:
        """Ends it now."""

    def close(self) -> None:
        """Lets go of what it held, when it is no longer running."""


Launcher = Callable[[Cell, int], Job]
"""Starts a cell in a slot (a core)."""


def last_lines(text: str) -> str:
    """The end of what a process wrote."""
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])
