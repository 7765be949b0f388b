"""Estimates against returns: by hand, and against the definition."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fresh_networks import q_mixer, recurrent_agent
from mast.algorithms.value.decomposition import Team
from mast.diagnosis.values import (
    Played,
    ValueLog,
    compare_values,
    played_of_batch,
    played_of_recording,
    q_tot_and_returns,
)
from mast.learning.replay import Batch
from mast.networks.mixers import IndependentMixer, SumMixer

AGENTS, ACTIONS, FEATURES, STATE = 2, 3, 4, 5


def team(mixer: Any) -> Team:
    return Team(recurrent_agent(jax.random.key(0), FEATURES, ACTIONS, AGENTS, 6), mixer)


def played(lengths: list[int], limit: int = 4, seed: int = 0) -> Played:
    rng = np.random.default_rng(seed)
    count = len(lengths)
    return Played(
        observation=rng.standard_normal((limit, count, AGENTS, FEATURES)).astype(np.float16),
        state=rng.standard_normal((limit, count, STATE)).astype(np.float16),
        available=np.ones((limit, count, AGENTS, ACTIONS), bool),
        action=rng.integers(0, ACTIONS, (limit, count, AGENTS)).astype(np.int16),
        reward=rng.standard_normal((limit, count)).astype(np.float32),
        mask=np.arange(limit)[:, None] < np.array(lengths),
        cut=np.zeros(count, bool),
    )


def test_comparison_by_hand() -> None:
    found = compare_values(np.array([1.0, 2, 6]), np.array([1.0, 1, 4]), np.array([True, False]))
    assert found.q_tot == 3
    assert found.discounted_return == 2
    assert found.bias == 1
    # deviations (−2, −1, 3) and (−1, −1, 2): 9 / √(14 · 6)
    assert found.correlation == pytest.approx(9 / 84**0.5)
    assert (found.steps, found.episodes, found.cut) == (3, 2, 0.5)


def test_what_is_undefined_is_none() -> None:
    nothing = compare_values(np.zeros(0), np.zeros(0), np.zeros(0, bool))
    assert nothing == (None, None, None, None, 0, 0, None)
    assert compare_values(np.ones(1), np.ones(1), np.zeros(1, bool)).correlation is None
    flat = compare_values(np.array([1.0, 2]), np.array([3.0, 3]), np.zeros(1, bool))
    assert flat.correlation is None
    assert flat.bias == -1.5


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(2, 20)), elements=numbers))
def test_correlation_is_bounded_and_symmetric(pair: np.ndarray) -> None:
    first = compare_values(pair[0], pair[1], np.zeros(1, bool)).correlation
    second = compare_values(pair[1], pair[0], np.zeros(1, bool)).correlation
    assert first == second
    assert first is None or -1 <= first <= 1


def test_q_tot_is_that_of_acting_step_by_step() -> None:
    """With the last action fed in one step later, and the mixer on the chosen actions' values."""
    params = team(q_mixer(jax.random.key(1), STATE, AGENTS, 3, 4))
    episodes = played([4, 2])
    arrays = episodes._asdict()
    arrays.pop("cut")
    q_tot, returns = q_tot_and_returns(params, **arrays, discount=np.float32(0.9))
    for column, length in enumerate([4, 2]):
        hidden = params.agent.initial_hidden(AGENTS)
        last = jnp.full(AGENTS, -1)
        for step in range(length):
            observation = jnp.asarray(episodes.observation[step, column], jnp.float32)
            q, hidden = params.agent.step(observation, last, hidden)
            last = jnp.asarray(episodes.action[step, column], jnp.int32)
            state = jnp.asarray(episodes.state[step, column], jnp.float32)
            wanted = params.mixer(q[jnp.arange(AGENTS), last], state)[0]
            assert q_tot[step, column] == pytest.approx(float(wanted), abs=1e-5)
            rewards = episodes.reward[step:length, column]
            truth = sum(0.9**k * reward for k, reward in enumerate(rewards))
            assert returns[step, column] == pytest.approx(float(truth), abs=1e-5)


def test_independent_learners_have_the_mean_of_their_values() -> None:
    arrays = played([4])._asdict()
    arrays.pop("cut")
    both = [
        q_tot_and_returns(team(mixer), **arrays, discount=np.float32(0.9))[0]
        for mixer in (IndependentMixer(), SumMixer())
    ]
    np.testing.assert_allclose(both[0], both[1] / AGENTS, rtol=1e-6)


def test_only_steps_taken_count_block_by_block() -> None:
    """What lies after an episode's end may be anything, even NaN."""
    params = team(SumMixer())
    episodes = played([3, 1])
    for array in (episodes.observation, episodes.state, episodes.reward):
        array[~episodes.mask] = np.nan
    together = ValueLog(params, 0.9)
    together.add(episodes)
    apart = ValueLog(params, 0.9)
    for column in (0, 1):
        part = {
            name: array[:, column : column + 1]
            for name, array in episodes._asdict().items()
            if name != "cut"
        }
        apart.add(Played(**part, cut=np.array([column == 0])))
    whole, blocks = together.compare(), apart.compare()
    assert whole.steps == blocks.steps == 4
    assert whole.q_tot == pytest.approx(blocks.q_tot)
    assert whole.correlation == pytest.approx(blocks.correlation)
    assert (whole.cut, blocks.cut) == (0, 0.5)
    assert ValueLog(params, 0.9).compare().steps == 0


def test_a_recording_may_hold_more_than_the_real_episodes() -> None:
    recording = SimpleNamespace(
        observation=np.zeros((5, 3, AGENTS, FEATURES)),
        state=np.zeros((5, 3, STATE)),
        available=np.ones((5, 3, AGENTS, ACTIONS), bool),
        action=np.zeros((4, 3, AGENTS), int),
        reward=np.zeros((4, 3)),
    )
    found = played_of_recording(recording, np.array([4, 2]), np.array([False, True]))
    assert found.mask.sum(0).tolist() == [4, 2, 0]
    assert found.cut.tolist() == [True, False]
    assert len(found.observation) == len(found.state) == 4


def test_a_batch_is_cut_where_nothing_terminated() -> None:
    batch = Batch(
        observation=np.zeros((4, 2, AGENTS, FEATURES)),
        state=np.zeros((4, 2, STATE)),
        available=np.ones((4, 2, AGENTS, ACTIONS), bool),
        action=np.zeros((3, 2, AGENTS), int),
        reward=np.zeros((3, 2)),
        terminated=np.array([[False, False], [True, False], [False, False]]),
        mask=np.array([[True, True], [True, True], [False, True]]),
    )
    found = played_of_batch(batch)
    assert found.cut.tolist() == [False, True]
    assert len(found.observation) == 3
