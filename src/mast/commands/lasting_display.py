"""A display whose output may fail: the training it shows goes on without it."""

import sys
from collections.abc import Callable
from types import TracebackType

from mast.training.display import Display
from mast.training.metrics import Metrics


class LastingDisplay:
    """Shows what another display shows until that can no longer write.

    A pipe that was closed is left to the caller: who reads no more wants no more.

    Args:
        display: which writes.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._works = True

    def __enter__(self) -> "LastingDisplay":
        self._try(self._display.__enter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._try(lambda: self._display.__exit__(kind, error, traceback))

    def update(self, metrics: Metrics) -> None:
        """Shows a round of training."""
        self._try(lambda: self._display.update(metrics))

    def note(self, text: str) -> None:
        """Says something beside the numbers."""
        self._try(lambda: self._display.note(text))

    def _try(self, show: Callable[[], object]) -> None:
        if not self._works:
            return
        try:
            show()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._works = False
            print(f"note: nothing is shown from here on: {error.strerror}", file=sys.stderr)
