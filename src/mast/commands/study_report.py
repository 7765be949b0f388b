"""`mast study report`: the tables, and with `--html` curves and costs too."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from mast.commands.options import JSON, QUIET, Command, Option
from mast.commands.study_options import (
    FILTERS,
    RESULTS,
    STUDY,
    chosen,
    make_folder,
    results_of,
)
from mast.errors import UserError
from mast.extras import check_matplotlib
from mast.files import write_atomically
from mast.studies.groups import Panel, panels_of
from mast.studies.report.text_tables import latex, markdown, numbers_csv, shortest, text_tables
from mast.studies.results import Result
from mast.studies.study import Study
from mast.terminal.output import Output, plain_table
from mast.terminal.values import Values

DOTS_PER_INCH = 200


def run_report(values: Values) -> int:
    """Prints the tables of what is done so far, and writes what was asked for."""
    output = Output(values)
    study, cells = chosen(values)
    groups = {cell.group for cell in cells}  # with all their seeds: a table says how many it lacks
    study = replace(study, cells=tuple(cell for cell in study.cells if cell.group in groups))
    smooth = bool(values.get("smooth"))
    for name in ("html", "figures"):
        if name in values:
            check_matplotlib(f"mast study report --{name}")
    stored = results_of(values, study)
    results = stored.find_all(cells)
    if not results:
        raise UserError(
            f"{stored.folder} has no result yet; first: mast study run {values['study']}"
        )
    for name in ("html", "marl_eval"):
        make_folder(Path(str(values.get(name, "."))).parent)
    make_folder(Path(str(values.get("figures", "."))))
    panels = panels_of(study, results)
    _show_tables(study, panels, output)
    written = []
    if "html" in values:
        written += _write_page(study, panels, results, smooth, Path(values["html"]))
    if "figures" in values:
        written += _write_figures(study, panels, smooth, Path(values["figures"]))
    if "marl_eval" in values:
        written.append(_write_marl_eval(panels, Path(values["marl_eval"])))
    output.say(f"\n{len(results)} of {len(cells)} cells done")
    if written:
        output.say(f"written: {', '.join(written[:4])}" + _and_more(len(written) - 4))
    else:
        output.say("with curves and costs: --html FILE")
    output.result(
        {"study": study.name, "done": len(results), "total": len(cells), "files": written}
    )
    return 0


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _show_tables(study: Study, panels: Sequence[Panel], output: Output) -> None:
    for table in text_tables(study, panels, brief=True):
        shown = plain_table()
        for place, column in enumerate(table.columns):
            head = Text(column.head.replace(", % of dense", ""))
            shown.add_column(
                head,
                justify="right" if place else "left",
                no_wrap=column.head not in ("method", "each seed", "statement", "numbers"),
            )
        for row in table.rows:
            shown.add_row(*(Text(shortest(entry)) for entry in row))
        output.say(f"\n{table.title}\n")
        output.show(shown)
        for note in table.notes:
            output.say(note)


def _write_page(
    study: Study, panels: Sequence[Panel], results: Sequence[Result], smooth: bool, html: Path
) -> list[str]:
    """The html, and its tables beside it as Markdown, LaTeX and CSV; their paths."""
    from mast.studies.report.page import page

    tables = text_tables(study, panels)
    texts = {
        html: page(study, results, smooth),
        html.with_name(f"{html.stem}-tables.md"): markdown(study, tables),
        html.with_name(f"{html.stem}-tables.tex"): latex(study, tables),
        html.with_name(f"{html.stem}-tables.csv"): numbers_csv(study, panels),
    }
    for path, text in texts.items():
        write_atomically(path, text.encode())
    return [str(path) for path in texts]


def _write_figures(study: Study, panels: Sequence[Panel], smooth: bool, folder: Path) -> list[str]:
    """The figures as PNG and SVG, for a paper; their paths."""
    from mast.studies.report.masks import density_pictures, mask_pictures
    from mast.studies.report.page import file_name, pictures_of, svg_of

    written = []
    for picture in pictures_of(study, panels, smooth):
        path = folder / f"{study.name}-{picture.name}"
        path.with_suffix(".svg").write_text(svg_of(picture.figure, picture.name), encoding="utf-8")
        picture.figure.savefig(path.with_suffix(".png"), dpi=DOTS_PER_INCH)
        written += [f"{path}.svg", f"{path}.png"]
    for panel in panels:
        for name, png, _ in (*density_pictures(panel), *mask_pictures(panel)):
            path = folder / f"{study.name}-{file_name(panel)}-{name}.png"
            path.write_bytes(png)
            written.append(str(path))
    return written


def _write_marl_eval(panels: Sequence[Panel], path: Path) -> str:
    from mast.studies.marl_eval import marl_eval_data

    write_atomically(path, (json.dumps(marl_eval_data(panels), allow_nan=False) + "\n").encode())
    return str(path)


REPORT = Command(
    "study report",
    "tables beside the paper's; curves and costs in one html file",
    "Prints the tables of what is done so far. --html writes one file that needs nothing from "
    "outside, with curves and costs, and the tables beside it: FILE-tables.md, .tex and .csv.",
    (
        STUDY,
        *FILTERS,
        Option("html", "also write a page with tables and figures", "FILE", "default none"),
        Option("figures", "also write each figure as PNG and SVG into this folder", "DIR"),
        Option("marl_eval", "also write the evaluations in marl-eval's JSON format", "FILE"),
        Option("smooth", "draw curves through the paper's filter; numbers stay as measured"),
        RESULTS,
        QUIET,
        JSON,
    ),
    run_report,
)
