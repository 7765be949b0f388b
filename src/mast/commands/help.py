"""The help texts, set by rich."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mast.commands.options import Command, Option, usage
from mast.terminal.output import make_console

WIDTH = 100
"""Lines longer than this are hard to read, however wide the terminal."""


def print_overview(commands: Sequence[Command], first: str = "") -> None:
    """What `mast --help` prints, or `mast study --help`.

    Args:
        commands: those to list.
        first: the word that all of them begin with.
    """
    console = _console()
    name = f"mast {first}".strip()
    console.print(Text(name, style="bold") + Text(" COMMAND [options]", style="not bold"))
    if not first:
        console.print(
            "Trains teams of agents whose networks are 80-99 % empty from the first step.\n"
        )
    table = _table(max(len(command.name) for command in commands))
    for command in commands:
        table.add_row(Text(command.name, style="cyan"), command.summary)
    console.print(Padding(table, (0, 2)))
    example = f"{commands[0].name if first else 'train'} --help"
    console.print(f"\nEach command explains itself: mast {example}." + ("" if first else " Try:\n"))
    if not first:
        console.print("  mast train smax/3m --sparsity 0.95 --steps 100000", style="green")


def print_help(command: Command) -> None:
    """What `mast COMMAND --help` prints: every option with its default and where that is from."""
    console = _console()
    name = f"mast {command.name}"
    arguments = usage(command).removeprefix(name)
    console.print(Text(name, style="bold").append(f"{arguments} [options]", style="not bold"))
    console.print(command.description)
    for group in dict.fromkeys(option.group for option in command.options):
        console.print(Text(f"\n{group}", style="bold"))
        table = _table(max(len(_typed(option)) for option in command.options))
        for option in command.options:
            if option.group == group:
                table.add_row(_typed(option), _explained(option))
        console.print(Padding(table, (0, 2)))


def _console() -> Console:
    console = make_console()
    console.width = min(console.width, WIDTH)
    return console


def _table(first_column: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=first_column)
    table.add_column()
    return table


def _typed(option: Option) -> Text:
    if option.positional:
        return Text(option.value, style="cyan")
    return Text(option.flag, style="cyan").append(f" {option.value}".rstrip(), style="dim cyan")


def _explained(option: Option) -> Text:
    text = Text(option.help)
    return text.append(f"  [{option.note}]", style="dim") if option.note else text
