"""A report's tables as text: for the terminal, Markdown, LaTeX and CSV. Imports no JAX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mast.studies.groups import Panel
from mast.studies.report.columns import (
    STATEMENTS_NOTE,
    Column,
    Entry,
    arm_columns,
    columns_of,
    statement_columns,
)
from mast.studies.report.tables import lines_of, ordering_of
from mast.studies.study import Study

_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "ω": r"$\omega$",
    "α": r"$\alpha$",
    "Δ": r"$\Delta$",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}
NUMBERS = (
    "environment",
    "algorithm",
    "method",
    "sparsity",
    "arm",
    "seeds_done",
    "seeds_asked",
    "measure",
    "mean",
    "mean_low",
    "mean_high",
    "iqm",
    "iqm_low",
    "iqm_high",
    "of_dense",
    "of_dense_low",
    "of_dense_high",
    "better_than_dense",
    "better_than_rigl",
    "paper_of_dense_percent",
    "paper_win_rate_percent",
    "seconds",
    "each_seed",
)
"""The columns of the CSV; shares are from 0 to 1, the paper's numbers in % as it prints them."""


class TextTable(NamedTuple):
    """A table with its title and the lines under it."""

    title: str
    columns: list[Column]
    notes: list[str]

    @property
    def rows(self) -> Iterator[tuple[Entry, ...]]:
        """The entries of each line."""
        return zip(*(column.entries for column in self.columns), strict=True)


def text_tables(study: Study, panels: Sequence[Panel], *, brief: bool = False) -> list[TextTable]:
    """The tables of a study: of each panel its groups, and its arms side by side where it has any.

    Args:
        study: whose results they are.
        panels: with results.
        brief: whether only the columns are wanted that a terminal has room for.
    """
    tables = []
    for panel in panels:
        lines = lines_of(panel, study.table)
        columns = columns_of(panel, lines)
        if brief:
            columns = [each for each in columns if each.brief]
        title = f"{panel.title} ({'; '.join(panel.identities)})"
        ordering = ordering_of(lines)
        notes = []
        if ordering is not None:
            notes = [f"{ordering.agree} of {ordering.pairs} pairs come in the paper's order"]
        tables.append(TextTable(title, columns, notes))
        arms = arm_columns(panel, study.table)
        if arms:
            tables.append(TextTable(f"{panel.title}, by arm", arms, []))
        said = statement_columns(panel, study)
        if said:
            tables.append(
                TextTable(f"{panel.title}: the paper's statements", said, [STATEMENTS_NOTE])
            )
    return tables


def one_line(entry: Entry) -> str:
    """The number with what is beside it in brackets."""
    return f"{entry.text} ({entry.small})" if entry.small else entry.text


def shortest(entry: Entry) -> str:
    """The same for a narrow terminal."""
    return re.sub(r"(?<=\d) to ", "–", one_line(entry))


def markdown(study: Study, tables: Iterable[TextTable]) -> str:
    """The tables in Markdown."""
    parts = [f"# {study.title}"]
    for table in tables:
        heads = [_of_markdown(column.head) for column in table.columns]
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
        lines += [[_of_markdown(one_line(entry)) for entry in row] for row in table.rows]
        parts.append(f"## {table.title}")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts += table.notes
    return "\n\n".join(parts) + "\n"


def _of_markdown(text: str) -> str:
    for letter in r"\|*_`<$":
        text = text.replace(letter, "\\" + letter)
    return text.replace("\n", " ")


def latex(study: Study, tables: Iterable[TextTable]) -> str:
    """The tables in LaTeX, for the package booktabs."""
    parts = [f"% {' '.join(study.title.split())}; needs \\usepackage{{booktabs}}"]
    for table in tables:
        rows = [[column.head for column in table.columns]]
        rows += [[one_line(entry) for entry in row] for row in table.rows]
        head, *body = [" & ".join(map(_of_latex, row)) + r" \\" for row in rows]
        caption = ". ".join([table.title, *table.notes])
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_of_latex(caption)}.}}",
                    rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
                    r"\toprule",
                    head,
                    r"\midrule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _of_latex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


def numbers_csv(study: Study, panels: Iterable[Panel]) -> str:
    """A row per group with every number as it was measured, for programs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, NUMBERS, restval="", lineterminator="\n")
    writer.writeheader()
    for panel in panels:
        for line in lines_of(panel, study.table):
            config = line.group.config
            row: dict[str, object] = {
                "environment": panel.environment,
                "algorithm": panel.algorithm,
                "method": line.group.method,
                "sparsity": config.sparsity,
                "arm": line.group.arm,
                "seeds_done": line.seeds[0],
                "seeds_asked": line.seeds[1],
                "measure": panel.measure,
                "seconds": "" if line.seconds is None else f"{line.seconds:.6g}",
                "each_seed": " ".join(f"{number:.6g}" for number in line.group.numbers),
            }
            for name in ("mean", "iqm", "of_dense"):
                interval = getattr(line, name)
                if interval is not None:
                    ends = zip(("", "_low", "_high"), interval, strict=True)
                    row |= {name + end: f"{value:.6g}" for end, value in ends}
            for name in ("dense", "rigl"):
                interval = getattr(line, f"over_{name}")
                if interval is not None:
                    row[f"better_than_{name}"] = f"{interval.mean:.6g}"
            if line.paper is not None:
                row["paper_of_dense_percent"] = line.paper.of_dense
                row["paper_win_rate_percent"] = "" if line.paper.raw is None else line.paper.raw
            writer.writerow(row)
    return text.getvalue()
