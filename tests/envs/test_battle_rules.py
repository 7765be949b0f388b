"""Each rule of the units that SMAX lacks, by hand or by plain Python in float64."""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.envs.battle import rules
from mast.envs.battle.game import BattleGame
from mast.envs.battle.heuristic import HeuristicTeam
from mast.envs.battle.maps import SCENARIOS, scenario_of_units
from mast.envs.battle.unit_types import NAMES
from mast.envs.jaxmarl_silent import (
    SMAX,
    BattleState,
    create_heuristic_policy,
    get_heuristic_policy_initial_state,
)

TICK = 1 / 16
STOP = 4
FIRST = 5


@cache
def game(allies: tuple[str, ...], enemies: tuple[str, ...]) -> Any:
    return BattleGame(scenario_of_units(allies, enemies), max_steps=100)


def state_of(battle: Any, places: Any, **fields: Any) -> Any:
    """A battle that stands as one likes; all alive and full, every weapon ready."""
    units, heals = battle.num_agents, getattr(battle, "heals", False)
    state = BattleState(
        done=jnp.array(False),
        step=jnp.array(0),
        unit_positions=jnp.asarray(places, jnp.float32),
        unit_alive=jnp.ones(units, bool),
        unit_teams=battle.teams.astype(jnp.float32),
        unit_health=battle.unit_type_health[battle.scenario],
        unit_types=battle.scenario,
        unit_weapon_cooldowns=jnp.zeros(units) + 50.0 * heals,
        prev_movement_actions=jnp.zeros((units, 2)),
        prev_attack_actions=jnp.zeros(units, jnp.int32),
    )
    for name, value in fields.items():
        state = state.replace(**{name: jnp.asarray(value, getattr(state, name).dtype)})
    return state


@cache
def decoder(battle: Any) -> Any:
    return jax.jit(battle._decode_discrete_actions)


def step(battle: Any, state: Any, actions: list[int]) -> tuple[Any, dict[str, Any]]:
    decoded = decoder(battle)(jnp.array(actions, jnp.int32))
    _, after, rewards, _, _ = battle.step_env_no_decode(jax.random.key(1), state, decoded)
    return after, rewards


def tick(battle: Any, state: Any, actions: list[int]) -> Any:
    decoded = decoder(battle)(jnp.array(actions, jnp.int32))
    return battle._world_step(jax.random.key(1), state, decoded)


# The beam.


def touches_by_hand(shooter: Any, target: Any, unit: Any, radius: float) -> bool:
    """The distance of a circle from a rectangle, whose axes are turned to the shot by its angle."""
    angle = math.atan2(target[1] - shooter[1], target[0] - shooter[0])
    x, y = unit[0] - target[0], unit[1] - target[1]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    return math.hypot(max(abs(along) - 0.15, 0), max(abs(across) - 1.4, 0)) <= radius


def test_the_beam_is_a_rectangle_across_the_shot() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        shooters, targets = random.uniform(5, 12, (2, 4, 2))
        units, radii = random.uniform(3, 14, (40, 2)), random.uniform(0.3, 1.0, 40)
        ours = rules.beam_touches(jnp.array(shooters), jnp.array(targets), jnp.array(units), radii)
        for row in range(4):
            by_hand = [
                touches_by_hand(shooters[row], targets[row], unit, radius)
                for unit, radius in zip(units, radii, strict=True)
            ]
            np.testing.assert_array_equal(ours[row], by_hand)


@pytest.mark.parametrize("shot", [(0, 5), (0, -5), (5, 0), (-5, 0), (3, 4)])
def test_the_beam_straight_up_and_down_too(shot: tuple[float, float]) -> None:
    along = np.array(shot) / 5
    across = np.array([-along[1], along[0]])
    # Just within and just beyond, on both sides and before and behind, for a radius of 0.375.
    units = [sign * size * across for sign in (1, -1) for size in (1.77, 1.78)]
    units += [sign * size * along for sign in (1, -1) for size in (0.52, 0.53)]
    shooter = np.array([10.0, 10.0])
    target = shooter + np.array(shot)
    touched = rules.beam_touches(
        jnp.array([shooter]), jnp.array([target]), jnp.array(units) + target, np.full(8, 0.375)
    )
    np.testing.assert_array_equal(touched[0], [True, False] * 4)


def test_the_beam_from_on_top_of_the_target_is_no_nan() -> None:
    place = jnp.array([[8.0, 8.0]])
    units = jnp.array([[8.0, 8.0], [8.0, 9.7], [8.6, 8.0]])
    touched = rules.beam_touches(place, place, units, np.full(3, 0.375))
    np.testing.assert_array_equal(touched[0], [True, True, False])


def test_a_colossus_hits_opponents_only_and_light_ones_harder() -> None:
    battle = game(("colossus", "marine"), ("zergling", "zergling", "marauder", "zergling"))
    places = [[10, 10], [14.2, 10], [14, 11], [14, 10], [14, 9], [14, 13]]
    after = tick(battle, state_of(battle, places), [FIRST + 1, *[STOP] * 5])
    lost = np.array([350, 45, 35, 35, 125, 35]) - np.asarray(after.unit_health)
    # 2 × (10 + 5) from the light, 2 × 10 from the marauder; the last zergling stands too far away.
    np.testing.assert_allclose(lost, [0, 0, 30, 30, 20, 0])
    # Then it waits for 1.07 s, more or less as all weapons of SMAX do.
    assert 1.07 - TICK <= float(after.unit_weapon_cooldowns[0]) <= 1.07 + 2 * TICK
    again = tick(battle, after, [FIRST + 1, *[STOP] * 5])
    np.testing.assert_array_equal(again.unit_health, after.unit_health)


def test_a_beam_spares_the_dead_and_needs_its_target_in_range() -> None:
    battle = game(("colossus", "marine"), ("zergling", "zergling", "marauder", "zergling"))
    places = [[10, 10], [5, 5], [17.1, 10], [16.9, 10], [3, 3], [4, 4]]
    state = state_of(battle, places)
    far = tick(battle, state, [FIRST, *[STOP] * 5])
    np.testing.assert_array_equal(far.unit_health, state.unit_health)
    alive = [True, True, False, True, True, True]
    state = state.replace(
        unit_alive=jnp.array(alive), unit_health=jnp.where(jnp.array(alive), state.unit_health, 0.0)
    )
    after = tick(battle, state, [FIRST + 1, *[STOP] * 5])
    np.testing.assert_array_equal(after.unit_health, [350, 45, 0, 5, 125, 35])


# Healing.


def heal_by_hand(
    targets: list[int], energy: list[float], missing: list[float]
) -> tuple[list[float], list[float]]:
    """One tick, medivac by medivac."""
    offers = [min(9 * TICK, 3 * each) for each in energy]
    gained, spent = [0.0] * len(missing), [0.0] * len(energy)
    for unit, lacking in enumerate(missing):
        mine = [healer for healer, target in enumerate(targets) if target == unit]
        total = sum(offers[healer] for healer in mine)
        share = min(total, lacking) / total if total else 0.0
        for healer in mine:
            gained[unit] += share * offers[healer]
            spent[healer] += share * offers[healer] / 3
    left = [min(e - s + 0.5625 * TICK, 200.0) for e, s in zip(energy, spent, strict=True)]
    return gained, left


def test_a_tick_of_healing_by_hand() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        targets = random.integers(-1, 4, 3)
        energy = random.choice([0.0, 0.05, 0.2, 50.0, 199.99], 3)
        missing = random.choice([0.0, 0.1, 0.8, 30.0], 4)
        ours = rules.heal(
            jnp.array(targets[:, None] == np.arange(4)),
            jnp.array(energy, jnp.float32),
            jnp.array(missing, jnp.float32),
            TICK,
        )
        gained, left = heal_by_hand(list(targets), list(energy), list(missing))
        np.testing.assert_allclose(ours.gained, gained, atol=1e-6)
        np.testing.assert_allclose(ours.energy, left, rtol=1e-6)
        assert (np.asarray(ours.gained) <= missing + 1e-6).all()


def clinic() -> Any:
    """A medivac and two marines on each side, out of each other's reach."""
    return game(("marine", "marine", "medivac"), ("marine", "marine", "medivac"))


CLINIC = [[5, 10], [5, 14], [6, 12], [25, 10], [25, 14], [26, 12]]


def test_a_medivac_heals_nine_health_a_second_for_three_per_energy() -> None:
    battle = clinic()
    state = state_of(battle, CLINIC, unit_health=[20, 45, 150, 45, 45, 150])
    after, rewards = step(battle, state, [STOP, STOP, FIRST, *[STOP] * 3])
    assert float(after.unit_health[0]) == pytest.approx(20 + 9 / 2)
    assert float(after.unit_weapon_cooldowns[2]) == pytest.approx(50 - 1.5 + 0.5625 / 2)
    assert float(after.unit_weapon_cooldowns[5]) == pytest.approx(50 + 0.5625 / 2)
    assert {float(each) for each in rewards.values()} == {0.0}
    # Every way of seeing it says the same: a quarter of 200, a little less by now.
    share = float(after.unit_weapon_cooldowns[2]) / 200
    seen = battle.get_obs(after)
    assert float(seen["ally_2"][-len(NAMES) - 1]) == pytest.approx(share)
    assert float(seen["ally_0"][15 + 6]) == pytest.approx(share)


def test_energy_starts_at_fifty_runs_out_and_ends_at_two_hundred() -> None:
    battle = clinic()
    _, start = battle.reset(jax.random.key(0))
    np.testing.assert_array_equal(start.unit_weapon_cooldowns, [0, 0, 50, 0, 0, 50])
    state = state_of(battle, CLINIC, unit_health=[1, 45, 150, 45, 45, 150])
    state = state.replace(unit_weapon_cooldowns=jnp.array([0, 0, 0.1, 0, 0, 199.99]))
    after, _ = step(battle, state, [STOP, STOP, FIRST, *[STOP] * 3])
    # 0.1 energy, and what comes back in the first seven ticks is spent in the next ones.
    regained = 0.5625 * TICK
    assert float(after.unit_health[0]) == pytest.approx(1 + 3 * (0.1 + 7 * regained), rel=1e-5)
    assert float(after.unit_weapon_cooldowns[2]) == pytest.approx(regained, rel=1e-4)
    assert float(after.unit_weapon_cooldowns[5]) == 200.0


def test_health_is_at_most_full_and_costs_no_more_than_it_gave() -> None:
    battle = clinic()
    state = state_of(battle, CLINIC, unit_health=[44, 45, 150, 45, 45, 150])
    after, _ = step(battle, state, [STOP, STOP, FIRST, *[STOP] * 3])
    assert float(after.unit_health[0]) == 45.0
    assert float(after.unit_weapon_cooldowns[2]) == pytest.approx(50 - 1 / 3 + 0.5625 / 2, rel=1e-6)


def test_damage_goes_first_and_nobody_heals_the_dead() -> None:
    health, damage, healed = ([5.0, 5, 40, 0, 45], [5.0, 4, 0, 0, 9], [9.0, 2, 9, 9, 9])
    after = rules.health_after(*map(jnp.array, (health, damage, healed)), np.full(5, 45.0))
    np.testing.assert_array_equal(after, [0, 3, 45, 0, 45])


def test_a_medivac_heals_none_but_living_hurt_others_near_by() -> None:
    battle = game(("marine", "marine", "marine", "medivac", "medivac"), ("marine", "medivac"))
    places = [[5, 10], [5, 14], [5, 20], [6, 12], [6, 13], [25, 10], [24, 10]]
    health = [20, 45, 20, 100, 150, 20, 150]
    state = state_of(battle, places, unit_health=health)
    available = {name: np.asarray(each) for name, each in battle.get_avail_actions(state).items()}
    # Its actions name its own side: only the first marine is hurt, in range, and no medivac.
    np.testing.assert_array_equal(available["ally_3"], [1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(available["ally_4"][FIRST:], [1, 0, 0, 0, 0])
    # Enemies count backwards: their marine comes after their medivac.
    np.testing.assert_array_equal(available["enemy_1"][FIRST:], [0, 1, 0, 0, 0])
    assert not available["ally_0"][FIRST:].any()
    dead = state.replace(
        unit_alive=state.unit_alive.at[0].set(False), unit_health=state.unit_health.at[0].set(0.0)
    )
    assert not np.asarray(battle.get_avail_actions(dead)["ally_3"])[FIRST:].any()
    # What is not available does nothing: a healthy one, one far away, itself, no one.
    for action in (FIRST + 1, FIRST + 2, FIRST + 3, FIRST + 4):
        after = tick(battle, state, [STOP, STOP, STOP, action, *[STOP] * 3])
        np.testing.assert_array_equal(after.unit_health, health)
    after = tick(battle, dead, [STOP, STOP, STOP, FIRST, *[STOP] * 3])
    assert float(after.unit_health[0]) == 0.0
    after = tick(battle, state, [*[STOP] * 6, FIRST + 1])
    assert float(after.unit_health[5]) == pytest.approx(20 + 9 / 16)


def test_no_reward_for_healing_on_either_side() -> None:
    battle = clinic()
    hurt = [20, 45, 150, 20, 45, 150]
    state = state_of(battle, CLINIC, unit_health=hurt)
    # The enemy's marine 3 is the last that it counts.
    after, rewards = step(battle, state, [STOP, STOP, FIRST, STOP, STOP, FIRST + 2])
    assert float(after.unit_health[0]) > 20
    assert float(after.unit_health[3]) > 20
    assert {float(each) for each in rewards.values()} == {0.0}
    # Beside damage it takes nothing away from the pay either: one shot of 9 at another marine.
    near = [*CLINIC[:3], [8, 10], [8, 13], [9, 10]]
    state = state_of(battle, near, unit_health=hurt, unit_weapon_cooldowns=[0, 9, 50, 9, 9, 50])
    after, rewards = step(battle, state, [FIRST + 1, STOP, STOP, STOP, STOP, FIRST + 2])
    assert float(after.unit_health[3]) > 20
    shots = (45 - float(after.unit_health[4])) / 9
    assert shots == round(shots) >= 1
    assert float(rewards["ally_0"]) == pytest.approx(9 * shots / 45 / 3)


# In the air.


def test_who_flies_is_not_pushed_and_pushes_nobody() -> None:
    battle = game(("medivac", "marine", "marine"), ("medivac", "zergling"))
    places = [[10, 10], [10.1, 10], [20, 20], [10.05, 10.1], [20.3, 20]]
    state = state_of(battle, places)
    after, _ = step(battle, state, [STOP] * 5)
    moved = np.linalg.norm(after.unit_positions - state.unit_positions, axis=1)
    np.testing.assert_array_equal(moved[[0, 1, 3]], 0.0)
    assert (moved[[2, 4]] > 0.1).all()


def test_who_fights_hand_to_hand_does_not_reach_who_flies() -> None:
    battle = game(("medivac", "marine"), ("zergling", "zealot", "marine", "stalker"))
    places = [[10, 10], [10, 11], [10.5, 10], [9.5, 10], [12, 10], [10, 9]]
    state = state_of(battle, places)
    available = {name: np.asarray(each) for name, each in battle.get_avail_actions(state).items()}
    # Counted backwards: the marine first, then the medivac.
    for name in ("enemy_0", "enemy_1"):
        np.testing.assert_array_equal(available[name][FIRST:], [1, 0])
    for name in ("enemy_2", "enemy_3"):
        np.testing.assert_array_equal(available[name][FIRST:], [1, 1])
    assert not available["ally_0"][FIRST:].any()
    for unit, damage in ((2, 0), (3, 0), (4, 9), (5, 13)):
        actions = [STOP] * 6
        actions[unit] = FIRST + 1
        after = tick(battle, state, actions)
        assert 150 - float(after.unit_health[0]) == damage
        actions[unit] = FIRST
        assert float(tick(battle, state, actions).unit_health[1]) < 45


# What is SMAX's stays SMAX's.


def test_among_smax_s_own_units_a_tick_is_smax_s() -> None:
    units = (("marine", "stalker", "zealot"), ("zergling", "hydralisk", "marauder"))
    ours = game(*units)
    theirs = SMAX(scenario=scenario_of_units(*units))
    random = np.random.default_rng(2)
    for _ in range(6):
        # Places whose distances all differ, among them some in range, and some on top of each other.
        state = state_of(ours, random.uniform(10, 16, (6, 2)))
        state = state.replace(unit_weapon_cooldowns=jnp.array([0, 0.3, 0, 0, -1, 0.0]))
        actions = random.integers(0, 8, 6)
        decoded = decoder(ours)(jnp.array(actions, jnp.int32))
        key = jax.random.key(4)
        mine, other = (each._world_step(key, state, decoded) for each in (ours, theirs))
        np.testing.assert_allclose(mine.unit_health, other.unit_health)
        np.testing.assert_allclose(mine.unit_positions, other.unit_positions, rtol=1e-6)
        # Only the random deviation of a fresh cooldown differs.
        waiting = np.asarray(other.unit_weapon_cooldowns) < state.unit_weapon_cooldowns
        np.testing.assert_allclose(
            mine.unit_weapon_cooldowns[waiting], other.unit_weapon_cooldowns[waiting], rtol=1e-6
        )
        assert (np.asarray(mine.unit_weapon_cooldowns)[~waiting] > 0.4).all()
        mine, other = (each._push_units_away(state) for each in (ours, theirs))
        np.testing.assert_allclose(mine.unit_positions, other.unit_positions, rtol=1e-6)


@pytest.mark.parametrize("name", ["MMM2", "2c_vs_64zg"])
def test_allies_see_what_smax_would_show_them(name: str) -> None:
    battle: Any = BattleGame(SCENARIOS[name], max_steps=100)
    state = state_of(battle, np.zeros((battle.num_agents, 2)))
    random = np.random.default_rng(3)
    units = battle.num_agents
    alive = random.random(units) < 0.8
    state = state.replace(
        unit_positions=jnp.array(random.uniform(8, 22, (units, 2)), jnp.float32),
        unit_alive=jnp.array(alive),
        unit_health=state.unit_health * random.uniform(0.1, 1, units) * alive,
        prev_movement_actions=jnp.array(random.uniform(-1, 1, (units, 2)), jnp.float32),
        prev_attack_actions=jnp.array(random.integers(0, 15, units)),
    )
    theirs = jax.jit(partial(SMAX.get_obs_unit_list, battle))(state)
    for agent, seen in battle.get_obs(state).items():
        np.testing.assert_allclose(seen, theirs[agent], atol=1e-6)


# The heuristic.


@pytest.mark.parametrize("side", [0, 1])
def test_the_heuristic_is_jaxmarl_s_for_jaxmarl_s_units(side: int) -> None:
    theirs: Any = SMAX(scenario=SCENARIOS["3s_vs_5z"])
    team = HeuristicTeam(theirs, side)
    act, policy = jax.jit(team.act), jax.jit(jax.vmap(create_heuristic_policy(theirs, side)))
    memory, state = team.initial_state(), state_of(theirs, np.zeros((8, 2)))
    own = theirs.agents[:3] if side == 0 else theirs.agents[3:]
    old = jax.tree.map(
        lambda *rows: jnp.stack(rows),
        *[get_heuristic_policy_initial_state()] * len(own),
    )
    random, compared, shots = np.random.default_rng(4), 0, 0
    lifetimes = random.integers(6, 20, 8)
    for turn in range(12):
        low = 24 - 1.8 * turn  # at first too far away to see anybody
        places = np.concatenate(
            [random.uniform(4, 8, (3, 2)), random.uniform(low, low + 4, (5, 2))]
        )
        alive = lifetimes > turn
        state = state.replace(
            unit_positions=jnp.array(places, jnp.float32),
            unit_alive=jnp.array(alive),
            unit_health=jnp.where(alive, theirs.unit_type_health[state.unit_types], 0.0),
        )
        keys = jax.random.split(jax.random.key(turn), len(own))
        observations = theirs.get_obs(state)
        seen = jnp.stack([observations[name] for name in own])
        wanted, old = policy(keys, old, seen)
        actions, memory = act(jax.random.key(turn), memory, state)
        lives = alive[:3] if side == 0 else alive[3:]
        shooting = np.asarray(wanted) >= FIRST
        np.testing.assert_array_equal((np.asarray(actions) >= FIRST)[lives], shooting[lives])
        # Whom to follow is left to chance, if there are several: jaxmarl's numbers are not ours.
        enemies = seen[:, 2 * 13 if side == 0 else 4 * 13 : 7 * 13].reshape(len(own), -1, 13)
        certain = lives & (shooting | (np.asarray(enemies[:, :, 0] > 0).sum(1) <= 1))
        np.testing.assert_array_equal(np.asarray(actions)[certain], np.asarray(wanted)[certain])
        np.testing.assert_array_equal(
            np.asarray(memory.last_target)[lives], np.asarray(old.last_attacked_enemy)[lives]
        )
        compared, shots = compared + certain.sum(), shots + (shooting & lives).sum()
    assert compared > 12
    assert shots > 3


@pytest.mark.parametrize("side", [0, 1])
def test_the_heuristic_s_medivac(side: int) -> None:
    units = ("marine", "marine", "marine", "medivac")
    battle = game(units, units)
    team = HeuristicTeam(battle, side)
    act = jax.jit(team.act)
    own = np.array([[10, 10], [10, 12.5], [10, 19], [11, 11]], float)
    far = np.array([[30, 2], [30, 3], [30, 4], [30, 5]], float)
    rows = slice(0, 4) if side == 0 else slice(4, 8)

    def medivac(places: Any, health: Any, alive: Any = (1, 1, 1, 1)) -> tuple[int, Any, Any]:
        both = [places, far] if side == 0 else [far, places]
        full = np.array([45, 45, 45, 150] * 2, float)
        living = np.ones(8, bool)
        full[rows], living[rows] = np.array(health) * alive, np.array(alive, bool)
        state = state_of(
            battle, np.concatenate(both), unit_health=np.where(living, full, 0), unit_alive=living
        )
        actions, _ = act(jax.random.key(0), team.initial_state(), state)
        return int(actions[3]), actions, state

    # The nearest hurt one, whom its action names; and that one is healed.
    action, actions, state = medivac(own, [20, 20, 20, 150])
    joint = [STOP] * 8
    joint[rows] = [int(each) for each in actions]
    after = tick(battle, state, joint)
    gained = np.asarray(after.unit_health - state.unit_health)[rows]
    np.testing.assert_allclose(gained, [9 / 16, 0, 0, 0], atol=1e-5)
    assert action == FIRST + (0 if side == 0 else 3)
    # Hurt, but out of reach: it goes there, north; nobody hurt and all near: it stays.
    assert medivac(own, [45, 45, 20, 150])[0] == 0
    assert medivac(own, [45, 45, 45, 150])[0] == STOP
    # Its marines are west of it, then all dead: across the map, to the east or west.
    assert medivac([*own[:3], [16, 11]], [45, 45, 45, 150])[0] == 3
    assert medivac([*own[:3], [11, 16]], [0, 0, 0, 150], (0, 0, 0, 1))[0] in (1, 3)


def test_the_heuristic_s_zealots_leave_a_medivac_alone() -> None:
    battle = game(("medivac", "marine"), ("zealot", "zealot"))
    team = HeuristicTeam(battle, 1)
    # The medivac hovers over them; the marine is to the north.
    state = state_of(battle, [[20, 20], [20, 26], [20, 20.5], [20.5, 20]])
    actions, memory = team.act(jax.random.key(0), team.initial_state(), state)
    np.testing.assert_array_equal(actions, [0, 0])
    np.testing.assert_array_equal(memory.last_target, [-1, -1])
