"""Settings as somebody types them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

ALIASES: dict[str, dict[str, str]] = {"sharing": {"fups+id": "shared"}}
"""Second names of a setting's values: a paper's beside ours."""


RATIOS = ("prune_ratio", "critic_prune_ratio")
"""Settings whose numbers have dashes between them, as the paper writes them."""


NUMERIC = {int, float, tuple[float, ...]}
"""The types of settings that are numbers."""


def kinds(info: FieldInfo) -> tuple[Any, ...]:
    """The alternatives of a field's type: (int, NoneType) for `int | None`, bounds left out."""
    return tuple(_bare(alternative) for alternative in _alternatives(info))


def bounds_of(info: FieldInfo) -> list[Any]:
    """What a number is held to: the field's own metadata, or that of one of its alternatives."""
    own = [
        typing.get_args(alternative)[1:]
        for alternative in _alternatives(info)
        if typing.get_origin(alternative) is typing.Annotated
    ]
    parts = [*info.metadata, *(part for parts in own for part in parts)]
    return [each for part in parts for each in (part.metadata if _is_field(part) else [part])]


def _alternatives(info: FieldInfo) -> tuple[Any, ...]:
    annotation = info.annotation
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.get_args(annotation)
    return (annotation,)


def _bare(alternative: Any) -> Any:
    if typing.get_origin(alternative) is typing.Annotated:
        return typing.get_args(alternative)[0]
    return alternative


def _is_field(part: Any) -> bool:
    return isinstance(part, FieldInfo)


def read_text(info: FieldInfo | None, name: str, value: Any) -> Any:
    """The value that the text of a command line stands for, where pydantic would not read it.

    Those are "none", 2e6 for a whole number, and numbers with commas between them. True and false for a
    number become text, which pydantic refuses; it would read them as 1 and 0.

    Args:
        info: the setting's field; None if there is no such setting.
        name: of the setting.
        value: as given; what is no text is otherwise left as it is.
    """
    if info is None:
        return value
    alternatives = kinds(info)
    if not isinstance(value, str):
        return _without_booleans(value) if NUMERIC & {*alternatives} else value
    if types.NoneType in alternatives and value.strip().lower() == "none":
        return None
    if name in ("density_per_agent", "snapshots"):
        return value.split(",")
    if name in RATIOS:
        return value.split("-")
    if value in ALIASES.get(name, {}):
        return ALIASES[name][value]
    if int in alternatives:
        try:
            number = float(value)
        except ValueError:
            return value
        # int(value) would be exact where float is not; only 2e6 and 2.0 need the detour.
        if any(mark in value.lower() for mark in ".e") and number.is_integer():
            return int(number)
    return value


def _without_booleans(value: Any) -> Any:
    """The value with text for true and false, in a list too."""
    if isinstance(value, list | tuple):
        return [_without_booleans(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else value


def as_typed(name: str, value: Any) -> str:
    """A setting's value as a command line has it, from which `read_text` and pydantic make it again.

    Args:
        name: of the setting.
        value: as a settings file or a study has it.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={as_typed(name, each)}" for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("-" if name in RATIOS else ",").join(as_typed(name, each) for each in value)
    return str(value)
