"""A panel of a study's report as html: its table beside the paper's numbers, and whether the order holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import compress

from mast.studies.groups import Group, Panel
from mast.studies.paper_numbers import TITLES
from mast.studies.progress import duration
from mast.studies.report.tables import (
    TOLERANCE,
    Line,
    Ordering,
    lines_of,
    ordering_of,
    over_all_maps,
)
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
        _table(panel, lines, study),
    ]
    ordering = ordering_of(lines)
    if ordering is not None:
        parts.append(_ordering(ordering, lines, TITLES[study.table]))
    return "\n".join([*parts, *drawn])


def _table(panel: Panel, lines: Sequence[Line], study: Study) -> str:
    has_paper = any(line.paper is not None for line in lines)
    heads = [
        "method",
        "size",
        "FLOPs<br>training",
        "seeds",
        escape(panel.measure),
        "IQM",
        "% of dense",
    ]
    if has_paper:
        heads += ["paper:<br>% of dense", "difference", "paper:<br>win rate"]
    heads += ["P(better<br>than dense)", "P(better<br>than rigl)", "time"]
    rows = []
    for line in lines:
        cells = [escape(line.group.label), _share(line.group, "size_ratio")]
        cells += [_share(line.group, "flops_train_ratio"), _seeds(line.seeds)]
        cells += [_with_interval(line.mean), _with_interval(line.iqm), _percent(line.of_dense)]
        if has_paper:
            cells += _paper_cells(line)
        cells += [_with_interval(line.over_dense, 2), _with_interval(line.over_rigl, 2)]
        cells.append(duration(line.seconds))
        rows.append(cells)
    # A column that nothing is known of (no dense runs, no RigL) is left out.
    known = [any(cell != "-" for cell in column) for column in zip(*rows, strict=True)]
    text = _row("th", compress(heads, known))
    text += "".join(_row("td", compress(cells, known)) for cells in rows)
    note = _table_note(panel, has_paper, study)
    return f'<div class="wide"><table>{text}</table></div>{note}'


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _table_note(panel: Panel, has_paper: bool, study: Study) -> str:
    text = (
        "A run's number is the mean of its last 20 evaluations. Below it: 95 % bootstrap "
        "interval over seeds. IQM: mean of the middle half."
    )
    if panel.time_is_cpu:
        text += " Time: median processor time of a run."
    else:
        text += " Time: median wall time of a run, which says little where cores were shared."
    if has_paper:
        text += f" Paper: {TITLES[study.table]}; its win rates are mean ± standard deviation."
    return f'<p class="quiet"><small>{escape(text)}</small></p>'


def _paper_cells(line: Line) -> list[str]:
    paper = line.paper
    if paper is None:
        return ["-", "-", "-"]
    difference = "-" if line.difference is None else f"{line.difference:+.1f}".replace("-", "−")
    raw = "-" if paper.raw is None else f"{paper.raw:.1f}"
    if paper.raw_std is not None:
        raw += f" ± {paper.raw_std:.1f}"
    return [f"{paper.of_dense:.1f}", "-" if line.group.is_dense else difference, raw]


def _ordering(ordering: Ordering, lines: Sequence[Line], paper: str) -> str:
    best_here, best_there = escape(ordering.ours[0]), escape(ordering.paper[0])
    verdict = f"The paper's best is {best_there}; here it is {best_here}."
    if ordering.best_is_the_papers:
        verdict = "The paper's best is the best here too."
    here, there = (escape(" > ".join(labels)) for labels in (ordering.ours, ordering.paper))
    parts = [
        "<h3>Does the paper's order hold?</h3>",
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
    """The section over several panels; empty where there is nothing to say.

    Args:
        panels: with results.
        drawn: its figures as html.
    """
    rows = over_all_maps(panels)
    if not rows and not drawn:
        return ""
    parts = ["<h2>Over all maps</h2>"]
    if rows:
        names = ("method", "mean, % of dense", "IQM, % of dense", "P(better than dense)")
        heads = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr><td>{escape(row.method)}</td><td>{_percent(row.mean)}</td><td>{_percent(row.iqm)}</td>"
            f"<td>{_with_interval(row.over_dense, 2)}</td></tr>"
            for row in rows
        )
        parts.append(f"<table><tr>{heads}</tr>{body}</table>")
        note = "Seeds are drawn again within each map (stratified)."
        parts.append(f'<p class="quiet"><small>{note}</small></p>')
    return "\n".join([*parts, *drawn])


def _with_interval(interval: Interval | None, digits: int = 3) -> str:
    """A number over its interval; a single seed has none."""
    if interval is None:
        return "-"
    if interval.low == interval.high:
        return f"{interval.mean:.{digits}f}"
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{interval.mean:.{digits}f}<br><small>{low} to {high}</small>"


def _percent(interval: Interval | None) -> str:
    """A share of dense in percent."""
    return (
        "-" if interval is None else _with_interval(Interval(*(100 * each for each in interval)), 1)
    )


def _share(group: Group, name: str) -> str:
    value = group.median(name)
    return "-" if value is None else f"{value:.3f}"


def _seeds(seeds: tuple[int, int]) -> str:
    done, asked = seeds
    return str(done) if done == asked else f'<span class="fewer">{done} of {asked}</span>'
