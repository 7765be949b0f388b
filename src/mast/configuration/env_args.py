"""Arguments for an environment, as somebody types them: size=10,players=3."""

from __future__ import annotations

from collections.abc import Mapping

Argument = bool | int | float | str
"""What an argument can be."""

FORM = "NAME=VALUE such as size=10,players=3, or none"
"""What `env_args` may be, in words."""

SETTINGS = ("reward_scale", "state_last_action", "episode_limit")
"""Arguments that are settings themselves."""


def read_env_args(given: object) -> object:
    """The arguments in the order of their names; None where there are none.

    Args:
        given: text, or a mapping as a settings file has it; the values of text are read as true or false,
            whole numbers, numbers, or text. What is neither is left to pydantic.

    Raises:
        ValueError: no argument, a name twice, or one that is a setting itself.
    """
    if isinstance(given, str):
        given = _of_text(given)
    if not isinstance(given, Mapping):
        return given
    for name in given:
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"no name: {name!r}")
        if name in SETTINGS:
            raise ValueError(f"a setting itself: {name}")
    return {name: given[name] for name in sorted(given)} or None


def _of_text(text: str) -> dict[str, Argument]:
    arguments: dict[str, Argument] = {}
    for word in text.split(","):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not value or name in arguments:
            raise ValueError(f"no argument: {word}")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Argument:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
