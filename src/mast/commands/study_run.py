"""`mast study run`: computes what is missing of a study."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mast.commands.interruption import INTERRUPTED, Interruption
from mast.commands.options import JSON, QUIET, Command, Option
from mast.commands.study_options import (
    EXECUTION,
    FILTERS,
    JOBS,
    RESULTS,
    STUDY,
    WORK,
    chosen,
    execution_of,
    jobs_and_cores,
    make_folder,
    missing_results,
    one_of,
    results_of,
    time_of,
    work_of,
)
from mast.configuration.explain import choices
from mast.own_code import is_own
from mast.studies.cell import Cell
from mast.studies.estimate import Estimator
from mast.studies.groups import groups_of
from mast.studies.job import Job, Launcher
from mast.studies.processes import KEEP, ProcessJob, prune
from mast.studies.progress import StudyProgress, duration
from mast.studies.ray_cluster import RayCluster
from mast.studies.results import ResultFolder
from mast.studies.runner import Outcome, Runner
from mast.studies.unread import same_runs
from mast.studies.vmapped import VmappedJob, has_gpu, together
from mast.terminal.output import Output
from mast.terminal.values import Values

SOME_FAILED = 1


def run_run(values: Values) -> int:
    """Computes what is missing of a study, here or on a cluster."""
    output = Output(values)
    study, cells = chosen(values)
    results, work = results_of(values, study), work_of(values, study)
    budget, execution = time_of(values, "budget"), execution_of(values)
    keep = one_of(values, "keep", KEEP, KEEP[0])
    placement = one_of(values, "placement", choices("placement"), "auto")
    jobs, core_of = jobs_and_cores(values)
    notes = missing_results(values, "it is made") + same_runs(groups_of(study, ()))
    _check_own_rules(cells)
    make_folder(results.folder)
    make_folder(work)
    sources = {cell.source.key for cell in study.cells if cell.source is not None}

    def settled(cell: Cell) -> None:
        if keep == "policy" and cell.key not in sources and (work / cell.name).exists():
            prune(work / cell.name)

    with contextlib.ExitStack() as stack:
        if "ray" in values:
            with output.only_ours():
                cluster = RayCluster(str(values["ray"]))
            stack.callback(cluster.close)
            jobs = jobs if "jobs" in values else cluster.cpus
            launch: Launcher = functools.partial(_on_cluster, cluster, work, execution)
        elif placement == "vmap" or (placement == "auto" and has_gpu()):
            jobs = jobs if "jobs" in values else 1
            missing = [cell for cell in cells if results.find(cell) is None]
            launch = functools.partial(_vmapped, missing, work, execution)
        else:
            launch = functools.partial(_pinned, work, execution, core_of)
        for note in notes:
            output.say(f"note: {note}")
        progress = stack.enter_context(StudyProgress(output))
        interruption = stack.enter_context(Interruption(lambda: None))
        outcome = Runner(
            cells,
            results,
            launch,
            jobs,
            progress,
            budget=budget,
            interrupted=lambda: interruption.requested,
            settled=settled,
        ).run()
    folders = "".join(f" --{name} {values[name]}" for name in ("results", "work") if name in values)
    about = study.named() | {"go_on": f"mast study run {values['study']}{folders}"}
    return _report(outcome, about, len(cells), results, output)


def _check_own_rules(cells: Sequence[Cell]) -> None:
    """Refuses rules of a user's own that no training could use, before the first of them begins."""
    rules = ("drop", "growth", "drop_schedule")
    own = [cell.config for cell in cells if any(is_own(getattr(cell.config, r)) for r in rules)]
    if own:
        from mast.execution.rules import rules_of  # imports JAX

        rules_of(own)


def _pinned(
    work: Path, execution: str, core_of: Callable[[int], int | None], cell: Cell, slot: int
) -> Job:
    return ProcessJob(cell, work, core_of(slot), execution)


def _vmapped(missing: Sequence[Cell], work: Path, execution: str, cell: Cell, slot: int) -> Job:
    seeds = together(cell, missing, work)
    if len(seeds) > 1:
        return VmappedJob(cell, seeds, work)
    return ProcessJob(cell, work, None, execution)


def _on_cluster(cluster: RayCluster, work: Path, execution: str, cell: Cell, slot: int) -> Job:
    return cluster.launch(cell, work, execution)


def _report(
    outcome: Outcome, about: Mapping[str, Any], total: int, results: ResultFolder, output: Output
) -> int:
    """Says what is done and left; the exit code."""
    output.say(f"{len(outcome.done)} of {total} cells done, rows in {results.folder}")
    if outcome.failed:
        output.say(f"failed, and tried again the next time: {', '.join(outcome.failed)}")
    if outcome.left:
        seconds = sum(Estimator(outcome.done).seconds(cell) for cell in outcome.left)
        output.say(
            f"{len(outcome.left)} left, {duration(seconds)} of one core at most; go on with: "
            f"{about['go_on']}"
        )
    output.result(
        {
            **about,
            "done": len(outcome.done),
            "total": total,
            "failed": [{"cell": name, "last_lines": text} for name, text in outcome.failed.items()],
            "left": [cell.name for cell in outcome.left],
            "stopped": outcome.stopped or None,
            "results": str(results.folder),
        }
    )
    if outcome.stopped == "interrupted":
        return INTERRUPTED
    return SOME_FAILED if outcome.failed else 0


RUN = Command(
    "study run",
    "compute what is missing of a study",
    "Trains every cell that has no row yet, longest first. Ctrl-C and the end of the budget save "
    "the running cells; the same command goes on.",
    (
        STUDY,
        *FILTERS,
        JOBS,
        Option(
            "budget",
            "stop cleanly after this time, saving",
            "TIME",
            "90s, 25m, 2h; default none",
        ),
        Option(
            "ray",
            "send cells to this Ray cluster",
            "ADDRESS",
            "auto, HOST:PORT or ray://HOST:PORT",
        ),
        Option(
            "placement",
            "seeds of a cell: a process each, or one vmapped program",
            "NAME",
            "auto: vmap on a GPU; process, vmap",
        ),
        EXECUTION,
        Option(
            "keep",
            "of a finished cell's run folder: everything, or policy (no checkpoints)",
            "NAME",
            "default everything",
        ),
        RESULTS,
        WORK,
        QUIET,
        JSON,
    ),
    run_run,
)
