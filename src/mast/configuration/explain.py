"""Settings in words: what is allowed, what the default is, what was wrong."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mast.configuration.env_args import FORM
from mast.configuration.presets import (
    ALGORITHM_DEFAULTS,
    ENVIRONMENT_DEFAULTS,
    MAST_DEFAULTS,
    METHODS,
    SHORT_RUN,
)
from mast.configuration.settings import Config
from mast.configuration.suggestions import did_you_mean, did_you_mean_setting
from mast.configuration.text import ALIASES, RATIOS, bounds_of, kinds
from mast.errors import UserError


def allowed(name: str) -> str:
    """What a setting may be, in words, as error messages and the help say it."""
    info = Config.model_fields[name]
    if named := choices(name):
        own = f", or package.module:{own_kind(name)}" if own_kind(name) else ""
        seconds = {ours: f"{ours} ({other})" for other, ours in ALIASES.get(name, {}).items()}
        return "one of " + ", ".join(seconds.get(each, each) for each in named) + own
    alternatives = kinds(info)
    if name == "density_per_agent":
        return "numbers such as 0.14,0.06,0.06, or none"
    if name == "snapshots":
        return "shares of training such as 0,0.25,0.5,1, or none"
    if name == "env_args":
        return FORM
    if name in RATIOS:
        return "shares such as 0-0.1-0.9, one per hidden layer, or none"
    noun = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    text = noun[alternatives[0]] + _range_text(info)
    for other in alternatives[1:]:
        if typing.get_origin(other) is Literal:
            text += "".join(f", or {word}" for word in typing.get_args(other))
    return f"{text}, or none" if types.NoneType in alternatives else text


def choices(name: str) -> tuple[str, ...]:
    """The names to choose from, where a setting has such; else none."""
    if found := _extra(name).get("choices"):
        return tuple(found)
    kind = kinds(Config.model_fields[name])[0]
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def own_kind(name: str) -> str:
    """What of the user's own a setting may name beside its choices ("function"); "" for nothing."""
    return str(_extra(name).get("own", ""))


def _extra(name: str) -> dict[str, Any]:
    extra = Config.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def check_word(name: str, value: object, words: Iterable[str]) -> None:
    """Refuses a value that is none of a few words.

    Raises:
        UserError: it is none of them.
    """
    words = tuple(words)
    if value not in words:
        raise UserError(f"{name} = {value}: must be one of {', '.join(words)}")


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _range_text(info: FieldInfo) -> str:
    parts = [
        f"{words} {getattr(bound, kind)}"
        for bound in bounds_of(info)
        for kind, words in _BOUNDS.items()
        if hasattr(bound, kind)
    ]
    return " " + " and ".join(parts) if parts else ""


def default_text(name: str) -> str:
    """A setting's default with the methods and environments that have another one."""
    base = Config.model_fields[name].get_default()
    in_words = _exploration_text if name == "epsilon_steps" else _value_text
    parts = [in_words(base)]
    if name == "sparsity":
        return parts[0] + "; ignored by dense"
    for origin, overrides in [
        *ALGORITHM_DEFAULTS.items(),
        *((method, preset.overrides) for method, preset in METHODS.items()),
        *((f"mast on {algorithm}", defaults) for algorithm, defaults in MAST_DEFAULTS.items()),
        *((prefix + "*", defaults) for prefix, defaults in ENVIRONMENT_DEFAULTS.items()),
    ]:
        if name in overrides:
            parts.append(f"{origin} {in_words(overrides[name])}")
    return ", ".join(parts)


def _exploration_text(longest: int) -> str:
    """The rule of `exploration_steps`."""
    return f"min({longest:,}, steps/{SHORT_RUN / longest:g})"


def _value_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"{each:g}" for each in value)
    return f"{value:,}".replace(",", "_") if isinstance(value, int) else str(value)


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: the setting, its value and what is allowed."""
    # An unknown setting is said first: it is most often a misspelling of a known one.
    problem = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    if not problem["loc"]:
        return str(problem.get("ctx", {}).get("error", problem["msg"]))
    name, value = str(problem["loc"][0]), problem["input"]
    if problem["type"] == "missing":
        return f"{name}: missing; for example smax/3m (see: mast envs)"
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{did_you_mean_setting(name, Config.model_fields)}"
    hint = _other_kind(name, value) or did_you_mean(str(value), choices(name))
    return f"{name} = {one_line(value)}: must be {allowed(name)}{hint}"


def _other_kind(name: str, value: Any) -> str:
    """The hint that an algorithm was given as a method, or a method as an algorithm; else nothing."""
    other = {"method": "algorithm", "algorithm": "method"}.get(name)
    if other is None or value not in choices(other):
        return ""
    return f" (did you mean --{other} {value}?)"


def one_line(value: Any) -> str:
    """A value as text that fits into a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
