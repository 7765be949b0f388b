"""`mast study check`: fresh runs of a study held to stored ones; what `make regress` calls."""

from pathlib import Path

from mast.commands.options import JSON, QUIET, Command, Option
from mast.commands.study_options import FILTERS, RESULTS, STUDY, chosen, results_of
from mast.errors import SelfCheckError, UserError
from mast.studies.groups import groups_of
from mast.studies.regression import compare
from mast.studies.results import ResultFolder
from mast.terminal.output import Output, plain_table
from mast.terminal.values import Values


def run_check(values: Values) -> int:
    """Compares levels of curves, method by method."""
    output = Output(values)
    study, cells = chosen(values)
    if "fresh" not in values:
        raise UserError(
            "--fresh: missing; the folder of the fresh runs' rows, as mast study run --results"
        )
    fresh_folder = ResultFolder(Path(str(values["fresh"])) / study.name)
    stored_folder = results_of(values, study)
    fresh = {group.label: group for group in groups_of(study, fresh_folder.find_all(cells))}
    verdicts = []
    for stored in groups_of(study, stored_folder.find_all(study.cells)):
        if not stored.results:
            raise UserError(f"{stored_folder.folder} has no {stored.label} to hold anything to")
        if not fresh[stored.label].results:
            raise UserError(f"{fresh_folder.folder} has no {stored.label}; first: mast study run")
        measures = {result.measure for result in stored.results}
        if measures != {"win_rate"}:
            raise UserError(
                f"{stored.label} of study {study.name} is measured by {', '.join(sorted(measures))}: only "
                "win rates are held to each other"
            )
        verdicts.append(compare(stored, fresh[stored.label]))
    table = plain_table()
    for heading in ("", "now", "stored", "allowed", "curves", ""):
        table.add_column(heading, justify="left" if heading in ("", "curves") else "right")
    for verdict in verdicts:
        table.add_row(
            verdict.label,
            f"{verdict.fresh:.3f}",
            f"{verdict.stored:.3f}",
            f"±{verdict.band:.3f}",
            "identical" if verdict.identical else "others",
            "holds" if verdict.holds else "FAILS",
        )
    output.say("mean greedy win rate over the last half of the evaluations")
    output.show(table)
    failing = [verdict.label for verdict in verdicts if not verdict.holds]
    output.result(
        {
            "holds": not failing,
            "verdicts": [
                {**vars(verdict), "holds": verdict.holds, "identical": verdict.identical}
                for verdict in verdicts
            ],
        }
    )
    if failing:
        raise SelfCheckError(f"{', '.join(failing)}: outside the band of {stored_folder.folder}")
    return 0


CHECK = Command(
    "study check",
    "hold fresh runs of a study to stored ones",
    "Compares the level of fresh runs' curves with that of stored rows, method by method, in a band from "
    "the spread of the stored seeds. make regress does it for the study regress.",
    (
        STUDY,
        *FILTERS,
        Option("fresh", "where the fresh rows lie, in a folder per study", "DIR"),
        RESULTS,
        QUIET,
        JSON,
    ),
    run_check,
)
