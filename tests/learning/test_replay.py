"""The ring against a list of episodes, and the draws against what §4 of the specification says."""

import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.errors import SelfCheckError, UserError
from mast.learning.replay import Batch, Episode, Ring, bucket, length_buckets, sample_ages
from mast.learning.ring_memory import expected_bytes, machine_memory


@dataclasses.dataclass(frozen=True)
class Sizes:
    agents: int = 3
    actions: int = 5
    observation: int = 4
    state: int = 6
    episode_limit: int = 7


def random_episode(sizes: Sizes, seed: int, steps: int | None = None) -> Episode:
    """Numbers that half precision holds exactly."""
    rng = np.random.default_rng(seed)
    if steps is None:
        steps = int(rng.integers(1, sizes.episode_limit + 1))
    rows = steps + 1

    def numbers(*shape: int) -> np.ndarray:
        return (rng.integers(-64, 64, shape) / 8).astype(np.float32)

    return Episode(
        observation=numbers(rows, sizes.agents, sizes.observation),
        state=numbers(rows, sizes.state),
        available=rng.random((rows, sizes.agents, sizes.actions)) < 0.5,
        action=rng.integers(0, sizes.actions, (steps, sizes.agents)),
        reward=rng.standard_normal(steps).astype(np.float32),
        terminated=bool(rng.random() < 0.5),
        won=bool(rng.random() < 0.5),
    )


def naive_batch(episodes: list[Episode], sizes: Sizes, length: int) -> Batch:
    """What a batch is, one number at a time."""
    n = len(episodes)
    rows = (length + 1, n)
    batch = Batch(
        np.zeros((*rows, sizes.agents, sizes.observation)),
        np.zeros((*rows, sizes.state)),
        np.ones((*rows, sizes.agents, sizes.actions), bool),
        np.zeros((length, n, sizes.agents), int),
        np.zeros((length, n), np.float32),
        np.zeros((length, n), bool),
        np.zeros((length, n), bool),
    )
    for b, episode in enumerate(episodes):
        steps = len(episode.action)
        for t in range(steps + 1):
            batch.observation[t, b] = episode.observation[t]
            batch.state[t, b] = episode.state[t]
            batch.available[t, b] = episode.available[t]
        for t in range(steps):
            batch.action[t, b] = episode.action[t]
            batch.reward[t, b] = episode.reward[t]
            batch.mask[t, b] = True
        batch.terminated[steps - 1, b] = episode.terminated
    return batch


def assert_same(batch: Batch, expected: Batch) -> None:
    for name, got, wanted in zip(Batch._fields, batch, expected, strict=True):
        np.testing.assert_array_equal(got, wanted, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 6),
    count=st.integers(1, 20),
    seed=st.integers(0, 2**32),
    agents=st.integers(1, 4),
    actions=st.integers(1, 20),
    state=st.integers(0, 3),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_ring_is_the_newest_episodes_of_a_list(
    capacity: int, count: int, seed: int, agents: int, actions: int, state: int, dtype: str
) -> None:
    sizes = Sizes(agents=agents, actions=actions, state=state)
    ring, everything = Ring(sizes, capacity, dtype), []
    for number in range(count):
        episode = random_episode(sizes, seed + number)
        ring.add(episode)
        everything.append(episode)
        assert ring.total_added == number + 1
        assert len(ring) == min(number + 1, capacity)
    newest = everything[-capacity:]
    slots = np.array([number % capacity for number in range(count)][-capacity:])
    longest = max(len(episode.action) for episode in newest)
    assert ring.longest(slots) == longest
    for length in {longest, sizes.episode_limit}:
        batch = ring.gather(slots, length)
        assert_same(batch, naive_batch(newest, sizes, length))
        assert batch.observation.dtype == batch.state.dtype == np.dtype(dtype)
    for number, episode in enumerate(newest, count - len(newest)):
        assert ring.ending(number) == (len(episode.action), episode.terminated, episode.won)


def test_sample_is_the_drawn_episodes_in_their_bucket() -> None:
    sizes, buckets = Sizes(), length_buckets(7)
    ring = Ring(sizes, 10)
    episodes = [random_episode(sizes, number) for number in range(25)]
    for episode in episodes:
        ring.add(episode)
    for update in range(20):
        slots = ring.sample_indices(6, 2, 4, seed=3, update=update)
        batch = ring.gather(slots, bucket(ring.longest(slots), buckets))
        ages = sample_ages(10, 6, 2, 4, seed=3, update=update)
        drawn = [episodes[24 - age] for age in ages]
        length = bucket(max(len(episode.action) for episode in drawn), buckets)
        assert_same(batch, naive_batch(drawn, sizes, length))


def test_batches_are_new_memory() -> None:
    sizes = Sizes()
    ring = Ring(sizes, 2)
    ring.add(random_episode(sizes, 0, steps=7))
    slots = np.array([0])
    first = ring.gather(slots, 7)
    for array in first:
        array[...] = 1
    second = ring.gather(slots, 7)
    assert not any(np.shares_memory(a, b) for a, b in zip(first, second, strict=True))
    assert_same(second, naive_batch([random_episode(sizes, 0, steps=7)], sizes, 7))


def test_nothing_is_written_before_what_reads_the_ring_is_there() -> None:
    sizes = Sizes()
    ring = Ring(sizes, 1)
    ring.add(random_episode(sizes, 0, steps=7))
    seen = []

    class Reader:
        def block_until_ready(self) -> None:
            seen.append(ring.memory["reward"].copy())

    before = ring.memory["reward"].copy()
    ring.read_by(Reader())
    for seed in (1, 2):
        ring.add(random_episode(sizes, seed, steps=7))
    (found,) = seen  # waited for once
    np.testing.assert_array_equal(found, before)
    assert not np.array_equal(ring.memory["reward"], before)


@settings(max_examples=100, deadline=None)
@given(
    stored=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    online_batch=st.integers(0, 40),
    window=st.integers(0, 400),
    seed=st.integers(0, 2**64 - 1),
    update=st.integers(0, 2**64 - 1),
)
def test_ages_are_distinct_within_each_part_and_in_range(
    stored: int, batch_size: int, online_batch: int, window: int, seed: int, update: int
) -> None:
    def draw() -> np.ndarray:
        return sample_ages(stored, batch_size, online_batch, window, seed=seed, update=update)

    possible = online_batch <= min(window, stored, batch_size)
    if not possible or batch_size - online_batch > stored:
        with pytest.raises(ValueError, match=r"episodes wanted|not within"):
            draw()
        return
    ages = draw()
    ring_part, online_part = np.split(ages, [batch_size - online_batch])
    for part, bound in ((ring_part, stored), (online_part, min(window, stored))):
        assert len(set(part.tolist())) == len(part)
        assert all(0 <= age < bound for age in part)
    assert len(ages) == batch_size
    np.testing.assert_array_equal(ages, draw())


def test_draws_are_uniform() -> None:
    """5 sigma, fixed seed: every age equally often in its part, in every position."""
    updates, stored, window = 4000, 40, 16
    rings, online, first = Counter[int](), Counter[int](), Counter[int]()
    for update in range(updates):
        ages = sample_ages(stored, 12, 4, window, seed=0, update=update).tolist()
        rings.update(ages[:8])
        online.update(ages[8:])
        first[ages[0]] += 1
    for counts, options, draws in ((rings, stored, 8), (online, window, 4), (first, stored, 1)):
        share = draws / options
        sigma = np.sqrt(updates * share * (1 - share))
        observed = np.array([counts[age] for age in range(options)])
        assert np.abs(observed - updates * share).max() < 5 * sigma


def test_seeds_and_updates_draw_differently() -> None:
    draws = {
        tuple(sample_ages(5000, 32, 12, 128, seed=seed, update=update))
        for seed in range(10)
        for update in range(10)
    }
    assert len(draws) == 100


def test_refusals() -> None:
    sizes = Sizes()
    ring = Ring(sizes, 4)
    ring.add(random_episode(sizes, 0, steps=5))
    with pytest.raises(ValueError, match="5 steps in a batch of 4"):
        ring.gather(np.array([0]), 4)
    good = random_episode(sizes, 1, steps=3)
    for wrong in (
        good._replace(state=good.state[:-1]),
        good._replace(observation=good.observation[..., :-1]),
        good._replace(reward=good.reward[:-1]),
        random_episode(sizes, 0, steps=8),
        random_episode(sizes, 0, steps=0),
    ):
        with pytest.raises(ValueError, match="episode"):
            ring.add(wrong)
    with pytest.raises(ValueError, match="one episode at least"):
        Ring(sizes, 0)
    with pytest.raises(ValueError, match="bfloat16"):
        Ring(sizes, 4, "bfloat16")
    with pytest.raises(ValueError, match="not in the ring"):
        ring.stored(1)
    assert ring.total_added == 1


def test_half_precision_overflow_is_refused_and_nothing_is_stored() -> None:
    sizes = Sizes()
    episode = random_episode(sizes, 0)
    episode.state[0, 0] = 1e5
    ring = Ring(sizes, 4)
    with pytest.raises(
        UserError, match=r"state holds 100000 at step 0 of an episode, beyond half precision"
    ):
        ring.add(episode)
    assert len(ring) == 0
    Ring(sizes, 4, "float32").add(episode)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_number_that_is_not_finite_is_found(dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    odd = {"NaN": [np.nan, -np.nan], "holds inf": [np.inf, -np.inf]}
    ring, sizes = Ring(Sizes(), 1, dtype), Sizes()
    for field in ("observation", "state"):
        episode = random_episode(sizes, 0, steps=3)
        for finite in (largest, -largest, float(np.finfo(dtype).smallest_subnormal), 0.0):
            getattr(episode, field)[-1, ..., -1] = finite
            ring.add(episode)
        for said, values in odd.items():
            for value in values:
                getattr(episode, field)[-1, ..., -1] = value
                with pytest.raises((SelfCheckError, UserError), match=said):
                    ring.add(episode)


def test_many_actions_take_two_bytes() -> None:
    for actions, dtype in ((256, np.uint8), (257, np.int16)):
        sizes = Sizes(actions=actions)
        ring = Ring(sizes, 1)
        episode = random_episode(sizes, 0)
        episode.action[...] = actions - 1
        ring.add(episode)
        batch = ring.gather(np.array([0]), 7)
        assert batch.action.dtype == dtype
        assert batch.action.max() == actions - 1


@given(limit=st.integers(1, 500), count=st.integers(1, 8))
def test_buckets(limit: int, count: int) -> None:
    buckets = length_buckets(limit, count)
    assert len(buckets) <= count
    assert buckets[-1] == limit
    assert list(buckets) == sorted(set(buckets))
    for length in range(1, limit + 1):
        held = bucket(length, buckets)
        assert held in buckets
        assert held >= length
        assert all(smaller < length for smaller in buckets if smaller < held)
    with pytest.raises(ValueError, match="no bucket"):
        bucket(limit + 1, buckets)


def test_bucket_values() -> None:
    assert length_buckets(101) == (26, 52, 78, 101)
    assert length_buckets(3) == (1, 2, 3)
    with pytest.raises(ValueError, match="positive"):
        length_buckets(0)


def test_27m_vs_30m_fits_24_gigabytes() -> None:
    sizes = Sizes(agents=27, actions=35, observation=738, state=684, episode_limit=101)
    bound = expected_bytes(sizes, 5000, "float16")
    assert 20e9 < bound < 22e9
    assert expected_bytes(sizes, 5000, "float16", mean_length=50.0) < 0.52 * bound


def test_bound_is_the_address_space_of_the_slots() -> None:
    sizes = Sizes(agents=5, actions=11, observation=80, state=92, episode_limit=101)
    ring = Ring(sizes, 30)
    slots = sum(array.nbytes for array in ring._data.values())
    counters = ring._length.nbytes + ring._terminated.nbytes + ring._won.nbytes
    assert expected_bytes(sizes, 30, "float16") == slots + counters


def test_machine_memory_is_plausible() -> None:
    memory = machine_memory()
    assert memory is None or 2**27 < memory < 2**50


MEMORY_PROGRAM = """
import numpy as np
from test_replay import Sizes, random_episode
from mast.learning.replay import Ring
from mast.learning.ring_memory import expected_bytes

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

sizes = Sizes(agents=8, actions=13, observation=205, state=192, episode_limit=101)
episode = random_episode(sizes, 0, steps=10)
ring = Ring(sizes, 2000)
before = resident()
for _ in range(200):
    ring.add(episode)
print(resident() - before, expected_bytes(sizes, 200, "float16", mean_length=10.0))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_taken_only_to_the_length_of_the_episodes() -> None:
    """2000 slots of 3s5z are 750 MB; 200 episodes of 10 steps are 8."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        cwd=__file__.rsplit("/", 1)[0],
    )
    taken, expected = map(int, done.stdout.split())
    assert taken < 1.1 * expected + 2e6


def test_importing_the_ring_does_not_import_jax() -> None:
    program = "import sys, mast.learning.replay; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
