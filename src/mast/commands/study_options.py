"""What the commands of `mast study` have in common: which study, which cells, which folders."""

from pathlib import Path

from mast.commands.options import Option, Values, required
from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.library import find_study
from mast.studies.results import ResultFolder
from mast.studies.study import Study

EXAMPLE = "table1-lite"
SHORT_FILTERS = ("map", "algorithm", "method", "sparsity", "seed")

STUDY = Option(
    "study",
    "a study's name, or a file of your own",
    "STUDY",
    "see: mast study list",
    positional=True,
)
RESULTS = Option(
    "results", "where rows and curves lie, in a folder per study", "DIR", "default results"
)
WORK = Option("work", "where the run folders lie", "DIR", "default runs/studies")
ONLY = Option(
    "only",
    "cells with this setting; may be given again",
    "NAME=VALUE",
    "map=3m, method=mast,rigl",
    many=True,
)
FILTERS = (
    ONLY,
    *(Option(name, f"short for --only {name}=…", "VALUE") for name in SHORT_FILTERS),
)


def chosen(values: Values) -> tuple[Study, tuple[Cell, ...]]:
    """The study that was named, and the cells of it that were asked for."""
    study = find_study(required(values, "study", "STUDY", EXAMPLE))
    only: dict[str, list[str]] = {}
    for text in values.get("only", ()):
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"--only {text}: must look like map=3m or method=mast,rigl")
        only.setdefault(name.replace("-", "_"), []).extend(value.split(","))
    for name in SHORT_FILTERS:
        if name in values:
            only.setdefault(name, []).extend(str(values[name]).split(","))
    return study, study.chosen(only)


def results_of(values: Values, study: Study) -> ResultFolder:
    """The folder of a study's rows."""
    return ResultFolder(Path(values.get("results", "results")) / study.name)


def work_of(values: Values, study: Study) -> Path:
    """The folder of a study's run folders."""
    return Path(values.get("work", "runs/studies")) / study.name
