"""Files that are there whole or not at all, and what is said of those that cannot be read."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mast.errors import StorageError, UserError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """While entered, an error of the system becomes one line about this file.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: written beside it, flushed to disk, then renamed.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def plain_number(value: Any) -> Any:
    """`default` of `json.dumps`: NumPy's numbers, booleans and arrays as Python's.

    Raises:
        TypeError: it is something else.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def set_aside(path: Path) -> Path:
    """Gives a file or folder another name beside its own; which."""
    number = 1
    while (kept := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    os.rename(path, kept)
    return kept


def read_json(path: Path, damaged: str = "is damaged or no JSON") -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        damaged: what is said of one that holds no JSON.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):  # one that is nested a thousand times is none of ours
        raise UserError(f"{path} {damaged}") from None


def check_writable(path: Path) -> None:
    """Make sure that a file can be made, or replaced; leaves nothing behind.

    Raises:
        UserError: it is a folder, or its place cannot be written.
    """
    if path.is_dir():
        raise UserError(f"cannot write to {path}: it is a folder")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}") from None


@contextlib.contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """A file beside `path`, with its ending, that takes its name at the end, or goes.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"cannot write to {path}: {error.strerror or error}") from None
        raise
