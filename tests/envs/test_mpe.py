"""simple_spread: a game without a win."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.envs.jaxmarl_silent import SimpleSpreadMPE
from mast.envs.mpe import SimpleSpread


def test_it_is_cut_at_its_limit_and_never_ends() -> None:
    limit = 4
    env = SimpleSpread(episode_limit=limit)
    step = jax.jit(env.step)
    state, _ = env.reset(jax.random.key(0))
    outcomes = []
    for turn in range(limit):
        state, _, outcome = step(jax.random.key(turn), state, jnp.zeros(3, jnp.int32))
        outcomes.append(outcome)
    assert [bool(o.truncated) for o in outcomes] == [False] * (limit - 1) + [True]
    assert not any(bool(o.terminated | o.won) for o in outcomes)
    assert env.spec.episode_limit == limit


def test_reward_is_the_mean_of_the_agents_and_scaled() -> None:
    env, theirs = SimpleSpread(reward_scale=3.0), SimpleSpreadMPE()
    state: Any = env.reset(jax.random.key(0))[0]
    # Two agents touch, the third stands aside: their rewards differ.
    state = state.replace(p_pos=state.p_pos.at[:3].set(jnp.array([[0, 0], [0.1, 0], [0.9, 0.9]])))
    state, seen, outcome = jax.jit(env.step)(jax.random.key(1), state, jnp.zeros(3, jnp.int32))
    rewards = np.array([float(reward) for reward in theirs.rewards(state).values()])
    assert len(set(rewards)) > 1
    np.testing.assert_allclose(outcome.reward, 3 * rewards.mean(), rtol=1e-6)
    np.testing.assert_array_equal(seen.state, seen.observation.reshape(-1))
