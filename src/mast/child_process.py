"""Child processes that do not outlive their parent. Imports no JAX."""

import os
import sys
from collections.abc import Sequence

_ASK_AND_BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG, which outlives exec
if os.getppid() != int(sys.argv[1]):  # it died before that
    os.kill(os.getpid(), signal.SIGTERM)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """The command of a child that the system asks to end (a training saves) when this process dies.

    On Linux a short program asks for that and then becomes the command. `preexec_fn` could ask too, but needs
    a fork, which is not safe beside JAX's threads. Elsewhere it is the command itself.

    Args:
        command: program and words.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _ASK_AND_BECOME, str(os.getpid()), *command]
