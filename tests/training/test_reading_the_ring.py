"""Compact runs learn from the ring's own memory: nothing of them shows it, not a bit."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kernels.cases import needs_kernels
from mast import Trainer
from mast.learning.replay import Batch, Ring
from mast.loops import replay
from mast.training.device_ring import DeviceRings, device_rings
from mast.training.engine import Engine
from training.small_runs import assert_same_run, run_in_parts, small

pytestmark = pytest.mark.usefixtures("shared_programs")

COMPACT = {
    **{"execution": "compact", "steps": 1200, "evolve_interval": 15},
    **{"buffer_episodes": 20, "online_episodes": 10},
}


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many episodes each copied batch had, from now on."""
    copied: list[int] = []

    def gather(ring: Ring, slots: np.ndarray, length: int, original: Any = Ring.gather) -> Batch:
        copied.append(len(slots))
        return original(ring, slots, length)

    monkeypatch.setattr(Ring, "gather", gather)
    return copied


@needs_kernels
@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "qmix"},
        # The dynamic window forgets episodes and looks at the oldest, which it copies.
        {
            **{"algorithm": "vdn", "method": "rlx2", "window_interval": 200, "window_floor": 8},
            **{"window_threshold": 0.0, "replay_dtype": "float32", "diagnostics": True},
        },
    ],
    ids=["qmix", "vdn, dynamic window"],
)
def test_a_run_that_reads_the_ring_is_the_run_that_copies(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = watched(monkeypatch)
    there = Trainer(small(**COMPACT, **settings), out=tmp_path / "there")
    there.run()
    assert there.runs[0].ring.total_added > there.runs[0].ring.capacity
    few = len(copied)
    monkeypatch.setattr(Engine, "reads_ring", False)
    beside = Trainer(small(**COMPACT, **settings), out=tmp_path / "beside")
    beside.run()
    assert len(copied) - 2 * few == beside.counters.updates
    assert_same_run(tmp_path / "there", tmp_path / "beside")
    for one, other in zip(*(jax.tree.leaves(each.state) for each in (there, beside)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_masked_runs_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copied = watched(monkeypatch)
    trainer = Trainer(small(steps=400))
    trainer.run()
    assert not trainer.engine.reads_ring
    assert len(copied) >= trainer.counters.updates > 0


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_run_with_its_ring_on_the_device_is_the_run_that_copies(
    seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"execution": "masked", "steps": 1200, "seeds": seeds, "buffer_episodes": 20}
    settings |= {"online_episodes": 10, "placement": "vmap" if seeds > 1 else "auto"}
    beside = Trainer(small(**settings), out=tmp_path / "beside")
    beside.run()
    copied = watched(monkeypatch)
    monkeypatch.setattr(replay, "device_rings", DeviceRings)
    resumed = run_in_parts(Trainer(small(**settings), out=tmp_path / "there"), 600)
    assert not copied
    assert resumed.runs[0].ring.total_added > resumed.runs[0].ring.capacity
    for one, other in zip(
        *(jax.tree.leaves(each.state) for each in (resumed, beside)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("megabytes", "fits"), [(None, False), (1, False), (1000, True)])
def test_rings_are_on_the_device_where_it_has_room(
    megabytes: int | None, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Device:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int] | None:
            return None if megabytes is None else {"bytes_limit": megabytes * 1_000_000}

    ring = Trainer(small(steps=400)).runs[0].ring
    assert device_rings([ring], False) is None  # the device is the host
    monkeypatch.setattr(jax, "devices", lambda: [Device()])
    assert (device_rings([ring], False) is not None) == fits
