"""One thing that is done to a run, and what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mast.errors import SelfCheckError, UserError


@dataclass(frozen=True)
class Trial:
    """Something that may happen to a user.

    Attributes:
        group: row of the table that it counts in.
        name: what is done, for the list of those that failed.
        play: does it in an empty folder; raises AssertionError, or anything else, where it comes out wrong.
    """

    group: str
    name: str
    play: Callable[[Path], object]


def one_line(action: Callable[[], object]) -> str | None:
    """What an action refuses with; None where it does not. Any other error goes on."""
    try:
        action()
    except (UserError, SelfCheckError) as error:
        text = str(error)
        assert text, "an error without a word"
        assert "\n" not in text, text
        return text
    return None
