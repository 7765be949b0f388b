"""A user's own code by name, "package.module:name": of the current folder or an installed package."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mast.errors import UserError

NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*"
"""The name of something of a user's own, as a regular expression."""


PLURALS = {
    "class": "classes",
    "function": "functions",
    "AlgorithmEntry": "entries",
    "pattern": "patterns",
}
"""What can be a user's own."""


def is_own(name: str) -> bool:
    """Whether a name is of something of the user's own."""
    return re.fullmatch(NAME, name) is not None


def in_file_names(name: str) -> str:
    """A name as part of a file's name: without slash and colon."""
    return re.sub(r"[/:]", "-", name)


def import_own(name: str, what: str, fits: Callable[[Any], bool]) -> Any:
    """What "package.module:name" names.

    Args:
        name: as above.
        what: what it must be, for messages: one of `PLURALS`.
        fits: whether something in the module is one.

    Raises:
        UserError: it cannot be imported, or is none.
    """
    module_name, own_name = name.split(":")
    module = import_module(name, module_name)
    found = getattr(module, own_name, None)
    if found is None or not fits(found):
        names = [
            known
            for known, value in vars(module).items()
            if fits(value) and not _is_imported(value, module_name)
        ]
        raise UserError(
            f"{name}: module {module_name} has no {what} {own_name}"
            f" (its {PLURALS[what]}: {', '.join(names) or 'none'})"
        )
    return found


def import_module(name: str, module_name: str) -> ModuleType:
    """A module of the current folder or of an installed package.

    Args:
        name: what asks for it, for messages.
        module_name: its own.

    Raises:
        UserError: it cannot be imported.
    """
    # As `python -m` does; it stays, since their module may import its neighbours later.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only a part of the name asked for is a slip in the name; else their import is at fault.
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(
                f"{name}: no module {error.name} in {here} or among the installed packages"
            ) from error
        raise user_error(name, "import", error) from error
    except (Exception, SystemExit) as error:
        raise user_error(name, "import", error) from error


def _is_imported(value: Any, module_name: str) -> bool:
    """Whether a class or function of a module comes from another one."""
    is_code = inspect.isclass(value) or inspect.isroutine(value)
    return is_code and getattr(value, "__module__", module_name) != module_name


@contextmanager
def told_of(name: str, doing: str) -> Iterator[None]:
    """While entered, an exception in something of a user's own is one line; in ours it stays what it is.

    Args:
        name: of what is called, ours or the user's.
        doing: as in `user_error`.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if not is_own(name):
            raise
        raise user_error(name, doing, error) from error


def user_error(name: str, doing: str, error: BaseException) -> UserError:
    """One line about an exception in a user's own code: what it was and where it was raised.

    Args:
        name: of their class, function or module.
        doing: what Mast was doing with it: "reset", "import".
        error: to be chained by `raise … from`.
    """
    message = " ".join(str(error).split())
    message = message if len(message) <= 200 else message[:200] + "…"
    # Their own line tells more than one deep inside a library.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in ("site-packages", "<frozen", __file__))
    ]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return UserError(f"{name}: {doing} failed: {type(error).__name__}: {message}{where}")
