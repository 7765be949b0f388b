"""The team's gradient of episodes in the replay ring: bit for bit that of a copy, and nothing odd is read."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.cases import REFUSED, needs_kernels
from kernels.test_kernel_faults import odd_array, packed
from mast.kernels import (
    RingBatch,
    SparseAgent,
    SparseQMixer,
    Targets,
    TeamBatch,
    episode_utilities,
    team_gradient,
)
from mast.learning.replay import Batch, Episode, Ring
from mast.learning.stored import RingReader, StoredBatch, gathered

pytestmark = needs_kernels
TARGETS = Targets(3, 0, 1.0, 10.0, 5.0, 0.99, 0.8, 0, 0)
MIXINGS = ("none", "sum", "monotonic")


@dataclasses.dataclass(frozen=True)
class Sizes:
    agents: int = 3
    actions: int = 5
    observation: int = 21
    state: int = 7
    episode_limit: int = 6


SIZES = Sizes()


def random_episode(sizes: Sizes, generator: np.random.Generator) -> Episode:
    steps = int(generator.integers(1, sizes.episode_limit + 1))
    available = generator.random((steps + 1, sizes.agents, sizes.actions)) < 0.4
    available[..., -1] = True
    return Episode(
        observation=generator.normal(size=(steps + 1, sizes.agents, sizes.observation)),
        state=generator.normal(size=(steps + 1, sizes.state)),
        available=available,
        action=generator.integers(0, sizes.actions, (steps, sizes.agents)),
        reward=generator.normal(size=steps).astype(np.float32),
        terminated=bool(generator.random() < 0.5),
        won=False,
    )


def ring_of(sizes: Sizes, dtype: str, capacity: int = 9) -> Ring:
    """Turned over more than once, so that behind most episodes lies the rest of a longer one."""
    generator, ring = np.random.default_rng(7), Ring(sizes, capacity, dtype)
    for _ in range(3 * capacity + 2):
        ring.add(random_episode(sizes, generator))
    return ring


def networks(sizes: Sizes) -> tuple[SparseAgent, SparseQMixer]:
    hidden, embed, hypernet = 8, 4, 6
    inputs = sizes.observation + sizes.actions + sizes.agents
    agent = packed(
        SparseAgent, [(hidden, inputs), *[(3 * hidden, hidden)] * 2, (sizes.actions, hidden)]
    )
    state, w1 = sizes.state, sizes.agents * embed
    shapes = [(hypernet, state), (w1, hypernet), (hypernet, state), (embed, hypernet)]
    mixer = packed(SparseQMixer, [*shapes, (embed, state), (embed, state), (1, embed)])
    return agent, mixer


def gradient(batch: Any, sizes: Sizes, mixing: str, threads: int = 1, lacks: bool = False) -> Any:
    agent, mixer = networks(sizes)
    if lacks:
        has = np.random.default_rng(8).random((2, sizes.agents, agent.hidden_size)) < 0.7
        agent = dataclasses.replace(agent, neurons=jnp.asarray(has))
    mixers = (mixer, mixer) if mixing == "monotonic" else (None, None)
    return team_gradient(agent, agent, *mixers, batch, TARGETS, mixing=mixing, threads=threads)


def copied(batch: Batch) -> TeamBatch:
    steps = np.asarray(batch.mask).sum(0, dtype=np.int32)
    rest = (batch.available, batch.reward, batch.terminated, batch.state)
    return TeamBatch(batch.observation, batch.action, steps, *rest)


def assert_same(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        (SIZES, "float16"),
        (SIZES, "float32"),
        (Sizes(agents=2, actions=40, observation=9), "float16"),  # more actions than bits in a word
        (Sizes(agents=1, actions=300, state=20), "float32"),  # more than a byte counts
    ],
)
def test_it_is_bit_for_bit_that_of_a_copy(sizes: Sizes, dtype: str) -> None:
    ring = ring_of(sizes, dtype)
    reader = RingReader(ring)
    for update, lacks in enumerate((False, True, False)):
        slots = ring.sample_indices(5, 3, 4, seed=1, update=update)
        stored, batch = reader.batch(slots, 6), ring.gather(slots, 6)
        assert_same(jax.jit(gathered)(stored), jax.tree.map(jnp.asarray, batch))
        for mixing in MIXINGS:
            there = gradient(stored.episodes, sizes, mixing, threads=1 + update % 2, lacks=lacks)
            assert_same(there, gradient(copied(batch), sizes, mixing, lacks=lacks))


def test_utilities_and_their_gradient_are_those_of_a_copy() -> None:
    ring = ring_of(SIZES, "float16")
    slots = ring.sample_indices(5, 0, 1, seed=2, update=0)
    stored = jax.tree.map(jnp.asarray, RingReader(ring).batch(slots, 6))
    batch = jax.tree.map(jnp.asarray, copied(ring.gather(slots, 6)))
    batch = batch._replace(action=batch.action.astype(jnp.int32))
    agent, _ = networks(SIZES)

    def chosen(parameters: Any, observation: Any, slots: Any) -> Any:
        learning = dataclasses.replace(agent, parameters=parameters)
        return episode_utilities(
            *(learning, observation, batch.action, batch.steps), slots=slots, others=(agent,)
        )

    def learned(*operands: Any) -> Any:
        return jax.value_and_grad(lambda *each: chosen(*each)[0].sum())(*operands)

    of_ring = (agent.parameters, stored.episodes.observation, stored.episodes.slots)
    of_copy = (agent.parameters, batch.observation, None)
    assert_same(chosen(*of_ring), chosen(*of_copy))
    assert_same(learned(*of_ring), learned(*of_copy))


def test_the_rings_memory_is_read_and_not_a_copy_of_it() -> None:
    ring = ring_of(SIZES, "float16")
    stored = RingReader(ring).batch(np.arange(4), 6).episodes
    for name, field in ring.memory.items():
        assert getattr(stored, name).unsafe_buffer_pointer() == field.ctypes.data
    before = gradient(stored, SIZES, "sum")
    ring.memory["reward"][:4, 0] += 1
    assert float(gradient(stored, SIZES, "sum").target) != float(before.target)


@functools.cache
def stored_batch() -> StoredBatch:
    ring = ring_of(SIZES, "float16")
    return RingReader(ring).batch(np.arange(4), 6)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("slots", [0, 9, 1, 2], r"slot 9, expected 0 to 8"),
        ("slots", [0, -1, 1, 2], r"slot -1, expected 0 to 8"),
        ("steps", [6, 7, 1, 1], r"number of steps 7, expected 1 to 6"),
        ("steps", [6, 0, 1, 1], r"number of steps 0, expected 1 to 6"),
        ("steps", [6, 1, 1], r"axis 0 has 3, expected 4"),
        ("slots", [], r"an empty batch|has 4, expected 0"),
    ],
)
def test_slots_and_steps_that_are_none_are_refused(field: str, value: list[int], said: str) -> None:
    spoiled = stored_batch().episodes._replace(**{field: np.array(value, np.int32)})
    with pytest.raises(REFUSED, match=said) as error:
        jax.block_until_ready(gradient(spoiled, SIZES, "monotonic"))
    assert str(error.value).count("mast kernels") == 1


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("observation", lambda x: x[:, :-1], r"one observation more"),
        ("observation", lambda x: x[..., :-1], r"not those of so many agents"),
        ("observation", lambda x: x.astype("f4"), r"another type"),  # the state is not
        ("observation", lambda x: x.astype("i4"), r"another type"),
        ("action", lambda x: x.astype("i4"), r"another type"),
        ("action", lambda x: x[..., :0], r"an empty batch"),
        ("available", lambda x: x[..., :-1], r"what is available does not fit"),
        ("available", lambda x: x != 0, r"another type"),
        ("reward", lambda x: x[:-1], r"axis 0 has 8, expected 9"),
        ("reward", lambda x: x[..., 0], r"another number of axes"),
        ("state", lambda x: x[:, 1:], r"axis 1 has 6, expected 7"),
    ],
)
def test_a_ring_whose_parts_do_not_fit_is_refused(field: str, change: Any, said: str) -> None:
    episodes = stored_batch().episodes
    spoiled = episodes._replace(**{field: change(np.array(getattr(episodes, field)))})
    with pytest.raises(REFUSED, match=said):
        jax.block_until_ready(gradient(spoiled, SIZES, "monotonic"))


def test_slots_that_are_no_integers_are_refused() -> None:
    spoiled = stored_batch().episodes._replace(slots=np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="slots must be integers, not float32"):
        gradient(spoiled, SIZES, "sum")


def test_odd_operands_end_in_an_error_or_a_result() -> None:
    generator, episodes = np.random.default_rng(3), stored_batch().episodes
    for _ in range(25):
        spoiled = list(episodes)
        for _ in range(int(generator.integers(1, 3))):
            place = int(generator.integers(len(spoiled)))
            spoiled[place] = odd_array(generator, np.array(spoiled[place]))
        try:
            jax.block_until_ready(gradient(RingBatch(*spoiled), SIZES, "monotonic"))
        except (*REFUSED, TypeError, IndexError):  # some already by JAX
            continue


def test_a_reader_refuses_slots_and_lengths_that_are_none() -> None:
    ring = ring_of(SIZES, "float16")
    reader = RingReader(ring)
    with pytest.raises(ValueError, match="slots 0 to 9 of 9"):
        reader.batch(np.array([0, 9]), 6)
    longest = np.array([int(np.argmax(ring.endings(np.arange(9))[0]))])
    with pytest.raises(ValueError, match="steps in a batch of 1"):
        reader.batch(longest, 1)
