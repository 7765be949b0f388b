"""`mast study …`: the paper's tables and figures, and one's own, listed, shown and given results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from mast.commands.options import JSON, QUIET, Command, Option, required, whole_number
from mast.commands.study_check import CHECK
from mast.commands.study_options import (
    EXAMPLE,
    FILTERS,
    JOBS,
    MOST_JOBS,
    RESULTS,
    STUDY,
    chosen,
    make_folder,
    missing_results,
    results_of,
)
from mast.commands.study_report import REPORT
from mast.commands.study_run import RUN
from mast.config import load_run_config
from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.estimate import Estimator, makespan
from mast.studies.groups import groups_of
from mast.studies.library import built_in, find_study
from mast.studies.processes import cores
from mast.studies.progress import duration
from mast.studies.protocol import key_of
from mast.studies.run_result import check_is_cell, files_of_run
from mast.studies.study import Study
from mast.studies.unread import same_runs
from mast.terminal.output import Output, plain_table
from mast.terminal.values import Values

NOTHING_DONE = "nothing counts as done"


def run_list(values: Values) -> int:
    """Lists the studies that come with Mast."""
    output = Output(values)
    for note in missing_results(values, NOTHING_DONE):
        output.say(f"note: {note}")
    table = plain_table()
    for heading in ("study", "done", "cells", ""):
        table.add_column(heading, justify="right" if heading in ("done", "cells") else "left")
    listed = []
    for name in built_in():
        study = find_study(name)
        done = len(results_of(values, study).find_all(study.cells))
        table.add_row(Text(name, style="cyan"), str(done), str(len(study.cells)), study.title)
        listed.append(study.named() | {"done": done, "total": len(study.cells)})
    output.show(table)
    output.say("\nyour own: a file that ends with .toml (docs/studies.md)")
    output.result({"studies": listed})
    return 0


def run_show(values: Values) -> int:
    """Shows a study: its cells, what is done, and how long the rest will take here."""
    output = Output(values)
    study, cells = chosen(values)
    found = {result.cell.key: result for result in results_of(values, study).find_all(cells)}
    estimator = Estimator(found.values())
    left = [cell for cell in cells if cell.key not in found]
    jobs = whole_number(values, "jobs", max(1, len(cores())), at_least=1, at_most=MOST_JOBS)
    for note in (*missing_results(values, NOTHING_DONE), *same_runs(groups_of(study, ()))):
        output.say(f"note: {note}")
    seconds = makespan([estimator.seconds(cell) for cell in left], jobs)
    output.say(study.title)
    for line in (study.paper, study.about):
        if line:
            output.say(line)
    output.say("")
    table = plain_table()
    for heading in ("cell", "steps", "score", "time"):
        table.add_column(heading, justify="left" if heading == "cell" else "right")
    for cell in cells:
        result = found.get(cell.key)
        if result is None:
            took = "about " + duration(estimator.seconds(cell))
        else:
            took = duration(result.row["seconds"])
        score = None if result is None else result.score
        table.add_row(
            Text(cell.name, style="" if result is None else "green"),
            f"{cell.config.steps:,}",
            "-" if score is None else f"{score:.3f}",
            took,
        )
    output.show(table)
    rest = "" if not left else f"; the rest takes about {duration(seconds)} here, {jobs} at a time"
    output.say(f"\n{len(found)} of {len(cells)} done{rest}")
    listed = []
    for cell in cells:
        result = found.get(cell.key)
        listed.append(
            _named(cell)
            | {
                "done": result is not None,
                "score": None if result is None else result.score,
                "seconds": estimator.seconds(cell) if result is None else result.row["seconds"],
            }
        )
    counts = {"done": len(found), "total": len(cells), "seconds_left": seconds}
    output.result(study.named() | counts | {"cells": listed})
    return 0


def run_adopt(values: Values) -> int:
    """Writes the rows of cells that were trained by hand."""
    output = Output(values)
    study = find_study(required(values, "study", "STUDY", EXAMPLE))
    runs = [Path(run) for run in values.get("run", ())]
    if not runs:
        raise UserError(f"RUN: missing; for example mast study adopt {study.name} runs/my-run")
    results = results_of(values, study)
    adopted = []
    for run in runs:
        cell = cell_of_run(run, study)
        adopted.append((cell, files_of_run(run, cell)))
    make_folder(results.folder)
    for cell, files in adopted:
        result = results.write(cell, files)
        score = "-" if result.score is None else f"{result.score:.3f}"
        output.say(f"{result.path}: score {score}")
    output.result({"adopted": [cell.name for cell, _ in adopted], "results": str(results.folder)})
    return 0


def cell_of_run(run: Path, study: Study) -> Cell:
    """The cell of a study that a run is.

    Raises:
        UserError: it is none of them; says what differs from the nearest one.
    """
    config = load_run_config(run)
    key = key_of(config)
    for cell in study.cells:
        if cell.key == key:
            return cell
    settings = config.model_dump()
    nearest = max(study.cells, key=lambda cell: _likeness(cell, settings))
    check_is_cell(run, nearest)
    return nearest


def _likeness(cell: Cell, settings: Mapping[str, Any]) -> list[int]:
    """How near a run's settings are to a cell's: names first, then how many are the same."""
    own = cell.config.model_dump()
    alike = [int(own[name] == settings[name]) for name in ("environment", "algorithm", "method")]
    return [*alike, sum(own[name] == settings[name] for name in own)]


def _named(cell: Cell) -> dict[str, Any]:
    config = cell.config
    return {
        "cell": cell.name,
        "environment": config.environment,
        "algorithm": config.algorithm,
        "method": config.method,
        "sparsity": config.sparsity,
        "arm": cell.arm,
        "seed": config.seed,
        "steps": config.steps,
    }


STUDY_COMMANDS = (
    Command(
        "study list",
        "the studies: the paper's tables and figures",
        "Lists the studies with how many of their cells are done.",
        (RESULTS, QUIET, JSON),
        run_list,
    ),
    Command(
        "study show",
        "a study's cells, what is done and what is left",
        "Shows every cell with its score, or with how long it will take here.",
        (STUDY, *FILTERS, JOBS, RESULTS, QUIET, JSON),
        run_show,
    ),
    RUN,
    Command(
        "study adopt",
        "make runs that you trained by hand cells of a study",
        "Checks that each run has a cell's settings and is finished, and writes its row and curve.",
        (
            STUDY,
            Option("run", "folders of finished runs", "RUN", positional=True, many=True),
            RESULTS,
            QUIET,
            JSON,
        ),
        run_adopt,
    ),
    REPORT,
    CHECK,
)
