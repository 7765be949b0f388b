"""`mast export`: a trained team leaves the lab."""

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
from mast.errors import UserError
from mast.export.folder import KINDS, check_options, check_out, export_run, policy_file
from mast.extras import check_onnx
from mast.terminal.output import Output


def run_export(values: Values) -> int:
    """Writes a run's policy as C, ONNX or safetensors, checked against it."""
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    for name, example in (("to", "|".join(KINDS)), ("out", "FOLDER")):
        if name not in values:
            raise UserError(f"--{name} is missing: --{name} {example}")
    out, checkpoint = Path(values["out"]), values.get("checkpoint", "last")
    prefix, quantize, storage = (
        values.get("prefix", "mast"),
        values.get("quantize"),
        values.get("storage"),
    )
    smallest = bool(values.get("smallest"))
    check_options(values["to"], checkpoint, prefix, quantize, storage, smallest)
    if values["to"] == "onnx":
        check_onnx()
    episodes = whole_number(values, "episodes", 3, at_least=1, at_most=1000)
    config = load_run_config(run)
    policy_file(run, config, checkpoint)
    check_out(out)
    limit_threads(config.threads)
    with output.only_ours():
        contract = export_run(
            run,
            values["to"],
            out,
            checkpoint=checkpoint,
            episodes=episodes,
            prefix=prefix,
            quantize=quantize,
            storage=storage,
            compare=values["to"] == "c",
            smallest=smallest,
            agent=values.get("agent"),
        )
    for line in [*_alone(contract), *_sizes(contract), _checked(contract)]:
        output.say(line)
    output.say(f"{out}: {', '.join([*contract['files'], 'contract.json'])}")
    output.result(contract | {"out": str(out)})
    return 0


def _alone(contract: Mapping[str, Any]) -> list[str]:
    """Which agent it is and how much smaller than its team; nothing for a team."""
    if "agent" not in contract:
        return []
    alone = contract["agent"]
    before, left = alone["parameters"]
    return [
        f"{alone['name']}, agent {alone['index']} of {alone['of']}: neurons {_left(alone['neurons'])}; "
        f"parameters {left:,} of {before:,}"
    ]


def _left(neurons: Mapping[str, Any]) -> str:
    """How many neurons each hidden layer has left."""
    return ", ".join(f"{name} {left} of {before}" for name, (before, left) in neurons.items())


def _sizes(contract: Mapping[str, Any]) -> list[str]:
    """What an exported C file costs; nothing for the others."""
    if contract["kind"] != "c":
        return []
    facts, measured = contract["c"], contract["c"]["measured"]
    layers = ", ".join(f"{name} {form}" for name, form in facts["layers"][0].items())
    operations = facts["operations"]
    lines = [
        f"layers: {layers}; {sum(facts['weights']):,} weights; neurons left: "
        f"{_left(facts['neurons'][0])}"
        + (" (of the first agent)" if len(facts["layers"]) > 1 else ""),
        f"RAM: {facts['state_bytes']:,} bytes per agent; constants: "
        f"{facts['constant_bytes']:,} bytes; a step: at most {operations['total']:,} operations, "
        f"{operations['multiply_adds']:,} of them multiply-adds",
    ]
    if measured is not None:
        flash, stack = measured["flash_bytes"], measured["stack_bytes"]
        lines.append(
            f"compiled for this machine with -Os: flash "
            f"{'unknown' if flash is None else f'{flash:,} bytes'}, stack "
            f"{'unknown' if stack is None else f'at most {stack:,} bytes'}, "
            f"{measured['warnings'] or 'no'} warnings"
        )
    known = {name: size for name, size in facts["flash_by_form"].items() if size is not None}
    if known:
        sizes = " · ".join(f"{name} {size:,}" for name, size in known.items())
        lines.append(f"flash of each form, bytes: {sizes}")
    return lines


def _checked(contract: Mapping[str, Any]) -> str:
    """How the export compares with the policy, in a line."""
    check = contract["check"]
    if check is None:
        return "NOT CHECKED: this machine has no C compiler (CC or cc); compile and run the vectors"
    same, decisions = check["same_action"], check["decisions"]
    difference = (
        f"{check['largest_difference']:.2g} at most, {check['mean_difference']:.2g} on average"
    )
    rounded = contract.get("c", {}).get("quantize")
    beginning = "int8 loses" if rounded else "checked against the policy"
    return (
        f"{beginning}: {contract['values']} differ by {difference}; the same action in "
        f"{same:,} of {decisions:,} decisions of {check['episodes']} whole episodes"
    )


EXPORT = Command(
    "export",
    "write a trained team as C, ONNX or safetensors",
    "Writes the policy of a run as one C99 file, an ONNX model or a safetensors file, with a contract.json "
    "and test vectors, checked against the policy on whole episodes; of the team, or with --agent of one "
    "agent alone. The run may have been stopped.",
    (
        Option("run", "the run's folder; one of several seeds: DIR/seed-K", "DIR", positional=True),
        Option("to", "c, onnx or safetensors", "KIND", "required"),
        Option("out", "the folder to make", "FOLDER", "required"),
        CHECKPOINT,
        Option(
            "agent",
            "this agent alone, by index or name: its own network, without the neurons that it lacks",
            "K",
            "default the team",
        ),
        Option("episodes", "how many to check on and to keep as test vectors", "N", "default 3"),
        Option("prefix", "of every name in the C file", "NAME", "default mast · C only"),
        Option("quantize", "int8: weights in 8 bits with a scale per row", "int8", "C only"),
        Option(
            "storage",
            "of every layer: unrolled, blocked, dense; pattern: that of each layer",
            "FORM",
            "default by density and size · C only",
        ),
        Option(
            "smallest",
            "store every layer in the form with the least flash of its precision",
            note="C only",
        ),
        QUIET,
        JSON,
    ),
    run_export,
)
