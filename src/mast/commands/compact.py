"""`mast compact`: what a trained team does without."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.commands.options import (
    CHECKPOINT,
    JSON,
    QUIET,
    Command,
    Option,
    Values,
    required,
    whole_number,
)
from mast.config import limit_threads, load_run_config
from mast.configuration.explain import check_word
from mast.export.folder import CHECKPOINTS, check_out, policy_file
from mast.terminal.output import Output, plain_table

NUMBERS = {"parameters": "parameters", "bytes": "bytes", "flops": "FLOPs"}
NAMED = 8
"""How many of the inputs that nothing reads are named."""


def run_compact(values: Values) -> int:
    """Removes dead neurons and unread inputs, and says what is left."""
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    checkpoint = values.get("checkpoint", "last")
    check_word("checkpoint", checkpoint, CHECKPOINTS)
    episodes = whole_number(values, "episodes", 3, at_least=1, at_most=1000)
    config = load_run_config(run)
    policy_file(run, config, checkpoint)
    out = Path(values["out"]) if "out" in values else None
    if out is not None:
        check_out(out)
    limit_threads(config.threads)
    with output.only_ours():
        from mast.export.compact import compact_run

        report = compact_run(run, out, checkpoint=checkpoint, episodes=episodes)
    _show(report, output)
    if out is not None:
        output.say(f"{out}: policy.safetensors, contract.json, vectors.bin")
    output.result(report | {"out": None if out is None else str(out)})
    return 0


def _show(report: Mapping[str, Any], output: Output) -> None:
    table = plain_table()
    for heading in ("", "shape", *NUMBERS.values()):
        table.add_column(heading, justify="left" if not heading else "right")
    for layer, sizes in report["layers"].items():
        shape = f"{sizes['before']['shape']} → {sizes['after']['shape']}"
        table.add_row(layer, shape, *_changes(sizes))
    table.add_row("all", "", *_changes(report["total"]), style="bold")
    output.show(table)
    there, read = report["inputs"]
    left = ", ".join(f"{name} {now} of {was}" for name, (was, now) in report["neurons"].items())
    output.say(f"\nneurons left: {left}; inputs that are read: {read} of {there}")
    if unread := report["unread"]:
        more = f" and {len(unread) - NAMED} more" if len(unread) > NAMED else ""
        output.say(f"never read: {', '.join(unread[:NAMED])}{more}")
    check = report["check"]
    output.say(
        f"outputs are unchanged: over {check['episodes']} whole episodes {report['values']} differ by "
        f"{check['largest_difference']:.2g} at most, the same action in "
        f"{check['same_action']:,} of {check['decisions']:,} decisions"
    )


def _changes(sizes: Mapping[str, Any]) -> list[str]:
    """Each number before and after."""
    return [f"{sizes['before'][name]:,.0f} → {sizes['after'][name]:,.0f}" for name in NUMBERS]


COMPACT = Command(
    "compact",
    "remove the neurons and inputs that change nothing",
    "Finds the neurons from which nothing leads to an action value, those that read nothing, and the inputs "
    "that nobody reads; says what is left per layer (bytes: stored densely; FLOPs: of one step of the team) "
    "and checks on whole episodes that the outputs are unchanged.",
    (
        Option("run", "the run's folder; one of several seeds: DIR/seed-K", "DIR", positional=True),
        Option("out", "a folder to make, for mast evaluate and mast watch", "FOLDER", "optional"),
        CHECKPOINT,
        Option("episodes", "how many to check on", "N", "default 3"),
        QUIET,
        JSON,
    ),
    run_compact,
)
