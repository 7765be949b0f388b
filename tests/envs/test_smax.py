"""SMAX: jaxmarl's own numbers where they are right, and ours where it has none."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import smax_episodes
from mast.envs.jaxmarl_silent import MAP_NAME_TO_SCENARIO, SMAX, HeuristicEnemySMAX
from mast.envs.protocol import Outcome
from mast.envs.smax import Smax, SmaxState

SCENARIO = "2s3z"
ALLIES = 5
GOLDEN = Path(__file__).parents[1] / "golden"


def quickly_compiled(function: Any, *arguments: Any) -> Any:
    """Compiled for these arguments without much optimisation: it runs but a few times."""
    options: Any = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }
    return jax.jit(function).lower(*arguments).compile(options)


@cache
def battle() -> tuple[Smax, Any, Any]:
    """One scenario for the whole file, compiled once and quickly."""
    env = Smax(SCENARIO, state_last_action=True)
    key = jax.random.key(0)
    reset = quickly_compiled(env.reset, key)
    step = quickly_compiled(env.step, key, reset(key)[0], jnp.full(ALLIES, 4, jnp.int32))
    return env, reset, step


def at(state: SmaxState, **fields: Any) -> SmaxState:
    """The same moment with some of the battle changed."""
    battle: Any = state.battle
    return state._replace(battle=battle.replace(**fields))


def with_alive(state: SmaxState, alive: list[bool]) -> SmaxState:
    mask = jnp.array(alive)
    return at(state, unit_alive=mask, unit_health=jnp.where(mask, state.battle.unit_health, 0.0))


def stand(state: SmaxState) -> tuple[SmaxState, Any, Outcome]:
    """One step in which all allies stop."""
    return battle()[2](jax.random.key(3), state, jnp.full(ALLIES, 4, jnp.int32))


def test_a_step_is_jaxmarls_step() -> None:
    env, reset, step = battle()
    theirs = HeuristicEnemySMAX(scenario=MAP_NAME_TO_SCENARIO[SCENARIO])
    key = jax.random.key(0)
    state, seen = reset(key)
    first_seen, their_state = theirs.reset(key)
    their_state = their_state.replace(state=state.battle, enemy_policy_state=state.enemy_policy)
    joint = dict.fromkeys(theirs.agents, jnp.array(4, jnp.int32))
    their_step = quickly_compiled(theirs.step_env, key, their_state, joint)
    np.testing.assert_allclose(seen.observation, _rows(theirs, first_seen), atol=1e-6)
    _compare_states(env, state, first_seen["world_state"])
    for turn in range(25):
        choice_key, step_key = jax.random.split(jax.random.fold_in(key, turn))
        # Head east, to where the enemy is, so that there is a fight.
        likes = jnp.array([0.0, 3.0, 0.0, 0.0, 0.0] + [2.0] * ALLIES)
        likes = jnp.where(seen.available, likes, -jnp.inf)
        actions = jax.random.categorical(choice_key, likes).astype(jnp.int32)
        # Each step from the same state: rounding must not grow over the steps.
        their_state = their_state.replace(state=state.battle, enemy_policy_state=state.enemy_policy)
        joint = dict(zip(theirs.agents, actions, strict=True))
        result = their_step(step_key, their_state, joint)
        their_seen, their_state, rewards, dones, _ = result
        state, seen, outcome = step(step_key, state, actions)
        np.testing.assert_allclose(seen.observation, _rows(theirs, their_seen), atol=1e-6)
        np.testing.assert_allclose(outcome.reward, 10 * rewards["ally_0"], atol=1e-6)
        assert bool(outcome.terminated | outcome.truncated) == bool(dones["__all__"])
        _compare_states(env, state, their_seen["world_state"])
        ours = jax.tree.leaves((state.battle, state.enemy_policy))
        other = jax.tree.leaves((their_state.state, their_state.enemy_policy_state))
        for leaf, their_leaf in zip(ours, other, strict=True):
            np.testing.assert_allclose(
                np.asarray(leaf, float), np.asarray(their_leaf, float), atol=1e-5
            )
    assert not state.battle.unit_alive.all()  # there was a fight


def _rows(theirs: HeuristicEnemySMAX, observations: dict[str, jax.Array]) -> np.ndarray:
    return np.stack([observations[name] for name in theirs.agents])


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
    env, _, _ = battle()
    key, actions = jax.random.key(0), jax.ShapeDtypeStruct((ALLIES,), jnp.int32)
    before = jax.eval_shape(env.reset, key)
    after = jax.eval_shape(env.step, key, before[0], actions)[:2]
    assert jax.tree.leaves(before) == jax.tree.leaves(after)  # weak types count as others


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
    state = with_alive(at(state, step=jnp.array(step, jnp.int32)), allies + enemies)
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
    # Walls kill: enemies that die there pay more than jaxmarl's threshold, and win nothing.
    places = state.battle.unit_positions.at[ALLIES : 2 * ALLIES - 1, 0].set(31.99)
    places = places.at[ALLIES : 2 * ALLIES - 1, 1].set(jnp.arange(4) * 8.0 - 1.0)
    _, _, outcome = stand(at(state, unit_positions=places))
    assert float(outcome.reward) > 1.0
    assert not bool(outcome.won | outcome.terminated)


def test_a_dead_ally_can_only_stop() -> None:
    state, _ = battle()[1](jax.random.key(1))
    # Two lines facing each other, some within reach and some not.
    lines = [[14.0, 10.0 + 2 * i] for i in range(5)] + [[17.0, 10.0 + 2 * i] for i in range(5)]
    alive = np.array([True, False, True, True, True] + [True] * 4 + [False])
    state, seen, _ = stand(with_alive(at(state, unit_positions=jnp.array(lines)), list(alive)))
    reach = np.array([6.0, 0.0, 2.0, 2.0, 2.0])  # stalkers 6, zealots 2; the second is dead
    places = np.asarray(state.battle.unit_positions)
    distance = np.linalg.norm(places[:ALLIES, None] - places[None, ALLIES:], axis=-1)
    can_shoot = (distance < reach[:, None]) & alive[ALLIES:]
    assert can_shoot.any()
    available = np.asarray(seen.available)
    np.testing.assert_array_equal(available[:, 5:], can_shoot)
    np.testing.assert_array_equal(available[:, :4], np.repeat(alive[:ALLIES, None], 4, axis=1))
    assert available[:, 4].all()
    assert not np.asarray(seen.state[:100]).reshape(10, 10)[~alive].any()
    assert not np.asarray(seen.observation[1]).any()


def test_the_last_joint_action_is_appended_to_the_state() -> None:
    env, reset, step = battle()
    plain = Smax(SCENARIO)
    state, seen = reset(jax.random.key(1))
    assert env.spec.state == plain.spec.state + ALLIES * env.spec.actions == seen.state.size
    assert not np.asarray(seen.state[plain.spec.state :]).any()
    actions = jnp.arange(ALLIES, dtype=jnp.int32)
    _, seen, _ = step(jax.random.key(2), state, actions)
    appended = np.asarray(seen.state[plain.spec.state :]).reshape(ALLIES, env.spec.actions)
    np.testing.assert_array_equal(appended, np.eye(env.spec.actions)[np.asarray(actions)])


def test_options_stand_in_the_identity() -> None:
    spec = Smax("3m", episode_limit=60, reward_scale=1.0).spec
    assert (spec.episode_limit, spec.max_return) == (60, 2.0)
    assert spec.identity == "SMAX (jaxmarl 0.2.0), limit 60, reward x1"


def test_smax_s_own_maps_are_as_they_were() -> None:
    kept = json.loads((GOLDEN / "smax_episodes.json").read_text())
    assert set(kept) == set(smax_episodes.MAPS)
    for name, before in kept.items():
        now = smax_episodes.play(name)
        assert [now[part] for part in ("sizes", "whole_numbers", "alive")] == [
            before[part] for part in ("sizes", "whole_numbers", "alive")
        ]
        np.testing.assert_allclose(now["sums"], before["sums"], rtol=1e-4, atol=1e-4)
    for name in (*MAP_NAME_TO_SCENARIO, "8m_vs_9m"):  # and are played by jaxmarl's own classes
        env = Smax(name)
        assert type(env._game) is HeuristicEnemySMAX
        assert type(env._battle) is SMAX


def test_what_a_medivac_s_actions_and_features_are_called() -> None:
    env = Smax("MMM2")
    marauder, medivac = env.agent_action_names[0], env.agent_action_names[9]
    assert (marauder[5], marauder[16]) == ("attack_enemy_0", "attack_enemy_11")
    assert (medivac[4:6], medivac[14:]) == (
        ("stop", "heal_ally_0"),
        ("heal_ally_9", *["nothing"] * 2),
    )
    assert env.action_names[4:6] == ("stop", "attack_enemy_0_or_heal_ally_0")
    assert env.action_names[16] == "attack_enemy_11"
    assert len(env.action_names) == len(medivac) == env.spec.actions == 17
    assert len(env.feature_names) == env.spec.observation
    assert "enemy_11.weapon_cooldown_or_energy" in env.feature_names
    assert env.feature_names[-2:] == ("self.is_medivac", "self.is_colossus")
    assert env.spec.max_return is not None
    # Twice 10, and what a medivac heals in 50.5 s: 3 × (50 + 28.4) health of marines with 45, of 12.
    assert env.spec.max_return == pytest.approx(20 + 10 * 3 * (50 + 0.5625 * 50.5) / 45 / 12)
    assert Smax("2c_vs_64zg").spec.max_return == 20.0
    assert Smax("2s3z").action_names[5] == "attack_enemy_0"


@pytest.mark.parametrize(
    ("scenario", "types"),
    [
        ("3m", ("marine",) * 3),
        ("2s3z", ("stalker",) * 2 + ("zealot",) * 3),
        ("6h_vs_8z", ("hydralisk",) * 6),
        ("smacv2_5_units", ("random",) * 5),
        ("MMM2", ("marauder",) * 2 + ("marine",) * 7 + ("medivac",)),
        ("2c_vs_64zg", ("colossus",) * 2),
    ],
)
def test_unit_types(scenario: str, types: tuple[str, ...]) -> None:
    assert Smax(scenario).spec.unit_types == types


def test_type_features_say_which_type_an_episode_drew() -> None:
    assert Smax("2s3z").spec.type_features == ()
    env = Smax("smacv2_5_units")
    features = np.array(env.spec.type_features)
    assert [env.feature_names[each] for each in features] == [
        *("self.is_marine", "self.is_marauder", "self.is_stalker"),
        *("self.is_zealot", "self.is_zergling", "self.is_hydralisk"),
    ]
    reset = jax.jit(env.reset)
    drawn = set()
    for seed in range(3):
        state, seen = reset(jax.random.key(seed))
        types = np.asarray(state.battle.unit_types[:5])
        np.testing.assert_array_equal(seen.observation[:, features], np.eye(6)[types])
        drawn.add(types.tobytes())
    assert len(drawn) == 3
