"""Files that are damaged: single bits, cuts, other content, a folder in their place."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from campaign.made_run import SAVED_AT, make_run, restored
from campaign.trial import Trial, one_line
from mast.config import differences_from, load_config_file, load_run_config, load_run_record
from mast.diagnosis.log import forget_diagnostics_after, read_diagnostics
from mast.diagnosis.snapshots import load_snapshot, snapshot_paths
from mast.learning.replay import Ring
from mast.studies.library import find_study
from mast.studies.training_process import progress_of
from mast.training.checkpoint import CheckpointStore
from mast.training.logging import MetricsWriter, read_metrics
from training.test_checkpoint import (
    CAPACITY,
    assert_same_ring,
    assert_same_state,
    filled_ring,
    small_state,
)


def read_checkpoints(run: Path) -> None:
    """Resumes: whatever comes back unsaid must be what was saved, to the bit."""
    if one_line(lambda: CheckpointStore(run).peek()) is not None:
        return
    found, ring = restored(run)
    assert found is not None
    assert found.step in SAVED_AT[1:]
    assert_same_state(found.state, small_state(found.step))
    if not any("replay episodes" in line for line in found.skipped):
        assert_same_ring(ring, filled_ring(found.step, CAPACITY))
    else:
        assert isinstance(ring, Ring)
        assert len(ring) < min(found.step, CAPACITY)
    assert found.step == SAVED_AT[-1] or found.skipped, "an older checkpoint, and nothing said"


def read_metrics_everywhere(run: Path) -> None:
    """As `info`, `study run` and `resume` do."""
    progress_of(run, 1000)  # which may not refuse: another process says so
    read_metrics(run)
    MetricsWriter(run, tensorboard=False).truncate_to(900)


def read_config(run: Path) -> None:
    """As every command does."""
    differences_from(load_run_record(run))
    load_run_config(run)
    load_config_file(run)


def read_diagnostics_everywhere(run: Path) -> None:
    """As `inspect` and `resume` do; the latter leaves out what is damaged."""
    refused = one_line(lambda: read_diagnostics(run))
    said = forget_diagnostics_after(run, 10_000)
    assert bool(refused) == bool(said)
    read_diagnostics(run)


READERS: dict[str, Callable[[Path], object]] = {
    "metrics.csv": read_metrics_everywhere,
    "diagnostics.jsonl": read_diagnostics_everywhere,
    "config.json": read_config,
    "study.toml": lambda run: find_study(str(run / "study.toml")),
    "snapshots/masks-000001500.safetensors": lambda run: [
        load_snapshot(path) for path in snapshot_paths(run)
    ],
    "checkpoints/checkpoint-000003.json": read_checkpoints,
    "checkpoints/state-000003.safetensors": read_checkpoints,
    "checkpoints/episodes-000001.bin": read_checkpoints,
    "checkpoints/episodes-000003.bin": read_checkpoints,
}
"""File → what reads it, refusing in one line or going on."""

DEEP = 20_000
OTHER: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(300),
    "no text": b"\xff\xfe\n\x80,\n",
    "deep list": b"[" * DEEP + b"]" * DEEP + b"\n",
    "deep table": b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"\n",
    "deep TOML": b"a = " + b"[" * DEEP + b"]" * DEEP + b"\n",
    "a number": b"1\n",
    "long digits": b"a = " + b"9" * 5000 + b"\n",
}


def flip(path: Path, place: int) -> None:
    """Turns one bit over."""
    content = bytearray(path.read_bytes())
    content[place // 8 % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    """Puts a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def trials(long: bool) -> Iterator[Trial]:
    """Single bits of every file, and other content in its place."""

    @cache
    def original() -> tuple[tempfile.TemporaryDirectory[str], Path]:
        folder = tempfile.TemporaryDirectory()
        return folder, make_run(Path(folder.name) / "run")

    def play(name: str, change: Callable[[Path], object], folder: Path) -> None:
        run = Path(shutil.copytree(original()[1], folder / "run"))
        change(run / name)
        one_line(lambda: READERS[name](run))

    rng = np.random.default_rng(0)
    for name in READERS:
        for place in rng.integers(0, 2**31, 400 if long else 12).tolist():
            change: Callable[[Path], object] = partial(flip, place=place)
            yield Trial(f"one bit of {name}", f"bit {place}", partial(play, name, change))
        for kind, content in OTHER.items():
            change = partial(Path.write_bytes, data=content)
            yield Trial("other content", f"{name}: {kind}", partial(play, name, change))
        yield Trial("other content", f"{name}: gone", partial(play, name, Path.unlink))
        yield Trial("other content", f"{name}: folder", partial(play, name, replace_by_folder))
