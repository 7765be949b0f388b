"""Files that are there whole or not at all, and what is said of those that cannot be read."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mast.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: written beside it, flushed to disk, then renamed."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


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
    except ValueError:
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
