"""A run's diagnostics.jsonl: one JSON object per evaluation. Imports no JAX."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.files import write_atomically

FILE_NAME = "diagnostics.jsonl"


def append_diagnostics(run: Path, record: Mapping[str, Any]) -> None:
    """Adds a line; numbers that are not finite become null.

    Args:
        run: the run's folder.
        record: with `env_steps`; whatever JSON can hold.
    """
    path = run / FILE_NAME
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        _rewrite(path, _lines(path))  # a kill cut the last line short
    text = json.dumps(_finite(record), allow_nan=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def read_diagnostics(run: Path) -> list[dict[str, Any]]:
    """The records of a run, oldest first; empty where nothing was recorded.

    Raises:
        UserError: the file is damaged.
    """
    path = run / FILE_NAME
    try:
        return [json.loads(line) for line in _lines(path)]
    except ValueError:
        raise UserError(f"{path} is damaged") from None


def forget_diagnostics_after(run: Path, env_steps: int) -> None:
    """Cuts the file back to a checkpoint, whole or not at all.

    Args:
        run: the run's folder.
        env_steps: records of later steps go, and a last line that was cut short.
    """
    path = run / FILE_NAME
    if not path.exists():
        return
    lines = _lines(path)
    kept = [line for line in lines if json.loads(line)["env_steps"] <= env_steps]
    if kept != lines or not path.read_bytes().endswith(b"\n"):
        _rewrite(path, kept)


def _lines(path: Path) -> list[str]:
    """The complete lines."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def _rewrite(path: Path, lines: list[str]) -> None:
    write_atomically(path, "".join(line + "\n" for line in lines).encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
