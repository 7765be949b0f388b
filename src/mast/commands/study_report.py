"""`mast study report`: tables, curves and the paper's numbers in one html file."""

from collections.abc import Sequence
from pathlib import Path

from mast.commands.options import JSON, QUIET, Command, Option, Values, required
from mast.commands.output import Output
from mast.commands.study_options import EXAMPLE, FILTERS, RESULTS, STUDY, chosen, results_of
from mast.errors import UserError
from mast.files import write_atomically
from mast.studies.results import Result
from mast.studies.study import Study

DOTS_PER_INCH = 200


def run_report(values: Values) -> int:
    """Writes the report of what is done so far."""
    output = Output(values)
    required(values, "study", "STUDY", EXAMPLE)
    study, cells = chosen(values)
    html = Path(str(values.get("html", f"{study.name}.html")))
    smooth = bool(values.get("smooth"))
    results = results_of(values, study).find_all(cells)
    if not results:
        folder = results_of(values, study).folder
        raise UserError(f"{folder} has no result yet; first: mast study run {values['study']}")
    for folder in (html.parent, *([Path(values["figures"])] if "figures" in values else [])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    from mast.studies.report.page import page

    try:
        write_atomically(html, page(study, results, smooth).encode())
    except OSError as error:
        raise UserError(f"cannot write {html}: {error.strerror}") from None
    written = [str(html)]
    if "figures" in values:
        written += _write_figures(study, results, smooth, Path(values["figures"]))
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


REPORT = Command(
    "study report",
    "tables beside the paper's, curves and costs, in one html file",
    "Writes one html file that needs nothing from outside, of what is done so far.",
    (
        STUDY,
        *FILTERS,
        Option("html", "the file to write", "FILE", "default STUDY.html"),
        Option("figures", "also write each figure as PNG and SVG into this folder", "DIR"),
        Option("smooth", "draw curves through the paper's filter; numbers stay as measured"),
        RESULTS,
        QUIET,
        JSON,
    ),
    run_report,
)
