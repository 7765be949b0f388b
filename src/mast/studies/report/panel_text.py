"""A panel of a study's report as html: its table beside the paper's numbers, and whether the order holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mast.studies.groups import Panel
from mast.studies.paper_numbers import TITLES
from mast.studies.report.columns import (
    NONE,
    SEEDS,
    STATEMENTS_NOTE,
    Column,
    Entry,
    arm_columns,
    columns_of,
    interval_text,
    statement_columns,
)
from mast.studies.report.tables import (
    TOLERANCE,
    Line,
    Ordering,
    lines_of,
    ordering_of,
    over_all_maps,
    score_said,
)
from mast.studies.statistics import FEWEST
from mast.studies.study import Study
from mast.training.statistics import Interval


def panel_text(panel: Panel, study: Study, drawn: Sequence[str]) -> str:
    """The section of one environment and algorithm.

    Args:
        panel: with results.
        study: that it is of.
        drawn: its figures as html.
    """
    lines = lines_of(panel, study.table)
    steps = dict.fromkeys(f"{line.group.config.steps:,}" for line in lines)
    parts = [
        f"<h2>{escape(panel.title)}</h2>",
        f'<p class="quiet">{escape("; ".join(panel.identities))}. {", ".join(steps)} environment steps.</p>',
        _table(columns_of(panel, lines)),
        _table_note(panel, lines, study),
        _arms(panel, study),
    ]
    ordering = ordering_of(lines)
    if ordering is not None:
        parts.append(_ordering(ordering, lines, TITLES[study.table]))
    said = statement_columns(panel, study)
    if said:
        parts.append(f"<h3>The paper's statements</h3>{_table(said)}")
        parts.append(f'<p class="quiet"><small>{escape(STATEMENTS_NOTE)}</small></p>')
    return "\n".join([*parts, *drawn])


def _table(columns: Sequence[Column]) -> str:
    text = _row("th", [escape(column.head) for column in columns])
    rows = zip(*(column.entries for column in columns), strict=True)
    for row in rows:
        cells = [_entry(entry, column.head) for entry, column in zip(row, columns, strict=True)]
        text += _row("td", cells)
    return f'<div class="wide"><table>{text}</table></div>'


def _entry(entry: Entry, head: str = "") -> str:
    text = escape(entry.text)
    if head == SEEDS and " of " in entry.text:
        text = f'<span class="fewer">{text}</span>'
    return f"{text}<br><small>{escape(entry.small)}</small>" if entry.small else text


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _table_note(panel: Panel, lines: Sequence[Line], study: Study) -> str:
    text = f"A run's number is the mean of {score_said(panel)}."
    if any(len(line.group.results) >= FEWEST for line in lines):
        text += f" Below it: 95 % bootstrap interval over seeds, from {FEWEST} seeds on."
    text += " IQM: mean of the middle half."
    if panel.time_is_cpu:
        text += " Time: median processor time of a run"
        text += ", where it is known." if any(line.seconds is None for line in lines) else "."
    else:
        text += " Time: median wall time of a run, which says little where cores were shared."
    if any(line.paper is not None for line in lines):
        text += f" Paper: {TITLES[study.table]}; its win rates are mean ± standard deviation."
    return f'<p class="quiet"><small>{escape(text)}</small></p>'


def _arms(panel: Panel, study: Study) -> str:
    """The arms side by side; "" where the study has none that several methods share."""
    columns = arm_columns(panel, study.table)
    if not columns:
        return ""
    note = "Small: each seed."
    if study.table:
        note += f" Pairs of methods, dense left out, in the order of {TITLES[study.table]}."
    return f'<h3>Arm by arm</h3>{_table(columns)}<p class="quiet"><small>{escape(note)}</small></p>'


def _ordering(ordering: Ordering, lines: Sequence[Line], paper: str) -> str:
    best_here, best_there = escape(ordering.ours[0]), escape(ordering.paper[0])
    verdict = f"The paper's best is {best_there}; here it is {best_here}."
    if ordering.best_is_the_papers:
        verdict = "The paper's best is the best here too."
    here, there = (escape(" > ".join(labels)) for labels in (ordering.ours, ordering.paper))
    others = any(line.group.arm and line.paper is None for line in lines)
    plain = " (plain arms)" if others else ""
    parts = [
        f"<h3>Does the paper's order hold?{plain}</h3>",
        f"<p>{verdict} {ordering.agree} of {ordering.pairs} pairs come in the same order.</p>",
        f"<p>Here: {here}<br>{escape(paper)}: {there}</p>",
    ]
    mast = next((line for line in lines if line.group.method == "mast"), None)
    if mast is not None and mast.of_dense is not None:
        within = abs(mast.of_dense.mean - 1) <= TOLERANCE or mast.of_dense.mean > 1
        low, high = 100 * mast.of_dense.low, 100 * mast.of_dense.high
        parts.append(
            f"<p>MAST within {100 * TOLERANCE:g} % of dense, as Table 1 chose its sparsities: "
            f"<b>{'yes' if within else 'no'}</b> ({100 * mast.of_dense.mean:.1f} %, "
            f"{low:.1f} to {high:.1f}). The baselines run at the sparsity that was chosen for MAST, "
            "which favours it.</p>"
        )
    return "\n".join(parts)


def all_maps_text(panels: Sequence[Panel], drawn: Sequence[str]) -> str:
    """The section over all panels; empty where there is nothing to say.

    Args:
        panels: with results.
        drawn: its figures as html.
    """
    rows = over_all_maps(panels)
    if not rows and not drawn:
        return ""
    parts = [f"<h2>{escape(_over_what(panels))}</h2>"]
    if rows:
        names = ("method", "mean, % of dense", "IQM, % of dense", "P(better than dense)")
        heads = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr><td>{escape(row.method)}</td><td>{_percent(row.mean)}</td><td>{_percent(row.iqm)}</td>"
            f"<td>{_with_interval(row.over_dense, 1.0, 2)}</td></tr>"
            for row in rows
        )
        parts.append(f"<table><tr>{heads}</tr>{body}</table>")
        note = "Seeds are drawn again within each map (stratified)."
        parts.append(f'<p class="quiet"><small>{note}</small></p>')
    return "\n".join([*parts, *drawn])


def _over_what(panels: Sequence[Panel]) -> str:
    """What the last section is over: a single panel, or the maps and algorithms that there are."""
    if len(panels) == 1:
        return f"All runs of {panels[0].title}"
    maps = dict.fromkeys(panel.map for panel in panels)
    algorithms = dict.fromkeys(panel.algorithm for panel in panels)
    parts = [", ".join(each) for each in (maps, algorithms) if len(each) > 1]
    return f"Over all of {'; '.join(parts)}"


def _percent(interval: Interval) -> str:
    """A share of dense in percent."""
    return _with_interval(interval, 100.0, 1)


def _with_interval(interval: Interval | None, scale: float, digits: int) -> str:
    """A number over its interval."""
    if interval is None:
        return NONE
    small = interval_text(interval, scale, digits)
    return _entry(Entry(f"{scale * interval.mean:.{digits}f}", small))
