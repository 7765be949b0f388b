"""A disk that is full, read-only or gone, at every writer of a run and of a study's results."""

import builtins
import contextlib
import errno
import fcntl
import io
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from campaign.made_run import GIVEN, config, make_run, restored
from campaign.trial import Trial
from mast.config import write_run_record
from mast.diagnosis.log import append_diagnostics
from mast.diagnosis.snapshots import save_snapshot
from mast.errors import StorageError
from mast.files import write_atomically
from mast.folders import held
from mast.learning.replay import Ring
from mast.studies.training_process import locked
from mast.training.checkpoint import CheckpointStore
from mast.training.logging import MetricsWriter
from mast.training.source import save_initial_weights
from training.test_checkpoint import CAPACITY, extend, small_state

ROW = {"env_steps": 1600, "episodes": 16, "updates": 2}


WRITERS: dict[str, Callable[[Path], object]] = {
    "config.json": lambda run: write_run_record(run, config(), GIVEN),
    "metrics.csv": lambda run: MetricsWriter(run, tensorboard=False).write(ROW),
    "tensorboard": lambda run: MetricsWriter(run).write(ROW | {"loss": 0.5}),
    "diagnostics.jsonl": lambda run: append_diagnostics(run, {"env_steps": 1600}),
    "snapshots/masks": lambda run: save_snapshot(run, 1600, {}),
    "snapshots/initial": lambda run: save_initial_weights(run, {}),
    "policy.safetensors": lambda run: write_atomically(run / "policy.safetensors", b"x" * 100),
}
"""File of a run → what writes it."""


@contextlib.contextmanager
def failing(number: int) -> Iterator[None]:
    """Files can be opened to be read only; the error is this one."""
    opened = io.open

    def refused(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode[0] in "wa" and not str(path).startswith("/dev"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, mode, *rest, **options)

    with mock.patch.object(io, "open", refused), mock.patch.object(builtins, "open", refused):
        yield


@contextlib.contextmanager
def no_byte_more() -> Iterator[None]:
    """The system itself refuses to make a file longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FAULTS: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "full": partial(failing, errno.ENOSPC),
    "read-only": partial(failing, errno.EROFS),
    "quota": partial(failing, errno.EDQUOT),
    "input/output error": partial(failing, errno.EIO),
    "no byte more": no_byte_more,
}


def refuses(action: Callable[[], object]) -> None:
    """The action must say in one line that a file cannot be written."""
    with pytest.raises(StorageError) as refusal:
        action()
    assert "\n" not in str(refusal.value)


def contents(run: Path) -> dict[Path, bytes]:
    """Every file of it."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def write_on(fault: str, name: str, folder: Path) -> None:
    """The writer says it, nothing that was there is lost, and it works again afterwards."""
    run = make_run(folder / "run")
    before = contents(run)
    with FAULTS[fault]():
        refuses(lambda: WRITERS[name](run))
    after = contents(run)
    assert {path: after.get(path) for path in before} == before
    WRITERS[name](run)


def save_on(fault: str, folder: Path) -> None:
    """A checkpoint cannot be saved: the one before stands, and the next save works."""
    run = make_run(folder / "run")
    ring = Ring(restored(run)[1].sizes, CAPACITY)
    store = CheckpointStore(run)
    store.restore(small_state(0), ring)
    extend(ring, 18)
    counters = {"run": {"env_steps": 1800}}
    with FAULTS[fault]():
        refuses(lambda: store.save(18, small_state(18), counters, ring))
    found, _ = restored(run)
    assert found is not None
    assert (found.step, found.skipped) == (15, [])
    store.save(18, small_state(18), counters, ring)
    found, _ = restored(run)
    assert found is not None
    assert found.step == 18


def write_into_nothing(name: str, fate: str, folder: Path) -> None:
    """The folder was deleted or renamed meanwhile: it is not made again."""
    run = make_run(folder / "run")
    if fate == "renamed":
        run.rename(folder / "other")
    else:
        shutil.rmtree(run)
    refuses(lambda: WRITERS[name](run))
    assert not run.exists()


def hold_without_locks(number: int, folder: Path) -> None:
    """A file system without `flock`: said, and gone on."""

    def without(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    said: list[str] = []
    with mock.patch.object(fcntl, "flock", without), held(folder, said.append):
        assert len(said) == 1
        lock = locked(folder / "cell.lock")
        assert lock is not None
        lock.close()


def trials(long: bool) -> Iterator[Trial]:
    """Every fault at every writer."""
    for fault in FAULTS:
        for name in WRITERS:
            yield Trial(f"disk: {fault}", name, partial(write_on, fault, name))
        yield Trial(f"disk: {fault}", "a checkpoint", partial(save_on, fault))
    for name in WRITERS:
        for fate in ("deleted", "renamed"):
            play = partial(write_into_nothing, name, fate)
            yield Trial(f"folder {fate}", name, play)
    for number in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        yield Trial("no locks", os.strerror(number), partial(hold_without_locks, number))
