"""Batches that stay in the replay ring: what compact execution learns from, without a copy.

JAX is given the ring's own memory, though to JAX an array never changes. What makes that safe: nothing is
written while a program may read (`Ring.read_by`), and every update is given the arrays anew.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.kernels import RingBatch
from mast.learning.replay import Batch, Ring


class StoredObservations(NamedTuple):
    """In the place of a batch's observations: where they lie in the ring. Kernels read them there."""

    observation: Float[Any, "capacity rows agents_times_features"]
    slots: Int[Any, " batch"]


@dataclass(frozen=True)
class StoredBatch:
    """Episodes of a batch where they lie in the ring; `gathered` and `half_gathered` make a `Batch` of it."""

    episodes: RingBatch
    agents: int
    actions: int
    length: int
    """To how many steps what must be copied is padded."""

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and episodes."""
        return self.length, len(self.episodes.slots)


jax.tree_util.register_dataclass(StoredBatch, ["episodes"], ["agents", "actions", "length"])


class RingReader:
    """A ring's memory as JAX reads it.

    Args:
        ring: must not be written to while a program reads (`Ring.read_by`).
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._fields = {name: _shared(field) for name, field in ring.memory.items()}

    def batch(self, slots: Int[np.ndarray, " batch"], length: int) -> StoredBatch:
        """The batch in these slots, as long as `Ring.gather`'s; nothing is copied.

        Raises:
            ValueError: there is no such slot, or an episode is longer than `length`.
        """
        ring, fields = self._ring, self._fields
        if not ((slots >= 0) & (slots < ring.capacity)).all():
            raise ValueError(f"a batch of slots {slots.min()} to {slots.max()} of {ring.capacity}")
        steps, terminated = ring.endings(slots)
        if steps.max() > length:
            raise ValueError(f"an episode of {steps.max()} steps in a batch of {length}")
        episodes = RingBatch(
            observation=fields["observation"],
            action=fields["action"],
            available=fields["available"],
            reward=fields["reward"],
            slots=slots.astype(np.int32),
            steps=steps,
            terminated=terminated,
            state=fields["state"],
        )
        return StoredBatch(episodes, ring.sizes.agents, ring.sizes.actions, length)


def half_gathered(stored: StoredBatch) -> Batch:
    """`gathered` but for the observations, the most of it, which stay in the ring."""
    where = StoredObservations(stored.episodes.observation, stored.episodes.slots)
    return gathered(stored)._replace(observation=where)


def gathered(stored: StoredBatch) -> Batch:
    """`Ring.gather` of a stored batch. To be a program of its own, as parts of another round differently."""
    episodes, length, agents = stored.episodes, stored.length, stored.agents
    slots, time = episodes.slots[None], jnp.arange(length + 1)[:, None]
    seen, mask = time <= episodes.steps, time[:-1] < episodes.steps

    def rows(field: Array, there: Bool[Array, "time batch"]) -> Array:
        found = field[slots, time[: len(there)]]
        return jnp.where(there[..., None], found, jnp.zeros((), field.dtype))

    bits = jnp.unpackbits(rows(episodes.available, seen), axis=-1, count=agents * stored.actions)
    observation = rows(episodes.observation, seen)
    return Batch(
        observation=observation.reshape(*observation.shape[:2], agents, -1),
        state=rows(episodes.state, seen),
        available=(bits.reshape(*bits.shape[:2], agents, -1) == 1) | ~seen[..., None, None],
        action=rows(episodes.action, mask),
        reward=rows(episodes.reward, mask)[..., 0],
        terminated=(time[:-1] == episodes.steps - 1) & episodes.terminated,
        mask=mask,
    )


def _shared(memory: np.ndarray) -> Array:
    """An array of the same memory, page-aligned as the ring's is.

    Raises:
        BufferError, ValueError: it would have to be copied.
    """
    if memory.size == 0:
        return jnp.asarray(memory)
    return jax.dlpack.from_dlpack(memory, copy=False)
