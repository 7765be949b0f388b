"""A run's diagnostics.jsonl: one JSON object per evaluation. Imports no JAX."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.files import plain_number, set_aside, write_atomically, writing

FILE_NAME = "diagnostics.jsonl"


def append_diagnostics(run: Path, record: Mapping[str, Any]) -> None:
    """Adds a line; numbers that are not finite become null.

    Args:
        run: the run's folder.
        record: with `env_steps`, `greedy`, `replayed` and `density_per_agent`; whatever JSON can hold.
    """
    path = run / FILE_NAME
    text = json.dumps(_finite(record), allow_nan=False, default=plain_number)
    with writing(path):
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            _rewrite(path, _lines(path))  # a kill cut the last line short
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def read_diagnostics(run: Path) -> list[dict[str, Any]]:
    """The records of a run, oldest first; empty where nothing was recorded.

    Raises:
        UserError: the file cannot be read, or a line is damaged.
    """
    return records_of(run / FILE_NAME)


def records_of(path: Path) -> list[dict[str, Any]]:
    """The records of one file of diagnostics; as `read_diagnostics`."""
    records = []
    try:
        for number, line in enumerate(_lines(path), 1):
            record = _record(line)
            if record is None:
                raise UserError(f"{path} is damaged: line {number} is no record of diagnostics")
            records.append(record)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return records


def forget_diagnostics_after(run: Path, env_steps: int) -> list[str]:
    """Cuts the file back to a checkpoint, whole or not at all.

    Args:
        run: the run's folder.
        env_steps: records of later steps go, a last line that was cut short, and damaged ones.

    Returns:
        a line if there were damaged ones.
    """
    path = run / FILE_NAME
    if not path.exists():
        return []
    if not path.is_file():
        return [f"{path} is no file: kept as {set_aside(path).name}, a new one is begun"]
    lines = _lines(path)
    records = [_record(line) for line in lines]
    kept = [
        line
        for line, record in zip(lines, records, strict=True)
        if record is not None and record["env_steps"] <= env_steps
    ]
    damaged = records.count(None)
    if kept != lines or not path.read_bytes().endswith(b"\n"):
        if damaged:
            set_aside(path)
        _rewrite(path, kept)
    if not damaged:
        return []
    return [
        f"{path} had {damaged} damaged {'line' if damaged == 1 else 'lines'}, left out from here on"
    ]


def _lines(path: Path) -> list[str]:
    """The complete lines; what is no UTF-8 in them is marked."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].split("\n")[:-1]


def _record(line: str) -> dict[str, Any] | None:
    """What a line says; None where it is damaged."""
    try:
        record = json.loads(line)
        whole = type(record["env_steps"]) is int and all(
            _are_numbers(record[part].values())
            and {"q_tot", "discounted_return"} <= set(record[part])
            for part in ("greedy", "replayed")
        )
        whole = whole and _are_numbers(record["density_per_agent"] or ())
        for part in ("overlap_initial", "overlap_previous"):
            whole = whole and _are_numbers(record.get(part, {}).values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if whole else None


def _are_numbers(values: Iterable[object]) -> bool:
    """Whether each is a number, or null."""
    return all(value is None or isinstance(value, int | float) for value in values)


def _rewrite(path: Path, lines: list[str]) -> None:
    write_atomically(path, "".join(line + "\n" for line in lines).encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
