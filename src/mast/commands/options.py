"""What can be typed after a command: options as data, for the parser and for the help."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mast.config import Config, allowed, default_text
from mast.configuration.explain import choices, kinds, one_line
from mast.configuration.suggestions import meant_setting
from mast.errors import UserError
from mast.terminal.values import Values

_TYPED_NAMES = {"from_run": "from"}  # a word that Python keeps for itself
_SKIPPED_SETTINGS = ("environment",)  # it has a place of its own, before the options


@dataclass(frozen=True)
class Option:
    """One option or argument of a command.

    `value` names what follows it in the help ("" for a flag), `note` its default and source. One of
    which there may be `many` has a tuple as its value: words in a row, or an option typed again.
    """

    name: str
    help: str
    value: str = ""
    note: str = ""
    group: str = "options"
    positional: bool = False
    many: bool = False

    @property
    def flag(self) -> str:
        """As it is typed: --batch-size."""
        return "--" + _TYPED_NAMES.get(self.name, self.name.replace("_", "-"))


@dataclass(frozen=True)
class Command:
    """A command: its name, a line for the overview, a paragraph for its own help, and what it does.

    `run` takes the typed values and returns the exit code.
    """

    name: str
    summary: str
    description: str
    options: tuple[Option, ...]
    run: Callable[[Values], int]


JSON = Option("json", "print one JSON object as the last line")
QUIET = Option("quiet", "print nothing but errors and what --json asks for")
CHECKPOINT = Option(
    "checkpoint",
    "the newest policy, or the one with the best evaluation: last, best",
    "NAME",
    "default last",
)


def setting_options(names: Sequence[str] | None = None) -> tuple[Option, ...]:
    """The settings of a run as options, with defaults and sources.

    Args:
        names: which; all but the environment by default.
    """
    shown = names or [name for name in Config.model_fields if name not in _SKIPPED_SETTINGS]
    return tuple(_setting_option(name) for name in shown)


def _setting_option(name: str) -> Option:
    info = Config.model_fields[name]
    assert isinstance(info.json_schema_extra, dict)
    named, kind = choices(name), kinds(info)[0]
    text = info.description or name
    if named or kind is bool:
        text += ": " + allowed(name).removeprefix("one of ")
    value = "NAME" if named else {int: "N", float: "X", bool: "BOOL"}.get(kind, "TEXT")
    note = f"default {default_text(name)} · {info.json_schema_extra['source']}"
    return Option(name, text, value, note, str(info.json_schema_extra["group"]))


def given_settings(values: Values) -> dict[str, Any]:
    """Those of the typed values that are settings of a run."""
    return {name: value for name, value in values.items() if name in Config.model_fields}


def parse(command: Command, arguments: Sequence[str]) -> Values:
    """Reads a command line, word by word.

    Args:
        command: whose options are known.
        arguments: what was typed after the command's name.

    Returns:
        only what was typed; values are still text.

    Raises:
        UserError: an unknown option, an argument too many, or a missing or empty value.
    """
    typed: dict[str, Any] = {}
    for option, value in _read(command, arguments):
        if isinstance(value, str) and not value.strip():
            shown = option.value if option.positional else option.flag
            raise UserError(f"{shown}: must not be empty")
        typed[option.name] = (*typed.get(option.name, ()), value) if option.many else value
    return typed


def _read(command: Command, arguments: Sequence[str]) -> Iterator[tuple[Option, str | bool]]:
    """Every option and argument in the order of the line; after "--" there are only arguments."""
    places = [option for option in command.options if option.positional]
    words = iter(arguments)
    for word in words:
        if word == "--":
            for rest in words:
                yield _place(command, places, rest), rest
        elif _is_option(word):
            yield _read_option(command, word, words)
        else:
            yield _place(command, places, word), word


def _place(command: Command, places: list[Option], word: str) -> Option:
    """The argument that a word is; it leaves `places`, unless there may be many of it."""
    if not places:
        raise UserError(f"unexpected argument {one_line(word)!r} (see: mast {command.name} --help)")
    return places[0] if places[0].many else places.pop(0)


def _read_option(command: Command, word: str, words: Iterator[str]) -> tuple[Option, str | bool]:
    """An option with its value, which stands in the same word or in the next one."""
    name, equals, value = word.partition("=")
    flag = name.replace("_", "-")
    option = next(
        (each for each in command.options if each.flag == flag and not each.positional), None
    )
    if option is None:
        raise UserError(f"unknown option {one_line(name)}{_hint(command, name)}")
    if not option.value:
        if equals:
            raise UserError(f"{flag} takes no value")
        return option, True
    if not equals:
        value = next(words, "--")
        if _is_option(value):
            raise UserError(f"{flag}: its value is missing")
    return option, value


def _is_option(word: str) -> bool:
    """Whether a word is an option's name; "-" and negative numbers are values."""
    try:
        float(word)
    except ValueError:
        return word.startswith("-") and word != "-"
    return False


def _hint(command: Command, name: str) -> str:
    """What an unknown option was meant to be, or where the known ones are listed."""
    known = {option.flag.removeprefix("--").replace("-", "_"): option for option in command.options}
    meant = meant_setting(name, known)
    if meant is None:
        return f" (see: mast {command.name} --help)"
    places = [option.name for option in command.options if option.positional]
    if meant in places:
        number = ("first", "second")[places.index(meant)]
        return f" (the {meant} is the {number} argument: {usage(command)})"
    return f" (did you mean {known[meant].flag}?)"


def usage(command: Command) -> str:
    """How a command is typed: its name and its arguments."""
    places = (option.value for option in command.options if option.positional)
    return " ".join(["mast", command.name, *places])


def required(values: Values, name: str, shown: str, example: str) -> str:
    """The text of a positional argument, which the help shows as `shown`.

    Raises:
        UserError: it was not typed.
    """
    if name not in values:
        raise UserError(f"{shown}: missing; for example {example}")
    return str(values[name])


def whole_number(values: Values, name: str, default: int, at_least: int, at_most: int) -> int:
    """The whole number of an option that is no setting.

    Raises:
        UserError: it is none, too small or too large.
    """
    text = str(values.get(name, default))
    try:
        number = int(text)
    except ValueError:
        number = at_least - 1
    if not at_least <= number <= at_most:
        bounds = f"at least {at_least} and at most {at_most}"
        raise UserError(f"{name} = {one_line(text)}: must be a whole number {bounds}")
    return number
