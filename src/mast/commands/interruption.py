"""Ctrl-C: the first asks the loop to stop where it can be resumed exactly, the second stops at once."""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""The exit code of a command that was interrupted and has saved."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """While entered, a first Ctrl-C (SIGTERM, or a terminal that is closed) only sets `requested`.

    A second Ctrl-C or SIGTERM interrupts. Under `nohup` a closed terminal changes nothing.

    Args:
        say: told at the first one, so that the user knows what is awaited.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self.requested = False
        self._say = say
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> "Interruption":
        self._terminals = [n for n in (1, 2) if os.isatty(n)]
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._leave_terminal()
        elif self.requested:
            raise KeyboardInterrupt
        if self.requested:
            return
        self.requested = True
        # What is interrupted may be writing a line itself, and there may be nothing left to write to.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._say()

    def _leave_terminal(self) -> None:
        """Lets what is written from now on go nowhere: the terminal is gone, and writing to it an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
