"""How one setting is declared."""

from typing import Any

from pydantic import Field

from mast.own_code import NAME


def setting(default: Any, group: str, description: str, source: str, **bounds: Any) -> Any:
    """A field with its meaning, its group in the help, and where its default is from.

    Args:
        default: `...` where there is none.
        group: heading under which the help lists it.
        description: what it means, in one line.
        source: paper, table or code of the default.
        bounds: `ge`, `gt`, `le`, `lt`.
    """
    extra: dict[str, Any] = {"group": group, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


def named(
    default: str,
    choices: tuple[str, ...],
    group: str,
    description: str,
    source: str,
    own: str = "function",
    expression: str | None = None,
) -> Any:
    """A field that names one of these, or something of the user's own ("package.module:name").

    Args:
        default, group, description, source: as in `setting`.
        choices: the names that are ours.
        own: what the user's own is, for messages.
        expression: what a name must match, where `choices` has stand-ins for numbers.
    """
    extra: dict[str, Any] = {"group": group, "source": source, "choices": choices, "own": own}
    pattern = expression or f"^({'|'.join(choices)}|{NAME})$"
    return Field(default, description=description, json_schema_extra=extra, pattern=pattern)
