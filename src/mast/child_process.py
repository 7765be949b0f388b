"""What a child process does first so that it does not outlive its parent. Imports no JAX."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_SET_PARENT_DEATH_SIGNAL = 1
"""Linux: prctl's PR_SET_PDEATHSIG."""


def end_with_parent() -> Callable[[], object] | None:
    """For `preexec_fn`: the system then asks the child to end (it saves) when its parent dies; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent = (
        ctypes.CDLL(None),
        os.getpid(),
    )  # loaded before the fork: nothing is imported after

    def ask() -> None:
        library.prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before it could be asked for
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
