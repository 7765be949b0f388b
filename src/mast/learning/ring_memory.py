"""The memory of the replay ring: what a slot holds, how it is taken, how much there will be."""

import contextlib
import math
import mmap
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mast.errors import UserError

_PAGE_BYTES = mmap.PAGESIZE
# Named in Python's mmap only from 3.13 on; the number is that of x86 and ARM.
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0


@runtime_checkable
class EpisodeSizes(Protocol):
    """What the ring must know of an environment; `EnvironmentSpec` has all of it."""

    @property
    def agents(self) -> int: ...
    @property
    def actions(self) -> int: ...
    @property
    def observation(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def episode_limit(self) -> int: ...


class Field(NamedTuple):
    """One kind of data of a slot: `rows` (time) by `width`, flat, so that a row is one copy."""

    rows: int
    width: int
    dtype: np.dtype[Any]


def slot_fields(sizes: EpisodeSizes, dtype: str, keeps_greedy: bool = False) -> dict[str, Field]:
    """What a slot holds. Which actions are available is packed, eight to a byte.

    Args:
      sizes: the environment's sizes.
      dtype: of observations and state.
      keeps_greedy: whether the greedy actions of collection time are kept too.

    Raises:
      ValueError: a dtype that the ring does not store.
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"the ring stores float16 or float32, not {dtype}")
    limit, numbers = sizes.episode_limit, np.dtype(dtype)
    actions = np.dtype(np.uint8 if sizes.actions <= 256 else np.int16)
    fields = {
        "observation": Field(limit + 1, sizes.agents * sizes.observation, numbers),
        "state": Field(limit + 1, sizes.state, numbers),
        "available": Field(limit + 1, -(-sizes.agents * sizes.actions // 8), np.dtype(np.uint8)),
        "action": Field(limit, sizes.agents, actions),
        "reward": Field(limit, 1, np.dtype(np.float32)),
    }
    return fields | {"greedy": fields["action"]} if keeps_greedy else fields


def lazy_zeros(capacity: int, field: Field) -> np.ndarray:
    """An array [capacity, rows, width] whose memory is taken page by page as it is written.

    `np.zeros` is nearly that, but NumPy and the kernel may back it with 2 MB pages, and then a
    write of one short episode takes the space of many long ones.

    Raises:
      UserError: the machine refuses the address space.
    """
    shape = (capacity, field.rows, field.width)
    nbytes = math.prod(shape) * field.dtype.itemsize
    if nbytes == 0:
        return np.zeros(shape, field.dtype)
    try:
        if sys.platform == "win32":
            memory = mmap.mmap(-1, nbytes)
        else:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            memory = mmap.mmap(-1, nbytes, flags=flags)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"no memory for a replay ring of {nbytes / 1e9:.1f} GB: {error}") from error
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without large pages has nothing to advise
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, field.dtype).reshape(shape)


def expected_bytes(
    sizes: EpisodeSizes,
    capacity: int,
    dtype: str,
    mean_length: float | None = None,
    keeps_greedy: bool = False,
) -> int:
    """Memory (bytes) that a full ring takes.

    Each slot keeps the pages of the longest episode that ever lay in it, so a ring that has turned
    over many times drifts from the expectation towards the bound.

    Args:
      sizes: the environment's sizes.
      capacity: episodes.
      dtype: of observations and state, "float16" or "float32".
      mean_length: steps of an average episode; None gives the bound, all of them at the limit.
      keeps_greedy: whether the greedy actions of collection time are kept too.

    Raises:
      ValueError: a dtype that the ring does not store.
    """
    limit = sizes.episode_limit
    steps = float(limit) if mean_length is None else min(mean_length, limit)
    total = 0.0
    for field in slot_fields(sizes, dtype, keeps_greedy).values():
        row = field.width * field.dtype.itemsize
        # An episode that ends within a page has the whole page.
        total += min(field.rows * row, (field.rows - limit + steps) * row + _PAGE_BYTES)
    per_slot_counters = np.dtype(np.int32).itemsize + 2
    return int(capacity * (total + per_slot_counters))


def machine_memory() -> int | None:
    """Memory (bytes) that this process can have: the machine's or its control group's, or None."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    if total <= 0:
        return None
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            total = min(total, int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):
            continue
    return total
