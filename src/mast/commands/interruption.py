"""Ctrl-C: the first asks the loop to stop where it can be resumed exactly, the second stops at once."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""The exit code of a command that was interrupted and has saved."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, a first Ctrl-C (or SIGTERM) only sets `requested`; a second interrupts.

    Args:
        say: told at the first one, so that the user knows what is awaited.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self.requested = False
        self._say = say
        self._before: list[Any] = []

    def __enter__(self) -> "Interruption":
        self._before = [signal.signal(number, self._receive) for number in _SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._say()
