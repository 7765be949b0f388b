"""SMAX: jaxmarl's own numbers where they are right, and ours where it has none."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.envs.jaxmarl_silent import MAP_NAME_TO_SCENARIO, HeuristicEnemySMAX
from mast.envs.protocol import Outcome
from mast.envs.smax import Smax, SmaxState

SCENARIO = "2s3z"
ALLIES = 5


@cache
def battle() -> tuple[Smax, Any, Any]:
    """One scenario for the whole file, compiled once."""
    env = Smax(SCENARIO, state_last_action=True)
    return env, jax.jit(env.reset), jax.jit(env.step)


def at(state: SmaxState, **fields: Any) -> SmaxState:
    """The same moment with some of the battle changed."""
    return state._replace(battle=state.battle.replace(**fields))


def with_alive(state: SmaxState, alive: list[bool]) -> SmaxState:
    mask = jnp.array(alive)
    return at(state, unit_alive=mask, unit_health=jnp.where(mask, state.battle.unit_health, 0.0))


def stand(state: SmaxState) -> tuple[SmaxState, Any, Outcome]:
    """One step in which all allies stop."""
    return battle()[2](jax.random.key(3), state, jnp.full(ALLIES, 4))


def test_a_step_is_jaxmarls_step() -> None:
    env, reset, step = battle()
    theirs = HeuristicEnemySMAX(scenario=MAP_NAME_TO_SCENARIO[SCENARIO])
    their_step = jax.jit(theirs.step_env)
    key = jax.random.key(0)
    state, seen = reset(key)
    their_seen, their_state = theirs.reset(key)
    for turn in range(25):
        choice_key, step_key = jax.random.split(jax.random.fold_in(key, turn))
        # Head east, to where the enemy is, so that there is a fight.
        likes = jnp.array([0.0, 3.0, 0.0, 0.0, 0.0] + [2.0] * ALLIES)
        likes = jnp.where(seen.available, likes, -jnp.inf)
        actions = jax.random.categorical(choice_key, likes)
        state, seen, outcome = step(step_key, state, actions)
        joint = dict(zip(theirs.agents, actions, strict=True))
        their_seen, their_state, rewards, dones, _ = their_step(step_key, their_state, joint)
        views = np.stack([their_seen[name] for name in theirs.agents])
        np.testing.assert_array_equal(seen.observation, views)
        np.testing.assert_allclose(outcome.reward, 10 * rewards["ally_0"], rtol=1e-6)
        assert bool(outcome.terminated | outcome.truncated) == bool(dones["__all__"])
        _compare_states(env, state, their_seen["world_state"])
    for ours, other in zip(
        jax.tree.leaves(state.battle), jax.tree.leaves(their_state.state), strict=True
    ):
        np.testing.assert_array_equal(ours, other)
    assert not state.battle.unit_alive.all()  # there was a fight


def _compare_states(env: Smax, state: SmaxState, world_state: jax.Array) -> None:
    """Our state is jaxmarl's, its columns brought to [0, 1]."""
    units = 2 * ALLIES
    ours, theirs = np.asarray(env.normalised_state(state.battle)), np.asarray(world_state)
    ours_units, their_units = (x[: 10 * units].reshape(units, 10) for x in (ours, theirs))
    np.testing.assert_allclose(ours_units[:, 0], their_units[:, 0], rtol=1e-6)  # health, a share
    np.testing.assert_allclose(ours_units[:, 1:3], their_units[:, 1:3] / 32, rtol=1e-6)
    stalker, zealot = 1.87, 0.86
    cooldown = their_units[:, 3] / np.array(([stalker] * 2 + [zealot] * 3) * 2)
    np.testing.assert_allclose(ours_units[:, 3], np.clip(cooldown, 0, 1), rtol=1e-6)
    np.testing.assert_array_equal(ours_units[:, 4:], their_units[:, 4:])
    np.testing.assert_array_equal(ours[10 * units : 11 * units], theirs[10 * units : 11 * units])
    np.testing.assert_allclose(ours[11 * units :], theirs[11 * units :] / 6, rtol=1e-6)


def test_reset_and_step_carry_the_same_types() -> None:
    _, reset, _ = battle()
    before = reset(jax.random.key(0))
    after = stand(before[0])[:2]
    assert jax.tree.map(jax.typeof, before) == jax.tree.map(jax.typeof, after)


@pytest.mark.parametrize(
    ("allies", "enemies", "terminated", "won"),
    [
        ([True] * 5, [False] * 5, True, True),
        ([False, False, True, False, False], [False] * 5, True, True),
        ([False] * 5, [True] * 5, True, False),
        ([False] * 5, [False] * 5, True, False),  # a draw
        ([True] * 5, [False] * 4 + [True], False, False),
    ],
)
@pytest.mark.parametrize("step", [0, 99, 100])
def test_ends_are_told_by_who_is_alive(
    allies: list[bool], enemies: list[bool], terminated: bool, won: bool, step: int
) -> None:
    state, _ = battle()[1](jax.random.key(1))
    # Far apart as at the start, so nobody dies in this very step.
    state = with_alive(at(state, step=jnp.array(step)), allies + enemies)
    _, _, outcome = stand(state)
    assert bool(outcome.terminated) == terminated
    assert bool(outcome.won) == won
    # The 101st step is the last, and the end of the battle goes before the cut.
    assert bool(outcome.truncated) == (step == 100 and not terminated)


def test_a_win_is_not_a_threshold_on_the_reward() -> None:
    state, _ = battle()[1](jax.random.key(1))
    won, _, outcome = stand(with_alive(state, [True] * 5 + [False] * 5))
    for reward in (0.0, 1e-3, 100.0):
        assert bool(battle()[0].outcome(won.battle, jnp.array(reward)).won)
    assert float(outcome.reward) == 10.0
    # Walls kill: four enemies lost in one step pay 8, more than jaxmarl's threshold, and win nothing.
    places = state.battle.unit_positions.at[ALLIES : 2 * ALLIES - 1, 0].set(31.99)
    places = places.at[ALLIES : 2 * ALLIES - 1, 1].set(jnp.arange(4) * 8.0 - 1.0)
    _, _, outcome = stand(at(state, unit_positions=places))
    assert float(outcome.reward) > 1.0
    assert not bool(outcome.won | outcome.terminated)


def test_a_dead_ally_can_only_stop() -> None:
    state, _ = battle()[1](jax.random.key(1))
    # Everybody on one spot: all that live can shoot all that live.
    places = jnp.full((2 * ALLIES, 2), 16.0)
    alive = [True, False, True, True, True] + [True] * 4 + [False]
    state, seen, _ = stand(with_alive(at(state, unit_positions=places), alive))
    available = np.asarray(seen.available)
    np.testing.assert_array_equal(np.flatnonzero(available[1]), [4])
    assert available[0, :9].all()
    assert not available[:, 9].any()  # the dead enemy is no target
    units = np.asarray(seen.state[:100]).reshape(10, 10)
    assert not units[1].any()
    assert not np.asarray(seen.observation[1]).any()


def test_the_last_joint_action_is_appended_to_the_state() -> None:
    env, reset, step = battle()
    plain = Smax(SCENARIO)
    state, seen = reset(jax.random.key(1))
    assert env.spec.state == plain.spec.state + ALLIES * env.spec.actions == seen.state.size
    assert not np.asarray(seen.state[plain.spec.state :]).any()
    actions = jnp.array([0, 1, 2, 3, 4])
    _, seen, _ = step(jax.random.key(2), state, actions)
    appended = np.asarray(seen.state[plain.spec.state :]).reshape(ALLIES, env.spec.actions)
    np.testing.assert_array_equal(appended, np.eye(env.spec.actions)[np.asarray(actions)])


def test_the_episode_limit_is_the_true_number_of_steps() -> None:
    env = Smax("3m", episode_limit=3, reward_scale=1.0)
    step = jax.jit(env.step)
    state, _ = env.reset(jax.random.key(0))
    cuts = []
    for turn in range(3):
        state, _, outcome = step(jax.random.key(turn), state, jnp.full(3, 4))
        cuts.append((bool(outcome.truncated), bool(outcome.terminated)))
    assert cuts == [(False, False), (False, False), (True, False)]
    assert (env.spec.episode_limit, env.spec.max_return) == (3, 2.0)
    assert env.spec.identity == "SMAX (jaxmarl 0.2.0), limit 3, reward x1"


@pytest.mark.parametrize(
    ("scenario", "types"),
    [
        ("3m", ("marine",) * 3),
        ("2s3z", ("stalker",) * 2 + ("zealot",) * 3),
        ("6h_vs_8z", ("hydralisk",) * 6),
        ("smacv2_5_units", ("random",) * 5),
    ],
)
def test_unit_types(scenario: str, types: tuple[str, ...]) -> None:
    assert Smax(scenario).spec.unit_types == types
