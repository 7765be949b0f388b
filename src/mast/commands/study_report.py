"""`mast study report`: tables, curves and the paper's numbers in one html file."""

import json
from collections.abc import Sequence
from pathlib import Path

from mast.commands.options import JSON, QUIET, Command, Option, Values
from mast.commands.output import Output
from mast.commands.study_options import (
    FILTERS,
    RESULTS,
    STUDY,
    chosen,
    make_folder,
    results_of,
)
from mast.errors import UserError
from mast.files import write_atomically
from mast.studies.results import Result
from mast.studies.study import Study

DOTS_PER_INCH = 200


def run_report(values: Values) -> int:
    """Writes the report of what is done so far."""
    output = Output(values)
    study, cells = chosen(values)
    html = Path(str(values.get("html", f"{study.name}.html")))
    smooth = bool(values.get("smooth"))
    stored = results_of(values, study)
    results = stored.find_all(cells)
    if not results:
        raise UserError(
            f"{stored.folder} has no result yet; first: mast study run {values['study']}"
        )
    folders = [html.parent, Path(str(values.get("figures", "."))), _parent(values, "marl_eval")]
    for folder in folders:
        make_folder(folder)
    from mast.studies.report.page import page

    try:
        write_atomically(html, page(study, results, smooth).encode())
    except OSError as error:
        raise UserError(f"cannot write {html}: {error.strerror}") from None
    written = [str(html)]
    if "figures" in values:
        written += _write_figures(study, results, smooth, Path(values["figures"]))
    if "marl_eval" in values:
        written.append(_write_marl_eval(study, results, Path(values["marl_eval"])))
    output.say(f"{html}: {len(results)} of {len(cells)} cells")
    output.result(
        {"study": study.name, "done": len(results), "total": len(cells), "files": written}
    )
    return 0


def _write_figures(
    study: Study, results: Sequence[Result], smooth: bool, folder: Path
) -> list[str]:
    """The figures as PNG and SVG, for a paper; their paths."""
    from mast.studies.groups import panels_of
    from mast.studies.report.masks import density_pictures, mask_pictures
    from mast.studies.report.page import file_name, pictures_of, svg_of

    written = []
    panels = panels_of(study, results)
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


def _write_marl_eval(study: Study, results: Sequence[Result], path: Path) -> str:
    from mast.studies.groups import panels_of
    from mast.studies.marl_eval import marl_eval_data

    data = marl_eval_data(panels_of(study, results))
    write_atomically(path, (json.dumps(data, allow_nan=False) + "\n").encode())
    return str(path)


def _parent(values: Values, name: str) -> Path:
    """The folder of a file that was named; this one where none was."""
    return Path(str(values.get(name, "."))).parent


REPORT = Command(
    "study report",
    "tables beside the paper's, curves and costs, in one html file",
    "Writes one html file that needs nothing from outside, of what is done so far.",
    (
        STUDY,
        *FILTERS,
        Option("html", "the file to write", "FILE", "default STUDY.html"),
        Option("figures", "also write each figure as PNG and SVG into this folder", "DIR"),
        Option("marl_eval", "also write the evaluations in marl-eval's JSON format", "FILE"),
        Option("smooth", "draw curves through the paper's filter; numbers stay as measured"),
        RESULTS,
        QUIET,
        JSON,
    ),
    run_report,
)
