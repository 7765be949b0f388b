"""`mast envs` and `mast methods`: what there is to choose from."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from mast.algorithms.registry import BUILT_IN
from mast.commands.options import JSON, QUIET, Command
from mast.config import METHODS
from mast.envs.names import ADAPTERS, ENTRIES, FAMILIES
from mast.terminal.output import Output, plain_table
from mast.terminal.values import Values


def _table(*headings: str) -> Table:
    table = plain_table()
    for heading in headings:
        table.add_column(heading)
    return table


def run_envs(values: Values) -> int:
    """Lists the environments that come with Mast."""
    output = Output(values)
    table = _table("environment", "agents", "actions", "observation", "state", "limit", "")
    for column in table.columns[1:6]:
        column.justify = "right"
    for entry in ENTRIES:
        sizes = (entry.agents, entry.actions, entry.observation, entry.state, entry.episode_limit)
        table.add_row(Text(entry.id, style="cyan"), *map(str, sizes), entry.about)
    output.show(table)
    forms = [family.form for family in FAMILIES.values() if family.form]
    output.say("")
    for form in forms:
        output.say(f"of any size: {form}")
    output.say("\nof other libraries (docs/environments.md):")
    others = _table("such as", "")
    for adapter in ADAPTERS.values():
        others.add_row(Text(adapter.example, style="cyan"), adapter.about)
    output.show(others)
    output.say("\nyour own: package.module:Class")
    output.result({"environments": [vars(entry) for entry in ENTRIES], "forms": forms})
    return 0


def run_methods(values: Values) -> int:
    """Lists algorithms and sparse-training methods with what each sets."""
    output = Output(values)
    algorithms = _table("algorithm", "", "sets")
    for name, entry in BUILT_IN.items():
        algorithms.add_row(Text(name, style="cyan"), entry.about, _settings(entry.defaults))
    methods = _table("method", "", "sets")
    for name, preset in METHODS.items():
        methods.add_row(Text(name, style="cyan"), preset.description, _settings(preset.overrides))
    output.show(algorithms)
    output.say("")
    output.show(methods)
    output.say("")
    output.say("your own algorithm: package.module:ENTRY; whose parameters agents use: --sharing")
    output.result(
        {
            "algorithms": [
                {"name": name, "description": entry.about, "settings": dict(entry.defaults)}
                for name, entry in BUILT_IN.items()
            ],
            "methods": [
                {"name": name, "description": preset.description, "settings": preset.overrides}
                for name, preset in METHODS.items()
            ],
        }
    )
    return 0


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"{setting}={value}" for setting, value in values.items()) or "-"


ENVS = Command(
    "envs",
    "the environments",
    "Lists the environments with their sizes: features of an agent's observation and of the "
    "state, and the largest number of steps.",
    (QUIET, JSON),
    run_envs,
)

METHODS_COMMAND = Command(
    "methods",
    "algorithms and sparse-training methods, and what each sets",
    "Lists algorithms and methods. Each is a record of settings; what you type yourself comes on top.",
    (QUIET, JSON),
    run_methods,
)
