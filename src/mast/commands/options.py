"""What can be typed after a command: options as data, for the parser and for the help."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from mast.config import Config, allowed, default_text
from mast.configuration.explain import choices, did_you_mean, kinds, one_line
from mast.errors import UserError

Values = Mapping[str, Any]
"""Option → text as typed, or True for a flag; an option that was not typed is absent."""

_ABSENT = "\0absent"  # nobody can type a zero byte
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
    """Reads a command line.

    Args:
        command: whose options are known.
        arguments: what was typed after the command's name.

    Returns:
        only what was typed; values are still text.

    Raises:
        UserError: an unknown option, an argument too many, or a missing value or argument.
    """
    import tyro

    for flag in (option.flag for option in command.options if not option.value):
        if any(word.startswith(flag + "=") for word in arguments):
            raise UserError(f"{flag} takes no value")
    complaint = io.StringIO()
    try:
        # tyro draws a box around its complaint; ours is one line.
        with contextlib.redirect_stderr(complaint):
            parsed, unknown = tyro.cli(
                _dataclass_of(command),
                args=list(arguments),
                add_help=False,
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit:
        raise UserError(_in_one_line(complaint.getvalue())) from None
    if unknown:
        raise UserError(_unknown(command, unknown))
    typed = {option.name: getattr(parsed, option.name) for option in command.options}
    for option in command.options:
        value = typed[option.name]
        if value != _ABSENT and isinstance(value, str) and not value.strip():
            raise UserError(
                f"{option.value if option.positional else option.flag}: must not be empty"
            )
    return {name: value for name, value in typed.items() if value not in (_ABSENT, False, ())}


def _dataclass_of(command: Command) -> type[Any]:
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    for option in command.options:
        kind: Any = str if option.value or option.positional else bool
        if option.positional:
            kind = Annotated[str, tyro.conf.Positional]
        elif option.name in _TYPED_NAMES:
            kind = Annotated[str, tyro.conf.arg(name=_TYPED_NAMES[option.name])]
        default: Any = False if kind is bool else _ABSENT
        if option.many:
            marker: Any = tyro.conf.Positional if option.positional else tyro.conf.UseAppendAction
            kind, default = marker[tuple[str, ...]], ()
        fields.append((option.name, kind, dataclasses.field(default=default)))
    name = command.name.title().replace(" ", "")
    return dataclasses.make_dataclass(name, fields, frozen=True)


def _in_one_line(box: str) -> str:
    text = " ".join(re.sub(r"[╭╮╰╯│─]|For full helptext.*", " ", box).split())
    if match := re.search(r"Missing value for argument '(--[\w-]+)'", text):
        return f"{match[1]}: its value is missing"
    return text.removeprefix("Missing argument ").removeprefix("Parsing error ")


def _unknown(command: Command, unknown: Sequence[str]) -> str:
    option = next((word for word in unknown if word.startswith("-")), None)
    if option is None:
        return f"unexpected argument {unknown[0]!r} (see: mast {command.name} --help)"
    name = option.partition("=")[0]
    known = [each.flag for each in command.options if not each.positional]
    hint = did_you_mean(name.replace("_", "-"), known)
    return f"unknown option {name}{hint or f' (see: mast {command.name} --help)'}"


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
