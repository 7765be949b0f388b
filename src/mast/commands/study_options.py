"""What the commands of `mast study` have in common: which study, which cells, which folders."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mast.commands.options import Option, required, whole_number
from mast.configuration.explain import check_word, choices
from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.library import find_study
from mast.studies.processes import cores
from mast.studies.results import ResultFolder
from mast.studies.study import Study
from mast.terminal.values import Values

MOST_JOBS = 1024

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
EXECUTION = Option("execution", "as in mast train: auto, masked, compact", "NAME", "default auto")
JOBS = Option("jobs", "cells at the same time, one core each", "N", "default one per core")


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


def missing_results(values: Values, consequence: str) -> list[str]:
    """Notes that the folder named with --results does not exist, which may be a slip of the pen."""
    if "results" not in values or Path(values["results"]).is_dir():
        return []
    return [f"--results {values['results']}: no such folder; {consequence}"]


def work_of(values: Values, study: Study) -> Path:
    """The folder of a study's run folders."""
    return Path(values.get("work", "runs/studies")) / study.name


def time_of(values: Values, name: str) -> float | None:
    """The seconds of an option that is a time; None where it was not typed.

    Raises:
        UserError: it is none, such as 90s, 25m or 2h.
    """
    if name not in values:
        return None
    text = str(values[name]).strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", text)
    if match is None or float(match[1]) <= 0:
        raise UserError(f"{name} = {text}: must be a time such as 90s, 25m or 2h")
    return float(match[1]) * {"s": 1, None: 1, "m": 60, "min": 60, "h": 3600}[match[2]]


def execution_of(values: Values) -> str:
    """As `mast train --execution`."""
    return one_of(values, "execution", choices("execution"), "auto")


def one_of(values: Values, name: str, allowed: Sequence[str], default: str) -> str:
    """The value of an option that is one of a few words.

    Raises:
        UserError: it is none of them.
    """
    value = str(values.get(name, default))
    check_word(name, value, allowed)
    return value


def jobs_and_cores(values: Values) -> tuple[int, Callable[[int], int | None]]:
    """How many cells run at the same time, and the core of each slot.

    Cells are not pinned where there are more of them than cores, or where the system cannot.
    """
    usable = cores()
    jobs = whole_number(values, "jobs", max(1, len(usable)), at_least=1, at_most=MOST_JOBS)
    return jobs, lambda slot: usable[slot] if jobs <= len(usable) else None


def make_folder(folder: Path) -> None:
    """Makes a folder where it is missing, before anything is computed.

    Raises:
        UserError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
