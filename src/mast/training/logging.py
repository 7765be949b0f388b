"""A run's metrics: one row of metrics.csv per evaluation, and the same as TensorBoard events."""

import contextlib
import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.extras import is_installed
from mast.files import write_atomically, writing
from mast.training.events import EventFile

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
        self._events: EventFile | None = None
        self._purge_from: int | None = None
        if self.path.exists():
            rows_of_file(self.path)  # a file with other columns is refused before a row is added
        self._file: io.TextIOWrapper | None = None
        self.text = ""
        """What the file holds as far as this object has written it or cut it back, whatever happens to it."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row and flushes it.

        Args:
            row: column → number or None; a missing column counts as None.

        Raises:
            ValueError: a name that is no column.
            StorageError: it cannot be written.
        """
        if unknown := set(row) - set(COLUMNS):
            raise ValueError(f"metrics.csv has no column {', '.join(sorted(unknown))}")
        line = ",".join(_text(name, row.get(name)) for name in COLUMNS)
        with writing(self.path):
            if self._file is None:
                self._file = self._open()
            self._file.write(line + "\n")
            self._file.flush()
            self.text += line + "\n"
        self._write_events(row)

    def truncate_to(self, env_steps: int) -> None:
        """Forgets what came after a checkpoint, whole or not at all.

        Args:
            env_steps: rows with more environment steps go, and a last one that was cut short.
        """
        self.close()
        self._purge_from = env_steps + 1
        if self.path.exists():
            rows = rows_of_file(self.path)
            kept = [row for row in rows if int(row[0]) <= env_steps]
            if kept != rows or not _is_whole(self.path):
                self._rewrite(kept)
            self.text = self.path.read_text(encoding="utf-8")

    def close(self) -> None:
        """Closes the files; a later `write` opens them again."""
        # Every row was flushed; one that could not be was said then.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            if self._events is not None:
                self._events.close()
        self._file = self._events = None

    def _rewrite(self, rows: list[list[str]]) -> None:
        lines = [",".join(row) for row in ([*COLUMNS], *rows)]
        write_atomically(self.path, ("\n".join(lines) + "\n").encode())

    def _open(self) -> io.TextIOWrapper:
        if self.path.exists() and not _is_whole(self.path):
            self._rewrite(rows_of_file(self.path))  # or the next row would continue half a line
        file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (kept open)
        if os.fstat(file.fileno()).st_size == 0:
            file.write(",".join(COLUMNS) + "\n")
            file.flush()
        self.text = self.path.read_text(encoding="utf-8")
        return file

    def _write_events(self, row: Mapping[str, Any]) -> None:
        if self._events_folder is None:
            return
        values = {
            name: float(row[name])
            for name in COLUMNS
            if name != "env_steps" and row.get(name) is not None
        }
        with writing(self._events_folder):
            if self._events is None:
                self._events = EventFile(self._events_folder, self._purge_from)
            self._events.add(values, int(row["env_steps"]))


def _text(name: str, value: Any) -> str:
    """A number so that reading it back gives the same bits."""
    if value is None:
        return ""
    return str(int(value)) if name in COUNTS else repr(float(value))


def _is_whole(path: Path) -> bool:
    """Whether a row can be added: today's columns, and no last line that was cut short."""
    content = path.read_bytes()
    return content.startswith((",".join(COLUMNS) + "\n").encode()) and content.endswith(b"\n")


def rows_of_file(path: Path) -> list[list[str]]:
    """The complete rows of a file, as text.

    Raises:
        UserError: it cannot be read, or is no metrics.csv.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: it is no text") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return rows_of_text(content, str(path))


def rows_of_text(content: str, where: str) -> list[list[str]]:
    """The complete rows of a metrics.csv, as text. A kill can cut the last one short; it is left out.

    Columns that an earlier version did not write yet are empty.

    Args:
        content: of the file.
        where: the file, for messages.

    Raises:
        UserError: a row is damaged, or the columns are others.
    """
    whole = content[: content.rfind("\n") + 1]
    try:
        lines = list(csv.reader(io.StringIO(whole)))
    except csv.Error:
        raise UserError(f"{where} is damaged: it is no CSV") from None
    if not lines:
        return []
    header = lines[0]
    if not {"env_steps"} <= set(header) <= set(COLUMNS):
        raise UserError(f"{where} has other columns than this version of Mast writes")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        try:
            row = dict(zip(header, line, strict=True))
            for name, text in row.items():
                _number(name, text)
            int(row["env_steps"])
        except ValueError:
            raise UserError(f"{where} is damaged: line {number} is no row of numbers") from None
        rows.append([row.get(name, "") for name in COLUMNS])
    return rows


def read_metrics(run: Path) -> list[dict[str, int | float | None]]:
    """The rows of a run's metrics.csv.

    Args:
        run: the run's folder.

    Returns:
        per evaluation, oldest first: column → number (counts are int), None where not defined;
        empty if there was no evaluation yet.

    Raises:
        UserError: the file cannot be read, is damaged, or has other columns.
    """
    path = run / FILE_NAME
    if not path.exists():
        return []
    return [
        {name: _number(name, text) for name, text in zip(COLUMNS, row, strict=True)}
        for row in rows_of_file(path)
    ]


def _number(name: str, text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if name in COUNTS else float(text)
