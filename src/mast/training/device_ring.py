"""The replay rings in an accelerator's memory: batches are made where they are learned from.

The host's rings stay what is checkpointed and drawn from. These follow them, episode by episode; without them
every batch of every update would cross the bus, which takes longer than the update itself.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mast.kernels import RingBatch
from mast.learning.replay import Batch, Ring
from mast.learning.stored import StoredBatch, gathered
from mast.training.run_axis import stacked

Fields = dict[str, Array]
"""All slots of each field, [capacity, rows, width]."""

CHUNK = 8
"""Episodes that are copied at once; the size is fixed so that one program serves all."""
SHARE = 1 / 3
"""Of the device's memory, what the rings may take."""


class DeviceRings:
    """Copies of the rings of one program's runs.

    Args:
        rings: of the runs, in the host's memory.
        vmapped: whether batches lead with a run axis.
    """

    def __init__(self, rings: Sequence[Ring], vmapped: bool) -> None:
        self._rings = rings
        self._fields: list[Fields] = [
            {name: jnp.zeros(each.shape, each.dtype) for name, each in _read(ring).items()}
            for ring in rings
        ]
        self._followed = [0] * len(rings)
        self._gathered = jax.jit(partial(_gathered, vmapped=vmapped))
        self._written = jax.jit(_written, donate_argnums=0)

    def follow(self) -> None:
        """Copies the episodes that were added to the rings since the last call."""
        for place, ring in enumerate(self._rings):
            first = max(self._followed[place], ring.first)
            for begin in range(first, ring.total_added, CHUNK):
                numbers = np.arange(begin, min(begin + CHUNK, ring.total_added))
                # The last one again, to fill up.
                slots = ring.slots(np.resize(numbers, CHUNK).tolist())
                rows = {name: field[slots] for name, field in _read(ring).items()}
                self._fields[place] = self._written(self._fields[place], rows, slots)
            self._followed[place] = ring.total_added

    def batch(self, slots: Sequence[Int[np.ndarray, " batch"]], length: int) -> Batch:
        """What `Ring.gather` makes of these slots, of all runs, on the device.

        Args:
            slots: one array per run.
            length: steps to pad to.
        """
        stored = []
        for ring, fields, drawn in zip(self._rings, self._fields, slots, strict=True):
            steps, terminated = ring.endings(drawn)
            episodes = RingBatch(
                slots=drawn.astype(np.int32), steps=steps, terminated=terminated, **fields
            )
            stored.append(StoredBatch(episodes, ring.sizes.agents, ring.sizes.actions, length))
        return self._gathered(stored)


def device_rings(rings: Sequence[Ring], vmapped: bool) -> DeviceRings | None:
    """Rings in the default device's memory; None where that is the host's, or too small.

    Args:
        rings, vmapped: as for `DeviceRings`.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":
        return None
    limit = (device.memory_stats() or {}).get("bytes_limit", 0)
    needed = sum(field.nbytes for ring in rings for field in _read(ring).values())
    return DeviceRings(rings, vmapped) if needed <= SHARE * limit else None


def _read(ring: Ring) -> dict[str, np.ndarray]:
    """The fields of which batches are made."""
    return {name: field for name, field in ring.memory.items() if name in Batch._fields}


def _written(fields: Fields, rows: Fields, slots: Int[Array, " chunk"]) -> Fields:
    return {name: field.at[slots].set(rows[name]) for name, field in fields.items()}


def _gathered(stored: list[StoredBatch], vmapped: bool) -> Batch:
    return stacked([gathered(each) for each in stored], vmapped)
