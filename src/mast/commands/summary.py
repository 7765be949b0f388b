"""What a run came to, for people, and the means of several runs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from mast.terminal.output import Output


def show_summary(summary: Mapping[str, Any], output: Output, seeds: int = 1) -> None:
    """The end of a training, for people.

    Args:
        summary: what `mast train --json` prints; of several runs the means, with "runs".
        output: where to.
        seeds: number of runs; each of several has a folder of its own.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()

    def number(name: str, form: str) -> str:
        return "-" if summary[name] is None else format(summary[name], form)

    runs = summary.get("runs")
    if summary["score"] is not None:
        note = f"mean of the last evaluations, at most 20; the newest {number('win_rate', '.2f')}"
        if runs:
            scores = ", ".join(f"{run['score']:.3f}" for run in runs)
            note = f"mean of {len(runs)} runs: {scores}"
        elif seeds > 1:
            note = f"mean of {seeds} runs; the newest evaluations {number('win_rate', '.2f')}"
        table.add_row("win rate", f"{number('score', '.3f')}  ({note})")
    table.add_row("return", number("return", ".2f"))
    table.add_row(
        "size",
        f"{number('parameters', ',')} of {number('parameters_dense', ',')} parameters, "
        f"density {number('density', '.3f')}",
    )
    table.add_row(
        "FLOPs",
        f"{number('flops_train_ratio', '.3f')} of dense in training, "
        f"{number('flops_inference_ratio', '.3f')} acting",
    )
    table.add_row(
        "speed",
        f"{number('env_steps_per_second', ',.0f')} env steps/s, "
        f"{number('updates_per_second', '.1f')} updates/s, {number('seconds', '.0f')} s in all",
    )
    folder = f"{summary['out']}/seed-K" if seeds > 1 else summary["out"]
    table.add_row("policy", f"{folder}/policy.safetensors")
    output.say("")
    output.show(table)
    if summary.get("updates") == 0:
        output.say(
            "\nnote: nothing was learned: the run ended before its first update, for which it needs "
            "batch_size episodes and warmup_env_steps"
        )
    output.say(f"\nplay it: mast evaluate {summary['out']}")


def mean_summary(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of the numbers that runs report; None where a run has none or where it is text.

    A count stays a whole number. A speed is the mean of the runs that have one: a finished run that was
    resumed has not trained.
    """
    keys = itertools.chain.from_iterable(summary.keys() for summary in summaries)
    means = {}
    for key in dict.fromkeys(keys):
        values = [summary.get(key) for summary in summaries]
        if key.endswith("_per_second"):
            values = [value for value in values if value is not None] or [None]
        means[key] = _mean(values)
    means.pop("seed", None)
    return means


def _mean(values: Sequence[Any]) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        return {key: _mean([value.get(key) for value in values]) for key in values[0]}
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, int) for value in values):
        return round(sum(values) / len(values))
    if all(isinstance(value, int | float) for value in values):
        return sum(values) / len(values)
    return None
