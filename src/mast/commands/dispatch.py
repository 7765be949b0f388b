"""Which command was typed, and its options."""

from collections.abc import Sequence

from mast.commands.compact import COMPACT
from mast.commands.evaluate import EVALUATE
from mast.commands.export import EXPORT
from mast.commands.help import print_help, print_overview
from mast.commands.info import INFO
from mast.commands.inspect import INSPECT
from mast.commands.listing import ENVS, METHODS_COMMAND
from mast.commands.options import Command, parse
from mast.commands.search_sparsity import SEARCH_SPARSITY
from mast.commands.study import STUDY_COMMANDS
from mast.commands.train import RESUME, TRAIN
from mast.commands.watch import WATCH
from mast.configuration.suggestions import did_you_mean
from mast.errors import UserError

COMMANDS: tuple[Command, ...] = (
    TRAIN,
    RESUME,
    EVALUATE,
    WATCH,
    EXPORT,
    COMPACT,
    INFO,
    INSPECT,
    ENVS,
    METHODS_COMMAND,
    *STUDY_COMMANDS,
    SEARCH_SPARSITY,
)
_HELP = ("-h", "--help")


def dispatch(arguments: Sequence[str]) -> int:
    """Runs the command that was typed.

    Args:
        arguments: what was typed after `mast`.

    Returns:
        its exit code.
    """
    if not arguments or arguments[0] in _HELP:
        print_overview(COMMANDS)
        return 0
    if arguments[0] == "--version":
        import importlib.metadata

        print(f"mast {importlib.metadata.version('mast-marl')}")
        return 0
    name, rest = _name_and_rest(arguments)
    if rest is None:
        print_overview([each for each in COMMANDS if each.name.startswith(name + " ")], name)
        return 0
    commands = {command.name: command for command in COMMANDS}
    if any(word in _HELP for word in rest):
        print_help(commands[name])
        return 0
    return commands[name].run(parse(commands[name], rest))


def _name_and_rest(arguments: Sequence[str]) -> tuple[str, Sequence[str] | None]:
    """The command, of one word or two, and what follows; None for the first word of several commands alone.

    Raises:
        UserError: there is no such command.
    """
    first, names = arguments[0], [command.name for command in COMMANDS]
    if first in names:
        return first, arguments[1:]
    seconds = [name.partition(" ")[2] for name in names if name.startswith(first + " ")]
    if not seconds:
        known = list(dict.fromkeys(name.partition(" ")[0] for name in names))
        hint = did_you_mean(first, known) or f": one of {', '.join(known)}"
        raise UserError(f"unknown command {first!r}{hint}")
    if len(arguments) == 1 or arguments[1] in _HELP:
        return first, None
    if arguments[1] not in seconds:
        hint = did_you_mean(arguments[1], seconds) or f": one of {', '.join(seconds)}"
        raise UserError(f"unknown command '{first} {arguments[1]}'{hint}")
    return f"{first} {arguments[1]}", arguments[2:]
