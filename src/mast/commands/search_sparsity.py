"""`mast search-sparsity`: how sparse a team can be before it loses to a dense one."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mast.commands.interruption import INTERRUPTED, Interruption
from mast.commands.options import (
    JSON,
    QUIET,
    Command,
    Option,
    Values,
    given_settings,
    required,
    setting_options,
    whole_number,
)
from mast.commands.study_options import (
    EXECUTION,
    RESULTS,
    WORK,
    execution_of,
    jobs_and_cores,
    time_of,
)
from mast.config import Config, resolve
from mast.configuration.settings.networks import TopologySettings
from mast.errors import UserError
from mast.own_code import in_file_names
from mast.studies.groups import Group, groups_of
from mast.studies.processes import ProcessJob
from mast.studies.progress import StudyProgress, duration
from mast.studies.results import Result, ResultFolder
from mast.studies.runner import Runner
from mast.studies.sparsity_search import Probe, Search, core_seconds, grid, judge, search
from mast.studies.study import MOST_SEEDS, Study, read_study
from mast.terminal.output import Output, plain_table

_OWN = ("environment", "seeds", "seed", "sparsity", "threads", "placement", "execution", "from_run")
"""Settings that the search decides, or that have an option of its own."""
_LOW, _HIGH, _RESOLUTION, _TOLERANCE = 0.5, 0.99, 0.01, 0.03


def run_search_sparsity(values: Values) -> int:
    """Bisects sparsities; each is a small study of its own whose rows are kept."""
    output = Output(values)
    environment = required(values, "environment", "ENV", "smax/3m")
    typed = {name: value for name, value in given_settings(values).items() if name not in _OWN}
    settings = {**typed, "environment": environment}
    config = resolve({**settings, "sparsity": _LOW})
    if config.stays_dense and config.widths == "full":
        raise UserError(f"method = {config.method}: has no sparsity to search")
    tolerance = _share(values, "tolerance", _TOLERANCE)
    low, high = _share(values, "low", _LOW), _share(values, "high", _HIGH)
    resolution = _share(values, "resolution", _RESOLUTION)
    if low >= high:
        raise UserError(f"low = {low}: must be below high = {high}")
    seeds = whole_number(values, "seeds", 4, at_least=1, at_most=MOST_SEEDS)
    name = f"search-{environment}-{in_file_names(config.algorithm)}-{config.method}"
    name = name.replace("/", "-").replace(":", "-")
    for first in ({**settings, "sparsity": low}, dense_settings(settings)):
        _study(name, first, seeds)  # refused before anything is trained
    compute = _Computer(values, name, output)
    output.say(
        f"looking for the highest sparsity from {low:g} to {high:g} within {tolerance:.0%} of dense"
    )
    dense = compute(_study(name, dense_settings(settings), seeds))
    if dense is None:
        output.say("stopped before dense was trained; the same command goes on")
        return compute.exit_code
    if dense.numbers.mean() <= 0:
        measure = dense.results[0].measure.replace("_", " ")
        raise UserError(
            f"dense has a {measure} of {dense.numbers.mean():g} on {environment}: nothing can be within "
            f"{tolerance:.0%} of it"
        )

    def probe(sparsity: float) -> Probe | None:
        group = compute(_study(name, {**settings, "sparsity": sparsity}, seeds))
        if group is None:
            return None
        found = judge(group, dense, tolerance)
        output.say(_in_words(found))
        return found

    found = search(grid(low, high, resolution), probe)
    _show(found, dense, output)
    return compute.exit_code


def dense_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the dense team that the sparse ones are held to, which has no topology to set."""
    own = {name: settings[name] for name in settings if name not in TopologySettings.model_fields}
    return own | {"method": "dense"}


class _Computer:
    """What computes the one group of a study: its runs that have no row yet; None where it was stopped.

    `exit_code` is 0, also when the budget is spent, as of `mast study run`.
    """

    def __init__(self, values: Values, name: str, output: Output) -> None:
        self.exit_code = 0
        self._output = output
        self._results = ResultFolder(Path(str(values.get("results", "results"))) / name)
        self._work = Path(str(values.get("work", "runs/studies"))) / name
        self._execution = execution_of(values)
        self._jobs, self._core_of = jobs_and_cores(values)
        budget = time_of(values, "budget")
        self._deadline = None if budget is None else time.monotonic() + budget

    def __call__(self, study: Study) -> Group | None:
        with StudyProgress(self._output) as progress, Interruption(lambda: None) as interruption:
            outcome = Runner(
                study.cells,
                self._results,
                lambda cell, slot: ProcessJob(
                    cell, self._work, self._core_of(slot), self._execution
                ),
                self._jobs,
                progress,
                budget=None if self._deadline is None else self._deadline - time.monotonic(),
                interrupted=lambda: interruption.requested,
            ).run()
        if outcome.failed:
            raise UserError(f"{next(iter(outcome.failed))} failed: see the lines above")
        if outcome.left and outcome.stopped != "budget":
            self.exit_code = INTERRUPTED
        return None if outcome.left else _group(study, outcome.done)


def _group(study: Study, done: Sequence[Result]) -> Group:
    [group] = groups_of(study, done)
    return group


def _study(name: str, settings: Mapping[str, Any], seeds: int) -> Study:
    content = {"seeds": seeds, "cells": [dict(settings)]}
    return read_study(name, content, "search-sparsity")


def _share(values: Values, name: str, default: float) -> float:
    text = str(values.get(name, default))
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise UserError(f"{name} = {text}: must be a number above 0 and below 1")
    return number


def _in_words(probe: Probe) -> str:
    low, high = 100 * probe.of_dense.low, 100 * probe.of_dense.high
    verdict = ("holds" if probe.holds else "fails") + ("" if probe.is_sure else ", not surely")
    share = f"{100 * probe.of_dense.mean:.1f} % of dense [{low:.1f}, {high:.1f}]"
    return f"sparsity {probe.sparsity:g}: {share}: {verdict}"


def _show(found: Search, dense: Group, output: Output) -> None:
    """The probes, the answer and what it cost."""
    table = plain_table()
    for heading in ("sparsity", "% of dense", "95 % interval", "", "one core"):
        table.add_column(heading, justify="right")
    for probe in sorted(found.probes, key=lambda each: each.sparsity):
        low, high = 100 * probe.of_dense.low, 100 * probe.of_dense.high
        verdict = ("holds" if probe.holds else "fails") + ("" if probe.is_sure else "?")
        mean = f"{100 * probe.of_dense.mean:.1f}"
        interval = f"{low:.1f} to {high:.1f}"
        table.add_row(f"{probe.sparsity:g}", mean, interval, verdict, duration(probe.seconds))
    output.show(table)
    seconds = core_seconds(dense) + sum(probe.seconds for probe in found.probes)
    runs = len(dense.results) * (1 + len(found.probes))
    best = "none of them" if found.best is None else f"{found.best:g}"
    state = "" if found.finished else " so far; the same command goes on"
    output.say(f"highest sparsity that holds: {best}{state}")
    output.say(f"cost: {runs} runs, {duration(seconds)} of one core, dense included")
    if any(not probe.is_sure for probe in found.probes):
        output.say("? the interval reaches over the bound: more --seeds would make it sure")
    output.result(
        {
            "best": found.best,
            "finished": found.finished,
            "dense": float(dense.numbers.mean()),
            "probes": [
                {
                    "sparsity": probe.sparsity,
                    "of_dense": probe.of_dense.mean,
                    "low": probe.of_dense.low,
                    "high": probe.of_dense.high,
                    "holds": probe.holds,
                    "sure": probe.is_sure,
                    "seconds": probe.seconds,
                }
                for probe in found.probes
            ],
            "runs": runs,
            "seconds": seconds,
        }
    )


SEARCH_SPARSITY = Command(
    "search-sparsity",
    "the highest sparsity that stays near dense",
    "Trains dense, then bisects sparsities for the highest whose mean score is within the tolerance of "
    "dense's. It takes for granted that more sparsity is never better. Rows are kept, so the same "
    "command goes on.",
    (
        Option("environment", "what to learn", "ENV", "see: mast envs", positional=True),
        Option(
            "tolerance",
            "share of dense's score that may be missing",
            "X",
            "default 0.03, MAST Table 1",
        ),
        Option("seeds", "runs at each sparsity", "N", "default 4"),
        Option("low", "smallest sparsity", "X", f"default {_LOW}"),
        Option("high", "largest sparsity", "X", f"default {_HIGH}"),
        Option("resolution", "distance between two sparsities", "X", f"default {_RESOLUTION}"),
        Option("jobs", "runs at the same time, one core each", "N", "default one per core"),
        Option("budget", "stop cleanly after this time, saving", "TIME", "default none"),
        EXECUTION,
        RESULTS,
        WORK,
        QUIET,
        JSON,
        *setting_options([name for name in Config.model_fields if name not in _OWN]),
    ),
    run_search_sparsity,
)
