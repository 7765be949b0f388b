"""RLx2's dynamic window against a hand case."""

from typing import Any

import jax
import numpy as np
import pytest

from fresh_networks import recurrent_agent
from mast.config import resolve
from mast.learning.replay import Episode, Ring
from mast.networks.agent import RecurrentAgent
from mast.training.window import DynamicWindow, differing_share, greedy_actions


class Sizes:
    agents, actions, observation, state, episode_limit = 2, 3, 4, 1, 6


def test_the_differing_share_counts_real_steps_of_all_agents() -> None:
    then = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 0]]])  # [time, episode, agent]
    now = np.array([[[0, 2], [2, 2]], [[0, 0], [1, 1]]])
    mask = np.array([[True, True], [True, False]])
    # Episode 0: 1 of 2 pairs differs at step 0, 2 of 2 at step 1; episode 1: 0 of 2, then padding.
    assert differing_share(then, now, mask) == (3, 6)


def window(**settings: Any) -> DynamicWindow:
    given = {
        "environment": "smax/3m",
        "method": "rlx2",
        "batch_size": 4,
        "window_floor": 5,
        "window_steps": 20,
        "window_interval": 1000,
    }
    return DynamicWindow(resolve(given | settings), (6,))


def agent() -> RecurrentAgent:
    return recurrent_agent(jax.random.key(0), Sizes.observation, Sizes.actions, Sizes.agents, 8)


def ring_of(lengths: list[int], wrong: set[int]) -> Ring:
    """A ring whose stored greedy actions are the agent's own, but in the episodes numbered `wrong`."""
    ring = Ring(Sizes(), 50, "float32", keeps_greedy=True)
    rng = np.random.default_rng(0)
    for number, steps in enumerate(lengths):
        observation = rng.normal(size=(steps + 1, 2, 4)).astype(np.float32)
        available = rng.random((steps + 1, 2, 3)) < 0.7
        available[..., 1] = True
        action = rng.integers(0, 3, (steps, 2))
        now = greedy_actions(agent(), observation[:, None], available[:, None], action[:, None])
        greedy = np.asarray(now)[:, 0]
        ring.add(
            Episode(
                observation=observation,
                state=np.zeros((steps + 1, 1), np.float32),
                available=available,
                action=action,
                reward=np.zeros(steps, np.float32),
                terminated=True,
                won=False,
                greedy=(greedy + 1) % 3 if number in wrong else greedy,
            )
        )
    return ring


LENGTHS = [3, 6, 5, 6, 6, 4, 2, 6, 5, 6, 6, 6]


def test_it_drops_a_tenth_of_the_oldest_when_too_many_greedy_actions_differ() -> None:
    """The oldest 20 steps are those of episodes 0 to 3; 6 of their 20 steps (30 %) are of episode 1."""
    ring = ring_of(LENGTHS, wrong={1})
    assert window(window_drop=0.25).look(ring, agent()) == 3
    assert (len(ring), ring.first) == (9, 3)


@pytest.mark.parametrize("wrong", [set(), {0}, {4, 5, 6, 7, 8, 9, 10, 11}])
def test_it_keeps_all_when_the_oldest_agree(wrong: set[int]) -> None:
    """Episode 0 is 15 % of the oldest 20 steps; the newer episodes are not looked at."""
    ring = ring_of(LENGTHS, wrong)
    assert window().look(ring, agent()) == 0
    assert len(ring) == 12


def test_it_never_goes_below_the_floor() -> None:
    ring = ring_of(LENGTHS, wrong=set(range(12)))
    assert window(window_floor=11, window_drop=0.5).look(ring, agent()) == 1
    assert window(window_floor=11, window_drop=0.5).look(ring, agent()) == 0


def test_a_look_is_due_when_an_interval_is_passed() -> None:
    assert not window().is_due(0, 999)
    assert window().is_due(999, 1001)
    assert not window().is_due(1001, 1999)
    assert window().is_due(1500, 5200)
