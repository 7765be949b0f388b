"""Run folders before and while they are used: names, refusals, and one process at a time."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mast.config import Config
from mast.errors import UserError


def default_folder(config: Config) -> Path:
    """runs/ENV-ALGORITHM-METHOD-TIME, one that does not exist yet."""
    environment = config.environment.replace("/", "-").replace(":", "-")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{environment}-{config.algorithm}-{config.method}-{stamp}"
    folder, again = Path("runs", name), 1
    while folder.exists():
        again += 1
        folder = Path("runs", f"{name}-{again}")
    return folder


def check_new(folder: Path) -> None:
    """Makes sure that a run can be written to a folder; leaves nothing behind.

    Raises:
        UserError: it already holds a run, is no folder, or cannot be written.
    """
    if (folder / "config.json").exists():
        raise UserError(f"{folder} already holds a run; go on with: mast resume {folder}")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[contextlib.ExitStack]:
    """Keeps other processes from training in a folder; the system lets go when this one dies.

    Yields:
        a stack whose `pop_all` takes the hold over, to be let go later.

    Raises:
        UserError: another process holds it, or another trainer of this one.
    """
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {folder}") from None
        yield stack


def seed_folders(run: Path, config: Config) -> list[Path]:
    """The folders of the single runs: the run's own, or DIR/seed-K of each of several seeds."""
    if config.seeds == 1:
        return [run]
    return [run / f"seed-{config.seed + index}" for index in range(config.seeds)]
