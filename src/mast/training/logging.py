"""A run's metrics: one row of metrics.csv per evaluation, and the same as TensorBoard events."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.extras import is_installed
from mast.files import write_atomically

FILE_NAME = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"

COLUMNS = (
    "env_steps",
    "episodes",
    "updates",
    "seconds",
    "epsilon",
    "loss",
    "q_tot",
    "target",
    "td_error",
    "gradient_norm",
    "train_return",
    "train_win_rate",
    "train_length",
    "win_rate",
    "return",
    "episode_length",
    "density",
    "env_steps_per_second",
    "updates_per_second",
)
COUNTS = ("env_steps", "episodes", "updates")
"""Whole numbers; every other column is a real number, empty where it is not defined."""
WALL_CLOCK = ("seconds", "env_steps_per_second", "updates_per_second")
"""The columns that differ between two runs of the same seed; no other may."""


class MetricsWriter:
    """Appends to a run's metrics.csv and TensorBoard events.

    Args:
        run: the run's folder, which must exist.
        tensorboard: whether to write TensorBoard events too, where tensorboardX is installed.

    Raises:
        UserError: metrics.csv has columns that this version does not know.
    """

    def __init__(self, run: Path, *, tensorboard: bool = True) -> None:
        self.path = run / FILE_NAME
        writes_events = tensorboard and is_installed("tensorboardX")
        self._events_folder = run / TENSORBOARD_FOLDER if writes_events else None
        self._events: Any = None
        self._purge_from: int | None = None
        if self.path.exists():
            _rows(self.path)  # a file with other columns is refused before a row is added
        self._file: io.TextIOWrapper | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row and flushes it.

        Args:
            row: column → number or None; a missing column counts as None.

        Raises:
            ValueError: a name that is no column.
        """
        if unknown := set(row) - set(COLUMNS):
            raise ValueError(f"metrics.csv has no column {', '.join(sorted(unknown))}")
        if self._file is None:
            self._file = self._open()
        line = ",".join(_text(name, row.get(name)) for name in COLUMNS)
        self._file.write(line + "\n")
        self._file.flush()
        self._write_events(row)

    def truncate_to(self, env_steps: int) -> None:
        """Forgets what came after a checkpoint, whole or not at all.

        Args:
            env_steps: rows with more environment steps go, and a last one that was cut short.
        """
        self.close()
        self._purge_from = env_steps + 1
        if self.path.exists():
            rows = _rows(self.path)
            kept = [row for row in rows if int(row[0]) <= env_steps]
            if kept != rows or not _is_whole(self.path):
                self._rewrite(kept)

    def close(self) -> None:
        """Closes the files; a later `write` opens them again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._events is not None:
            self._events.close()
            self._events = None

    def _rewrite(self, rows: list[list[str]]) -> None:
        lines = [",".join(row) for row in ([*COLUMNS], *rows)]
        write_atomically(self.path, ("\n".join(lines) + "\n").encode())

    def _open(self) -> io.TextIOWrapper:
        if self.path.exists() and not _is_whole(self.path):
            self._rewrite(_rows(self.path))  # or the next row would continue half a line
        file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (kept open)
        if os.fstat(file.fileno()).st_size == 0:
            file.write(",".join(COLUMNS) + "\n")
        return file

    def _write_events(self, row: Mapping[str, Any]) -> None:
        if self._events_folder is None:
            return
        if self._events is None:
            # Half a second of imports that a run without an evaluation does not need.
            from tensorboardX import SummaryWriter

            folder = self._events_folder
            # The name's clock has whole seconds: a writer opened again would overwrite its file.
            number = len(list(folder.iterdir())) if folder.exists() else 0
            self._events = SummaryWriter(
                str(folder), purge_step=self._purge_from, filename_suffix=f".{number}"
            )
        for name in COLUMNS:
            value = row.get(name)
            if name != "env_steps" and value is not None:
                self._events.add_scalar(name, float(value), int(row["env_steps"]))
        self._events.flush()


def _text(name: str, value: Any) -> str:
    """A number so that reading it back gives the same bits."""
    if value is None:
        return ""
    return str(int(value)) if name in COUNTS else repr(float(value))


def _is_whole(path: Path) -> bool:
    """Whether a row can be added: today's columns, and no last line that was cut short."""
    content = path.read_bytes()
    return content.startswith((",".join(COLUMNS) + "\n").encode()) and content.endswith(b"\n")


def _rows(path: Path) -> list[list[str]]:
    """The complete rows, as text. A kill can cut the last one short; it is left out.

    Columns that an earlier version did not write yet are empty.
    """
    content = path.read_text(encoding="utf-8")
    whole = content[: content.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return []
    header = lines[0]
    if not {"env_steps"} <= set(header) <= set(COLUMNS):
        raise UserError(f"{path} has other columns than this version of Mast writes")
    rows = (dict(zip(header, line, strict=True)) for line in lines[1:])
    return [[row.get(name, "") for name in COLUMNS] for row in rows]


def read_metrics(run: Path) -> list[dict[str, int | float | None]]:
    """The rows of a run's metrics.csv.

    Args:
        run: the run's folder.

    Returns:
        per evaluation, oldest first: column → number (counts are int), None where not defined;
        empty if there was no evaluation yet.

    Raises:
        UserError: the file has other columns.
    """
    path = run / FILE_NAME
    if not path.exists():
        return []
    return [
        {name: _number(name, text) for name, text in zip(COLUMNS, row, strict=True)}
        for row in _rows(path)
    ]


def _number(name: str, text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if name in COUNTS else float(text)
