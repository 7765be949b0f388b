"""Replay of whole episodes (MAST §4, Algorithm 2): one ring, and the window of its newest episodes.

The ring is host memory and NumPy only. The online buffer of the paper is a FIFO of the same stream
of episodes, so it is no second copy but the newest `online_window` episodes of the ring.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from mast.errors import SelfCheckError, UserError
from mast.learning.ring_memory import EpisodeSizes, lazy_zeros, slot_fields


class Episode(NamedTuple):
    """One whole episode of `steps` actions, with the observation that follows the last of them.

    `terminated` is False where the time limit cut the episode: its last state has a value.
    """

    observation: Float[np.ndarray, "steps_and_last agents features"]
    state: Float[np.ndarray, "steps_and_last state"]
    available: Bool[np.ndarray, "steps_and_last agents actions"]
    action: Integer[np.ndarray, "steps agents"]
    reward: Float[np.ndarray, " steps"]
    terminated: bool
    won: bool
    greedy: Integer[np.ndarray, "steps agents"] | None = None
    """What the acting network preferred; only a ring that `keeps_greedy` needs it."""
    truncated: bool | None = None
    """Whether a limit cut it; None where that is the opposite of `terminated`."""


class Batch(NamedTuple):
    """Episodes side by side, time first, padded to one length.

    After an episode's end: observation, state, action, reward 0, everything available, mask False.
    `terminated` is True at a terminal step only, so never at a time-limit cut.
    """

    observation: Float[Any, "length_and_last batch agents features"]
    state: Float[Any, "length_and_last batch state"]
    available: Bool[Any, "length_and_last batch agents actions"]
    action: Integer[Any, "length batch agents"]
    reward: Float[Any, "length batch"]
    terminated: Bool[Any, "length batch"]
    mask: Bool[Any, "length batch"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Steps and episodes, behind an axis of runs where there is one."""
        return tuple(self.reward.shape)


@runtime_checkable
class Pending(Protocol):
    """A result that may not be there yet: an array of JAX's."""

    def block_until_ready(self) -> Any:
        """Wait for it."""
        ...


def length_buckets(episode_limit: int, count: int = 4) -> tuple[int, ...]:
    """The lengths (in steps) that batches are padded to, ascending: each costs one compilation.

    Args:
      episode_limit: the largest number of steps of an episode; always the last length.
      count: how many lengths at most.

    Raises:
      ValueError: a number below 1.
    """
    if episode_limit < 1 or count < 1:
        raise ValueError(f"length_buckets needs positive numbers, got {episode_limit} and {count}")
    step = -(-episode_limit // count)
    return (*range(step, episode_limit, step), episode_limit)


def bucket(length: int, buckets: Sequence[int]) -> int:
    """The smallest of the ascending `buckets` (steps) that holds `length` steps.

    Raises:
      ValueError: none is large enough.
    """
    for candidate in buckets:
        if length <= candidate:
            return candidate
    raise ValueError(f"no bucket of {tuple(buckets)} holds an episode of {length} steps")


def sample_ages(
    stored: int,
    batch_size: int,
    online_batch: int,
    online_window: int,
    *,
    seed: int,
    update: int,
) -> Int[np.ndarray, " batch"]:
    """Draws a batch as ages of episodes (0 = the newest): a pure function of its arguments.

    The first batch_size - online_batch ages are uniform over all stored episodes, the rest over the
    newest `online_window`; each part is without replacement, an episode may come from both.

    Args:
      stored: episodes in the ring.
      batch_size: episodes in the batch, B.
      online_batch: of these, how many come from the window, b_2.
      online_window: the window's capacity in episodes, C_2; not yet full it counts as it is.
      seed: the run's seed; with `update` the whole random state (the key of a Philox generator).
      update: the number of this update.

    Raises:
      ValueError: a part is larger than what it is drawn from.

    Source: MAST §4 (dual buffer), Table 5 (20 + 12 of 5000 and 128).
    """
    ring_batch, window = batch_size - online_batch, min(online_window, stored)
    if not 0 <= online_batch <= batch_size:
        raise ValueError(f"online batch {online_batch} is not within 0..{batch_size}")
    if ring_batch > stored:
        raise ValueError(f"{ring_batch} episodes wanted of a ring that holds {stored}")
    if online_batch > window:
        raise ValueError(f"{online_batch} episodes wanted of a window that holds {window}")
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, update], np.uint64)))
    from_ring = generator.choice(stored, ring_batch, replace=False)
    if online_batch == 0:
        return from_ring
    from_window = generator.choice(window, online_batch, replace=False)
    return np.concatenate([from_ring, from_window])


class Ring:
    """The newest `capacity` whole episodes; episode k of all ever added is in slot k % capacity."""

    def __init__(
        self,
        sizes: EpisodeSizes,
        capacity: int,
        dtype: str = "float16",
        keeps_greedy: bool = False,
    ) -> None:
        """Lays out the slots; memory is taken as episodes are written.

        Args:
          sizes: the environment's sizes (`EnvironmentSpec`).
          capacity: episodes, C_1.
          dtype: of observations and state, "float16" or "float32".
          keeps_greedy: whether the greedy actions of collection time are kept too.

        Raises:
          ValueError: capacity below 1 or another dtype.
          UserError: the machine refuses the address space.
        """
        if capacity < 1:
            raise ValueError(f"a ring needs room for one episode at least, got {capacity}")
        self.sizes, self.capacity, self.dtype = sizes, capacity, dtype
        self.keeps_greedy = keeps_greedy
        self._fields = slot_fields(sizes, dtype, keeps_greedy)
        self._data = {name: lazy_zeros(capacity, field) for name, field in self._fields.items()}
        self._length = np.zeros(capacity, np.int32)
        self._terminated = np.zeros(capacity, np.bool_)
        self._won = np.zeros(capacity, np.bool_)
        self._reader: Pending | None = None
        self.clear()

    def __len__(self) -> int:
        """Episodes that are stored now."""
        return min(self._total - self._start, self.capacity)

    @property
    def total_added(self) -> int:
        """Episodes ever added: the number that the next one gets."""
        return self._total

    @property
    def first(self) -> int:
        """The number of the oldest episode that is stored; that of the next one if there is none."""
        return self._total - len(self)

    def forget_oldest(self, count: int) -> None:
        """Forgets that many of the oldest episodes, or all that there are."""
        self._start = min(self.first + count, self._total)

    def slots(self, numbers: Sequence[int]) -> Int[np.ndarray, " episodes"]:
        """The slots of these episodes.

        Raises:
          ValueError: the ring does not hold one of them.
        """
        return np.array([self._slot(number) for number in numbers], np.int64)

    def greedy(
        self, indices: Int[np.ndarray, " batch"], length: int
    ) -> Integer[np.ndarray, "length batch agents"]:
        """The greedy actions of collection time in these slots, beside `gather`'s batch; padded with 0.

        Raises:
          ValueError: an episode is longer than `length`.
        """
        return self._side_by_side("greedy", indices, length, filler=0)

    def clear(self, total_added: int = 0) -> None:
        """Forgets all episodes; the next one gets the number `total_added`."""
        self._start = self._total = total_added

    def add(self, episode: Episode) -> None:
        """Stores a copy of an episode, over the oldest one if the ring is full.

        Raises:
          ValueError: its shapes are not the ring's.
          SelfCheckError: a number is NaN.
          UserError: a number is infinite as it is stored (|x| > 65504 in float16).
        """
        rows = self._rows(episode)
        slot = self.claim(len(episode.action), bool(episode.terminated), bool(episode.won))
        for name, values in rows.items():
            slot[name][...] = values

    def claim(self, steps: int, terminated: bool, won: bool) -> dict[str, np.ndarray]:
        """Takes the next slot for an episode of `steps` steps; the caller fills the returned views.

        Raises:
          ValueError: no step, or more than the episode limit.
        """
        if not 1 <= steps <= self.sizes.episode_limit:
            limit = self.sizes.episode_limit
            raise ValueError(f"an episode of {steps} steps, allowed are 1 to {limit}")
        if self._reader is not None:
            self._reader.block_until_ready()
            self._reader = None
        slot = self._total % self.capacity
        self._length[slot], self._terminated[slot], self._won[slot] = steps, terminated, won
        self._total += 1
        return self.stored(self._total - 1)

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """All slots of each field [capacity, rows, width]: the same memory as long as there is the ring."""
        return self._data

    def read_by(self, result: Pending) -> None:
        """Notes what a program makes of `memory`: no slot is written to before that is there.

        Args:
          result: of the last program that was started; the earlier ones must end before it.
        """
        self._reader = result

    def endings(
        self, indices: Int[np.ndarray, " batch"]
    ) -> tuple[Int[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
        """Of the episodes in these slots the steps, and whether they terminated."""
        return self._length[indices], self._terminated[indices]

    def stored(self, number: int) -> dict[str, np.ndarray]:
        """Views of the rows of episode `number` as stored, each [rows, width] and contiguous.

        Raises:
          ValueError: the ring does not hold that episode.
        """
        slot = self._slot(number)
        steps, limit = int(self._length[slot]), self.sizes.episode_limit
        return {
            name: self._data[name][slot, : field.rows - limit + steps]
            for name, field in self._fields.items()
        }

    def ending(self, number: int) -> tuple[int, bool, bool]:
        """Episode `number`: its steps, whether it terminated, whether it was won.

        Raises:
          ValueError: the ring does not hold that episode.
        """
        slot = self._slot(number)
        return int(self._length[slot]), bool(self._terminated[slot]), bool(self._won[slot])

    def sample_indices(
        self, batch_size: int, online_batch: int, online_window: int, *, seed: int, update: int
    ) -> Int[np.ndarray, " batch"]:
        """The slots of a batch, drawn as in `sample_ages`."""
        ages = sample_ages(
            len(self), batch_size, online_batch, online_window, seed=seed, update=update
        )
        return (self._total - 1 - ages) % self.capacity

    def longest(self, indices: Int[np.ndarray, " batch"]) -> int:
        """Steps of the longest episode in these slots."""
        return int(self._length[indices].max())

    def gather(self, indices: Int[np.ndarray, " batch"], length: int) -> Batch:
        """Copies the episodes of these slots side by side, padded to `length` steps.

        The arrays are new at each call: JAX may keep host memory in use without copying it.

        Raises:
          ValueError: an episode is longer than `length`.
        """
        sizes, batch, lengths = self.sizes, len(indices), self._length[indices]
        flat = {
            # All bits: everything is available in the padding.
            name: self._side_by_side(name, indices, length, 255 if name == "available" else 0)
            for name in Batch._fields
            if name in self._fields
        }
        packed = np.unpackbits(flat["available"], axis=-1, count=sizes.agents * sizes.actions)
        terminated = np.zeros((length, batch), np.bool_)
        terminated[lengths - 1, np.arange(batch)] = self._terminated[indices]
        return Batch(
            observation=flat["observation"].reshape(
                length + 1, batch, sizes.agents, sizes.observation
            ),
            state=flat["state"],
            available=packed.view(np.bool_).reshape(length + 1, batch, sizes.agents, sizes.actions),
            action=flat["action"],
            reward=flat["reward"][..., 0],
            terminated=terminated,
            mask=np.arange(length)[:, None] < lengths,
        )

    def _side_by_side(
        self, name: str, indices: Int[np.ndarray, " batch"], length: int, filler: int
    ) -> np.ndarray:
        """One field of these slots as [length (+ 1), batch, width], `filler` after an episode's end."""
        lengths = self._length[indices]
        if lengths.max() > length:
            raise ValueError(f"an episode of {lengths.max()} steps in a batch of {length}")
        field, data = self._fields[name], self._data[name]
        extra = field.rows - self.sizes.episode_limit
        out = np.zeros((length + extra, len(indices), field.width), field.dtype)
        if filler:
            out.fill(filler)
        for column, (slot, steps) in enumerate(zip(indices, lengths, strict=True)):
            out[: steps + extra, column] = data[slot, : steps + extra]
        return out

    def _slot(self, number: int) -> int:
        if not self._total - len(self) <= number < self._total:
            raise ValueError(f"episode {number} is not in the ring")
        return number % self.capacity

    def _rows(self, episode: Episode) -> dict[str, np.ndarray]:
        """The episode as the slot stores it; checked whole before a slot is touched."""
        sizes, steps = self.sizes, len(episode.action)
        expected = {
            "observation": (steps + 1, sizes.agents, sizes.observation),
            "state": (steps + 1, sizes.state),
            "available": (steps + 1, sizes.agents, sizes.actions),
            "action": (steps, sizes.agents),
            "reward": (steps,),
        }
        if self.keeps_greedy:
            expected["greedy"] = expected["action"]
        rows = {}
        for name, shape in expected.items():
            values = np.asarray(getattr(episode, name))
            if values.shape != shape:
                raise ValueError(f"{name} of an episode is {values.shape}, the ring has {shape}")
            values = values.reshape(shape[0], math.prod(shape[1:]))
            if name == "available":
                rows[name] = np.packbits(values.astype(np.bool_, copy=False), axis=-1)
                continue
            with np.errstate(over="ignore"):
                rows[name] = values.astype(self._fields[name].dtype, copy=False)
            if name in ("action", "greedy") or _all_finite(rows[name]):
                continue
            if np.isnan(rows[name]).any():
                where = self._place(name, np.isnan(rows[name]))
                raise SelfCheckError(f"{name} is NaN {where}")
            # Players cast on the device already, so what was too large arrives as infinity.
            half = rows[name].dtype == np.float16
            where = self._place(name, ~np.isfinite(rows[name]))
            raise UserError(
                f"{name} holds {np.abs(values).max():g} {where}, beyond "
                f"{'half precision (65504)' if half else 'single precision'}: scale it"
                f"{', or set replay_dtype to float32' if half else ''}"
            )
        return rows

    def _place(self, name: str, bad: Bool[np.ndarray, "rows width"]) -> str:
        """Where in an episode a number is bad: the step (0 is the reset), and whose it is."""
        row, column = np.argwhere(bad)[0].tolist()
        step = row + 1 if name == "reward" else row
        agent = f", agent {column // self.sizes.observation}" if name == "observation" else ""
        return f"at step {step} of an episode{agent}"


def _all_finite(numbers: Float[np.ndarray, "rows width"]) -> bool:
    """Whether no number is NaN or infinite.

    NumPy computes with halves one at a time; of their bits it can look at many at once.
    """
    if numbers.dtype != np.float16:
        return bool(np.isfinite(numbers).all())
    exponents = numbers.view(np.uint16) & np.uint16(0x7C00)
    return bool(exponents.max(initial=0) < 0x7C00)
