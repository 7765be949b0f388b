"""A run's metrics: one row of metrics.csv per evaluation, and the same as TensorBoard events."""

import contextlib
import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.extras import is_installed
from mast.files import write_atomically, writing
from mast.training.events import EventFile

Row = dict[str, str]
"""A row of a file, as text by column."""

FILE_NAME = "metrics.csv"
TENSORBOARD_FOLDER = "tensorboard"

BEFORE = ("env_steps", "episodes", "updates", "seconds", "epsilon", "loss")
OF_VALUES = ("q_tot", "target", "td_error")
"""What value-based algorithms tell of a loss; an algorithm's entry names its own."""
AFTER = (
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


def columns_with(metrics: Sequence[str]) -> tuple[str, ...]:
    """The columns of metrics.csv: the common ones, and between them what the algorithm tells of its loss."""
    return (*BEFORE, *metrics, *AFTER)


COLUMNS = columns_with(OF_VALUES)
COUNTS = ("env_steps", "episodes", "updates")
"""Whole numbers; every other column is a real number, empty where it is not defined."""
GROUPS = {
    "eval": ("win_rate", "return", "episode_length"),
    "time": ("seconds", "env_steps_per_second", "updates_per_second"),
    "progress": ("episodes", "updates", "epsilon", "density"),
}
"""Of TensorBoard's tags; everything else is of training."""
WALL_CLOCK = ("seconds", "env_steps_per_second", "updates_per_second")
"""The columns that differ between two runs of the same seed; no other may."""


class MetricsWriter:
    """Appends to a run's metrics.csv and TensorBoard events.

    Args:
        run: the run's folder, which must exist.
        metrics: what the algorithm tells of its loss.
        tensorboard: whether to write TensorBoard events too, where tensorboardX is installed.

    Raises:
        UserError: metrics.csv has columns that this version does not know.
    """

    def __init__(
        self, run: Path, metrics: Sequence[str] = OF_VALUES, *, tensorboard: bool = True
    ) -> None:
        self.path = run / FILE_NAME
        self._columns = columns_with(metrics)
        writes_events = tensorboard and is_installed("tensorboardX")
        self._events_folder = run / TENSORBOARD_FOLDER if writes_events else None
        self._events: EventFile | None = None
        self._purge_from: int | None = None
        if self.path.exists():
            self._rows()  # a file with other columns is refused before a row is added
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
        if unknown := set(row) - set(self._columns):
            raise ValueError(f"metrics.csv has no column {', '.join(sorted(unknown))}")
        line = ",".join(_text(name, row.get(name)) for name in self._columns)
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
            rows = self._rows()
            kept = [row for row in rows if int(row["env_steps"]) <= env_steps]
            if kept != rows or not self._is_whole():
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

    def _rows(self) -> list[Row]:
        rows = rows_of_file(self.path)
        if any(row.keys() - set(self._columns) for row in rows):
            raise UserError(f"{self.path} has the columns of another algorithm")
        return rows

    def _is_whole(self) -> bool:
        """Whether a row can be added: today's columns, and no last line that was cut short."""
        content, header = self.path.read_bytes(), (",".join(self._columns) + "\n").encode()
        return content.startswith(header) and content.endswith(b"\n")

    def _rewrite(self, rows: list[Row]) -> None:
        lines = [",".join(row.get(name, "") for name in self._columns) for row in rows]
        lines = [",".join(self._columns), *lines]
        write_atomically(self.path, ("\n".join(lines) + "\n").encode())

    def _open(self) -> io.TextIOWrapper:
        if self.path.exists() and not self._is_whole():
            self._rewrite(self._rows())  # or the next row would continue half a line
        file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (kept open)
        if os.fstat(file.fileno()).st_size == 0:
            file.write(",".join(self._columns) + "\n")
            file.flush()
        self.text = self.path.read_text(encoding="utf-8")
        return file

    def _write_events(self, row: Mapping[str, Any]) -> None:
        if self._events_folder is None:
            return
        values = {
            _tag(name): float(row[name])
            for name in self._columns
            if name != "env_steps" and row.get(name) is not None
        }
        with writing(self._events_folder):
            if self._events is None:
                self._events = EventFile(self._events_folder, self._purge_from)
            self._events.add(values, int(row["env_steps"]))


def _tag(name: str) -> str:
    """What a column is called in TensorBoard: train/loss, train/return, eval/return."""
    group = next((group for group, names in GROUPS.items() if name in names), "train")
    return f"{group}/{name.removeprefix('train_')}"


def _text(name: str, value: Any) -> str:
    """A number so that reading it back gives the same bits."""
    if value is None:
        return ""
    return str(int(value)) if name in COUNTS else repr(float(value))


def rows_of_file(path: Path) -> list[Row]:
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


def rows_of_text(content: str, where: str) -> list[Row]:
    """The complete rows of a metrics.csv, as text. A kill can cut the last one short; it is left out.

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
    if not _is_header(header):
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
        rows.append(row)
    return rows


def _is_header(names: Sequence[str]) -> bool:
    """Whether these are the common columns, perhaps not all of them yet, with an algorithm's between them.

    An algorithm's own stand behind the loss, and none of them is a common one that has lost its place.
    """
    places = {name: place for place, name in enumerate((*BEFORE, *AFTER))}
    common = [places[name] for name in names if name in places]
    own = [place for place, name in enumerate(names) if name not in places]
    after = names.index("loss") + 1 if "loss" in names else 0
    return (
        "env_steps" in names
        and common == sorted(set(common))
        and own == list(range(after, after + len(own)))
        and all(names[place].isidentifier() for place in own)
    )


def read_metrics(run: Path) -> list[dict[str, int | float | None]]:
    """The rows of a run's metrics.csv.

    Args:
        run: the run's folder.

    Returns:
        per evaluation, oldest first: column → number (counts are int), None where not defined or not yet
        written by an earlier version; empty if there was no evaluation yet.

    Raises:
        UserError: the file cannot be read, is damaged, or has other columns.
    """
    path = run / FILE_NAME
    if not path.exists():
        return []
    rows = rows_of_file(path)
    own = [name for name in (rows[0] if rows else ()) if name not in (*BEFORE, *AFTER)]
    columns = columns_with(own if set(own) - set(OF_VALUES) else OF_VALUES)
    return [{name: _number(name, row.get(name, "")) for name in columns} for row in rows]


def _number(name: str, text: str) -> int | float | None:
    if not text:
        return None
    return int(text) if name in COUNTS else float(text)
