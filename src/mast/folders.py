"""Run folders before and while they are used: names, refusals, and one process at a time."""

import contextlib
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mast.config import Config
from mast.errors import UserError
from mast.files import writing
from mast.own_code import in_file_names

NO_LOCKS = "its file system has no locks; take care that no other process trains there"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What `flock` says on some network file systems (Linux: 37, 38, 95)."""


def default_folder(config: Config) -> Path:
    """runs/ENV-ALGORITHM-METHOD-TIME, one that does not exist yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (config.environment, config.algorithm, config.method)
    name = "-".join([*(in_file_names(each) for each in names), stamp])
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
    missing: list[Path] = []
    try:
        refuse_run(folder)
        missing += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:  # a name that is too long already when it is looked for
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def refuse_run(folder: Path) -> None:
    """Makes sure that a folder holds no run.

    Raises:
        UserError: it does.
    """
    if (folder / "config.json").exists():
        raise UserError(f"{folder} already holds a run; go on with: mast resume {folder}")


@contextlib.contextmanager
def held(folder: Path, say: Callable[[str], None]) -> Iterator[contextlib.ExitStack]:
    """Keeps other processes from training in a folder; the system lets go when this one dies.

    Args:
        folder: which exists.
        say: told where its file system cannot do that.

    Yields:
        a stack whose `pop_all` takes the hold over, to be let go later.

    Raises:
        UserError: another process holds it, or another trainer of this one; or it cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot open {folder}: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        try:
            if not lock(handle):
                say(f"{folder}: {NO_LOCKS}")
        except BlockingIOError:
            raise UserError(f"another process is training in {folder}") from None
        yield stack


def lock(handle: int) -> bool:
    """Locks an open file or folder for this process; False where the file system cannot.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return False
        raise
    return True


@contextlib.contextmanager
def begun(
    folder: Path, say: Callable[[str], None], write: Callable[[], None]
) -> Iterator[contextlib.ExitStack]:
    """Makes the folder of a new run, holds it as `held` does, and only then has its first file written.

    Args:
        folder: which must hold no run once it is held.
        say: as for `held`.
        write: writes the first files.

    Raises:
        UserError: another process has begun a run there meanwhile, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder, say) as stack:
        refuse_run(folder)
        write()
        yield stack


def seed_folders(run: Path, config: Config) -> list[Path]:
    """The folders of the single runs: the run's own, or DIR/seed-K of each of several seeds."""
    if config.seeds == 1:
        return [run]
    return [run / f"seed-{config.seed + index}" for index in range(config.seeds)]
