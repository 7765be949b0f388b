"""A study's results: one JSON row and one evaluation curve per cell, in `results/STUDY/`. Imports no JAX.

    NAME.json   the row: settings, score, what it cost, where it was made
    NAME.csv    the evaluations

NAME ends with the hash of the cell's settings (`protocol`), and files are found by it. The row is written
last and whole, so a cell without one is not done; results of two machines are put together by copying files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mast.diagnosis.log import records_of
from mast.errors import UserError
from mast.files import read_json, write_atomically
from mast.studies.cell import Cell
from mast.training.statistics import SCORE_WINDOW

FORMAT = 1
DIAGNOSTICS_SUFFIX = ".diagnostics.jsonl"


@dataclass(frozen=True)
class CellFiles:
    """What is kept of a finished run.

    Attributes:
        row: settings, score, costs, versions, machine (see `run_result`).
        curve: the evaluations as CSV.
        attachments: other files by the end of their name: DIAGNOSTICS_SUFFIX, or a mask snapshot's name.
    """

    row: Mapping[str, Any]
    curve: str
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One finished cell."""

    cell: Cell
    row: Mapping[str, Any]
    path: Path

    @property
    def score(self) -> float | None:
        """Mean greedy win rate of the last 20 evaluations; None where nothing can be won."""
        score: float | None = self.row["score"]
        return score

    @property
    def measure(self) -> str:
        """The column that its number is of: "win_rate", or where nothing can be won "return".

        Of a policy that draws its actions that is "sampled_return": its greedy actions can lead nowhere.
        """
        if self.score is not None:
            return "win_rate"
        sampled = self.curve.get("sampled_return", np.zeros(0))
        return "sampled_return" if np.isfinite(sampled).any() else "return"

    @cached_property
    def number(self) -> float:
        """The score, or the mean return of the last 20 evaluations where nothing can be won."""
        if self.score is not None:
            return self.score
        return float(np.mean(self.curve[self.measure][-SCORE_WINDOW:]))

    @property
    def seconds(self) -> float:
        """Wall time that its training took."""
        return float(self.row["seconds"])

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time that it took; None of runs that were not a study's from their beginning."""
        seconds: float | None = self.row.get("cpu_seconds")
        return seconds

    @cached_property
    def curve(self) -> dict[str, np.ndarray]:
        """The evaluations, [number of them] per column; NaN where not defined.

        Raises:
            UserError: the file is damaged.
        """
        path = self.path.with_suffix(".csv")
        try:
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
            columns = zip(*rows[1:], strict=True) if len(rows) > 1 else ()
            return {
                name: np.array([float(text) if text else np.nan for text in column])
                for name, column in zip(rows[0] if columns else (), columns, strict=True)
            }
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, csv.Error):
            raise UserError(f"{path} is damaged: no CSV of numbers") from None

    @cached_property
    def diagnostics(self) -> list[dict[str, Any]]:
        """What was recorded at each evaluation; empty without `--diagnostics`."""
        return records_of(self.path.with_name(self.path.stem + DIAGNOSTICS_SUFFIX))

    @property
    def snapshots(self) -> list[Path]:
        """Its mask snapshots, earliest first."""
        return sorted(self.path.parent.glob(f"{self.path.stem}.masks-*.safetensors"))


class ResultFolder:
    """The folder of one study's results.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, cell: Cell) -> Result | None:
        """The result of a cell; None while there is none.

        Raises:
            UserError: its row is damaged or of another format.
        """
        for path in sorted(self.folder.glob(f"*-{cell.key}.json")):
            row = _read_row(path)
            if not path.with_suffix(".csv").is_file():
                raise UserError(
                    f"{path}: its curve {path.stem}.csv is missing; copy it, or delete the row"
                )
            return Result(cell, row, path)
        return None

    def take_over(self, cell: Cell) -> Result | None:
        """Copies the result of the same settings from another study beside this one; None without one.

        A result that is damaged or lacks what the cell wants recorded (diagnostics, masks) is none.
        """
        for other in sorted(self.folder.parent.glob(f"*/*-{cell.key}.json")):
            try:
                row = _read_row(other)
                curve = other.with_suffix(".csv").read_text(encoding="utf-8")
            except (UserError, OSError):
                continue
            found = Result(cell, row, other)
            try:
                lacks_diagnostics = cell.config.diagnostics and not found.diagnostics
            except UserError:
                continue
            if lacks_diagnostics or (cell.keeps_masks and not found.snapshots):
                continue
            named = ("format", "cell", "key", "arm")
            own = {name: row[name] for name in row if name not in named}
            attached = {
                path.name.removeprefix(other.stem): path.read_bytes()
                for path in other.parent.glob(f"{other.stem}.*")
                if path.suffix in (".jsonl", ".safetensors")
            }
            return self.write(cell, CellFiles({**own, "arm": cell.arm}, curve, attached))
        return None

    def find_all(self, cells: Iterable[Cell]) -> list[Result]:
        """The results of those cells that have one, in the cells' order."""
        found = (self.find(cell) for cell in cells)
        return [result for result in found if result is not None]

    def write(self, cell: Cell, files: CellFiles) -> Result:
        """Keeps a finished cell: the curve and what else there is, then the row, each atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{cell.name}.json"
        write_atomically(path.with_suffix(".csv"), files.curve.encode())
        for suffix, content in files.attachments.items():
            write_atomically(self.folder / f"{cell.name}{suffix}", content)
        row = {"format": FORMAT, "cell": cell.name, "key": cell.key, **files.row}
        text = json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, (text + "\n").encode())
        return Result(cell, row, path)


def curve_text(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Evaluations as CSV; None is empty, and every number reads back as it was to six digits."""
    columns = list(columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_number(row[name]) for name in columns])
    return text.getvalue()


def _number(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _read_row(path: Path) -> dict[str, Any]:
    row = read_json(path, "is damaged; delete it, and the cell is run again")
    if not isinstance(row, dict) or row.get("format") != FORMAT or "score" not in row:
        raise UserError(f"{path}: no result of format {FORMAT}")
    return row
