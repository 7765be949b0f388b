"""A study's report as one html file: text, tables and SVG inside it, nothing from outside. Imports no JAX."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib import rc_context
from matplotlib.figure import Figure

from mast.own_code import in_file_names
from mast.studies.groups import Panel, groups_of, panels_of
from mast.studies.library import SUFFIX, built_in
from mast.studies.paper_numbers import TITLES
from mast.studies.progress import duration
from mast.studies.report import curves, figures
from mast.studies.report.curves import Drawn
from mast.studies.report.masks import density_pictures, mask_pictures
from mast.studies.report.panel_text import all_maps_text, panel_text
from mast.studies.report.style import plain
from mast.studies.report.tables import lines_of
from mast.studies.results import Result
from mast.studies.study import Study

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1c1c1c;
  background: #fff; margin: 2rem auto; max-width: 1160px; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { margin: 2.4rem 0 .4rem; border-bottom: 1px solid #ddd; }
h3 { margin: 1.4rem 0 .2rem; font-size: 1.02rem; } p { margin: .4rem 0; max-width: 56rem; }
.quiet { color: #666; } .warn { background: #fff6e0; border-left: 4px solid #e69f00; padding: .4rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
td { vertical-align: top; }
th { color: #555; font-weight: 600; vertical-align: bottom; border-bottom: 1px solid #bbb;
  white-space: normal; max-width: 7rem; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 6rem; max-width: 12rem; }
small { color: #777; }
.fewer { color: #b04a00; } figure { margin: .8rem 0; }
figure svg { width: 100%; height: auto; } figure img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: 13px; max-width: 56rem; } code { background: #f4f4f4; padding: 0 .2rem; }
@media print { body { margin: 0; max-width: none; } figure, table { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A figure with its name (a file's, without suffix), what it shows, and the panel that it is of."""

    name: str
    figure: Figure
    caption: str
    panel: Panel | None


def pictures_of(study: Study, panels: Sequence[Panel], smooth: bool) -> Iterator[Picture]:
    """The figures that the study's results allow, panel by panel.

    Args:
        study: whose report it is.
        panels: with results.
        smooth: whether curves go through the paper's filter.
    """
    for panel in panels:
        for what, drawn in _drawings(study, panel, smooth):
            if drawn is not None:
                # A picture can leave the page, so it says what it is of.
                title = plain(f"{panel.title}: {'; '.join(panel.identities)}")
                drawn.figure.suptitle(title, x=0.01, ha="left", fontsize=10, color="#555555")
                yield Picture(f"{file_name(panel)}-{what}", drawn.figure, drawn.caption, panel)
    found = figures.profiles(panels)
    if found is not None:
        yield Picture("profiles", found.figure, found.caption, None)


def _drawings(study: Study, panel: Panel, smooth: bool) -> Iterator[tuple[str, Drawn | None]]:
    """What each figure of a panel is called, and the figure where there is data for it."""
    yield "curves", curves.learning_curves(panel, smooth)
    lines = lines_of(panel, study.table)
    if sum(line.of_dense is not None for line in lines) > 1:
        yield "of-dense", figures.scores_of_dense(lines, TITLES.get(study.table, ""))
    yield "sparsity", figures.score_by_sparsity(panel)
    yield "cost", figures.pareto(panel)
    yield "estimates", curves.estimates(panel)
    yield "overlap", curves.overlaps(panel)


def page(study: Study, results: Sequence[Result], smooth: bool = False) -> str:
    """The whole html.

    Args:
        study: whose report it is.
        results: of those of its cells that are done; at least one.
        smooth: as in `pictures_of`.
    """
    panels = panels_of(study, results)
    parts = [_head(study, results, panels)]
    drawn: dict[str, list[str]] = {}
    for picture in pictures_of(study, panels, smooth):
        key = "" if picture.panel is None else picture.panel.title
        drawn.setdefault(key, []).append(_figure(picture))
    for panel in panels:
        shown = drawn.get(panel.title, [])
        for _, png, caption in (*density_pictures(panel), *mask_pictures(panel)):
            shown.append(_png_figure(png, caption))
        parts.append(panel_text(panel, study, shown))
    parts.append(all_maps_text(panels, drawn.get("", [])))
    parts.append(_how(study, results))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(study.title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def svg_of(figure: Figure, name: str) -> str:
    """A figure as SVG text; the same figure, the same text.

    Args:
        figure: to draw.
        name: what its inner names are made of, so that two figures of a page share none.
    """
    text = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def _figure(picture: Picture) -> str:
    caption = escape(picture.caption)
    svg = svg_of(picture.figure, picture.name).replace(
        "<svg ", f'<svg role="img" aria-label="{caption}" ', 1
    )
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _png_figure(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    text = escape(caption)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _head(study: Study, results: Sequence[Result], panels: Sequence[Panel]) -> str:
    total = len(study.cells)
    lines = [f"<h1>{escape(study.title)}</h1>"]
    if study.paper:
        lines.append(f'<p class="quiet">{escape(study.paper)}</p>')
    if study.about:
        lines.append(f"<p>{escape(study.about)}</p>")
    identities = dict.fromkeys(each for panel in panels for each in panel.identities)
    what = "; ".join(escape(each) for each in identities)
    is_smax = any(panel.environment.startswith("smax/") for panel in panels)
    note = (
        " It is SMAX, not SMAC: the paper's numbers beside ours are of another game."
        if is_smax
        else ""
    )
    lines.append(f'<p class="warn"><b>{what}.</b>{note}</p>')
    lines.append(f"<p>{len(results)} of {total} cells done.{_missing(study, results)}</p>")
    return "\n".join(lines)


def _missing(study: Study, results: Sequence[Result]) -> str:
    groups = groups_of(study, results)
    some = sum(1 for group in groups if group.results and not group.is_complete)
    none = sum(1 for group in groups if not group.results)
    parts = []
    if some:
        parts.append(f'Groups with <span class="fewer">fewer seeds than asked</span>: {some}')
    if none:
        parts.append(f"groups without a result yet: {none}".capitalize())
    return " " + ". ".join(parts) + "." if parts else ""


def _how(study: Study, results: Sequence[Result]) -> str:
    """Where the numbers come from: commits, versions, machines, executions, seconds."""
    rows = [result.row for result in results]

    def counted(values: Sequence[str]) -> str:
        counts: dict[str, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        return ", ".join(f"{escape(value)} ({count})" for value, count in sorted(counts.items()))

    versions = [_versions(row.get("versions", {})) for row in rows]
    total = sum(result.seconds for result in results)
    entries: Mapping[str, str] = {
        "commits": counted([str(row.get("git_commit"))[:12] for row in rows]),
        "versions": counted(versions),
        "machines": counted(
            [f"{row.get('machine')}, {row.get('cpu_count')} threads" for row in rows]
        ),
        "executions": counted([_execution(row.get("settings", {})) for row in rows]),
        "wall time": duration(total) + ", all cells one after the other",
    }
    body = "".join(f"<tr><td>{name}</td><td>{text}</td></tr>" for name, text in entries.items())
    style = ' style="white-space:normal;text-align:left"'
    body = body.replace("<td>", f"<td{style}>")
    own = "" if study.name in built_in() else SUFFIX
    again = f"mast study run {study.name}{own}"
    return (
        "<h2>Where the numbers come from</h2>"
        f"<table>{body}</table><p>Every cell is a row and a curve below "
        f"<code>results/{escape(study.name)}</code>; <code>{escape(again)}</code> "
        "computes what is missing. In brackets: number of cells.</p>"
    )


def _execution(settings: Mapping[str, object]) -> str:
    """Masked or compact; and whether several seeds were one program, whose time is that of all."""
    vmapped = ", several seeds in one program" if settings.get("placement") == "vmap" else ""
    return f"{settings.get('execution')}{vmapped}"


def _versions(versions: Mapping[str, str]) -> str:
    names = ("mast-marl", "jax", "jaxmarl", "numpy")
    return " ".join(f"{name} {versions.get(name, '?')}" for name in names)


def file_name(panel: Panel) -> str:
    """A panel as part of a file's name."""
    environment = panel.environment.replace("/", "-").replace(":", "-").replace(".", "-")
    return f"{environment}-{in_file_names(panel.algorithm)}"
