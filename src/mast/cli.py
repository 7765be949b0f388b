"""The `mast` command: turns errors into one line and an exit code.

The commands are imported within, so that Ctrl-C is met while that is done too.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from mast.errors import SelfCheckError, UserError

USER_ERROR = 2
SELF_CHECK_ERROR = 3
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: what was typed after `mast`; that of the process by default.

    Returns:
        0; 2 for a user's mistake or an error of the system; 3 for NaN or a failed self-check; 130 if
        interrupted.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        _write_what_can_be_written()
        from mast.commands.dispatch import dispatch

        code = dispatch(arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _refuse(str(error), USER_ERROR)
    except SelfCheckError as error:
        return _refuse(str(error), SELF_CHECK_ERROR)
    except KeyboardInterrupt:
        return _say("mast: interrupted", INTERRUPTED)
    except BrokenPipeError:
        _forget_output()  # `mast envs | head`
        return 0
    except OSError as error:
        what = f"use {error.filename}"
        if error.filename is None:
            what = "write the output"
            _forget_output()
        return _refuse(f"cannot {what}: {error.strerror or error}", USER_ERROR)


def _write_what_can_be_written() -> None:
    """Letters that the output's encoding lacks become "?" instead of an error in the middle of a training."""
    with contextlib.suppress(
        AttributeError, ValueError
    ):  # somebody has put another object in its place
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]


def _forget_output() -> None:
    """Sends standard output nowhere: Python flushes it at its exit, when that can only fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(text: str, code: int) -> int:
    return _say("mast: error: " + " ".join(text.split()), code)


def _say(line: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    return code
