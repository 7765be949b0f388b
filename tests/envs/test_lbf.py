"""Level-based foraging: its rules one by one, its boards, and whole episodes of lbforaging's own."""

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import lbf_oracle
from mast.envs.lbf import LevelBasedForaging
from mast.envs.lbf_rules import EAST, LOAD, NONE, NORTH, SOUTH, WEST, LbfState
from mast.envs.scene import check_scene
from mast.errors import UserError

SMALL = "6x7-3p-2f-levels1,2,3-food3"


@cache
def environment(name: str = SMALL) -> LevelBasedForaging:
    return LevelBasedForaging(name, reward_scale=1.0)  # as lbforaging pays


@cache
def compiled(name: str) -> Any:
    return jax.jit(environment(name).step)


def board(
    places: Any, foods: Any, food_level: Any = (3, 3), level: Any = (1, 2, 3), steps: int = 0
) -> LbfState:
    """A board by hand, of three agents and two foods."""
    arrays = [jnp.array(each, jnp.int32) for each in (places, level, foods, food_level)]
    return LbfState(*arrays, jnp.sum(arrays[3]), jnp.int32(steps))


def act(state: LbfState, *actions: int, name: str = SMALL) -> Any:
    return compiled(name)(jax.random.key(0), state, jnp.array(actions, jnp.int32))


def places_after(state: LbfState, *actions: int) -> list[list[int]]:
    return act(state, *actions)[0].position.tolist()


FOODS = ((1, 1), (4, 5))


@pytest.mark.parametrize(
    ("action", "place"),
    [(NONE, [2, 3]), (NORTH, [1, 3]), (SOUTH, [3, 3]), (WEST, [2, 2]), (EAST, [2, 4])],
)
def test_moves(action: int, place: list[int]) -> None:
    state = board(((2, 3), (0, 6), (5, 0)), FOODS)
    assert places_after(state, action, NONE, NONE)[0] == place


def test_nobody_leaves_the_board_or_walks_onto_a_food() -> None:
    state = board(((0, 0), (2, 1), (5, 6)), FOODS)
    assert places_after(state, NORTH, NORTH, EAST) == [[0, 0], [2, 1], [5, 6]]
    _, seen, _ = act(state, NONE, NONE, NONE)
    assert seen.available.astype(int).tolist() == [
        [1, 0, 1, 0, 1, 0],
        [1, 0, 1, 1, 1, 1],
        [1, 1, 0, 1, 0, 0],
    ]


def test_two_who_would_enter_one_cell_both_stay() -> None:
    state = board(((2, 2), (2, 4), (5, 6)), FOODS)
    assert places_after(state, EAST, WEST, NONE) == [[2, 2], [2, 4], [5, 6]]


def test_an_occupied_cell_is_not_entered() -> None:
    state = board(((2, 2), (2, 3), (5, 6)), FOODS)
    assert places_after(state, EAST, NONE, NONE) == [[2, 2], [2, 3], [5, 6]]
    # Nor where it is occupied by one who loads.
    state = board(((3, 1), (2, 1), (5, 6)), FOODS)
    assert places_after(state, NORTH, LOAD, NONE) == [[3, 1], [2, 1], [5, 6]]


def test_a_cell_that_is_being_left_is_entered() -> None:
    state = board(((2, 2), (2, 3), (5, 6)), FOODS)
    assert places_after(state, EAST, EAST, NONE) == [[2, 3], [2, 4], [5, 6]]
    assert places_after(state, EAST, WEST, NONE) == [[2, 3], [2, 2], [5, 6]]


def test_whoever_follows_one_who_is_stopped_shares_its_cell() -> None:
    # lbforaging's oddity: only the cells that are aimed at are compared.
    state = board(((2, 2), (2, 3), (2, 5)), FOODS)
    assert places_after(state, EAST, EAST, WEST) == [[2, 3], [2, 3], [2, 5]]


def test_a_food_goes_when_the_loaders_levels_add_up_to_its_own() -> None:
    state = board(((1, 0), (2, 1), (1, 2)), FOODS)
    after, seen, outcome = act(state, LOAD, LOAD, NONE)
    assert after.food_level.tolist() == [0, 3]
    # level · food / (levels of the adjacent loaders · levels of all foods spawned)
    np.testing.assert_allclose(outcome.reward, [1 * 3 / (3 * 6), 2 * 3 / (3 * 6), 0], rtol=1e-6)
    assert not (outcome.terminated | outcome.truncated | outcome.won)
    # Its cell is free, nobody can load there any more, and the other food has moved up in what is seen.
    assert seen.available[:, LOAD].tolist() == [False] * 3
    assert bool(seen.available[1, NORTH])
    assert seen.observation[0, :6].tolist() == [4, 5, 3, -1, -1, 0]


def test_more_than_enough_share_by_level() -> None:
    state = board(((1, 0), (2, 1), (1, 2)), FOODS)
    outcome = act(state, LOAD, LOAD, LOAD)[2]
    np.testing.assert_allclose(outcome.reward, np.array([1, 2, 3]) * 3 / (6 * 6), rtol=1e-6)


def test_too_low_levels_load_nothing() -> None:
    state = board(((1, 0), (2, 1), (4, 4)), FOODS, food_level=(4, 4))
    after, _, outcome = act(state, LOAD, LOAD, LOAD)
    assert after.food_level.tolist() == [4, 4]
    assert outcome.reward.tolist() == [0, 0, 0]


def test_only_loaders_beside_the_food_count() -> None:
    # The third stands at the corner of the food, and beside another it loads alone.
    state = board(((1, 0), (2, 2), (4, 4)), FOODS)
    after, _, outcome = act(state, LOAD, LOAD, LOAD)
    assert after.food_level.tolist() == [3, 0]
    np.testing.assert_allclose(outcome.reward, [0, 0, 0.5], rtol=1e-6)


def test_eaten_up_is_the_end_and_a_full_episode_brings_one() -> None:
    state = board(((1, 0), (2, 1), (4, 4)), FOODS, steps=48)
    state, _, first = act(state, LOAD, LOAD, NONE)
    assert not (first.terminated | first.truncated)
    state, _, second = act(state, NONE, NONE, LOAD)  # the fiftieth step
    assert bool(second.terminated)
    assert not (second.truncated | second.won)
    assert float(jnp.sum(first.reward + second.reward)) == pytest.approx(1)


def test_the_limit_cuts() -> None:
    state = board(((1, 0), (2, 1), (4, 4)), FOODS, steps=48)
    state, _, before = act(state, NONE, NONE, NONE)
    assert not before.truncated
    _, _, outcome = act(state, NONE, NONE, NONE)
    assert bool(outcome.truncated)
    assert not outcome.terminated


def test_an_observation_has_foods_then_itself_then_the_others() -> None:
    _, seen, _ = act(board(((2, 3), (0, 6), (5, 0)), FOODS), NONE, NONE, NONE)
    foods = [1, 1, 3, 4, 5, 3]
    agents = {0: [2, 3, 1], 1: [0, 6, 2], 2: [5, 0, 3]}
    for own, order in ((0, (0, 1, 2)), (1, (1, 0, 2)), (2, (2, 0, 1))):
        expected = [*foods, *(part for each in order for part in agents[each])]
        assert seen.observation[own].tolist() == expected
    assert len(environment().feature_names) == len(seen.observation[0])
    assert environment().feature_names[4:8] == (
        "food_1.column", "food_1.level", "self.row", "self.column",
    )  # fmt: skip


def test_what_is_out_of_sight_is_not_there() -> None:
    state = board(((4, 4), (0, 0), (5, 6)), FOODS)
    _, seen, _ = act(state, NONE, NONE, NONE, name=f"{SMALL}-sight2")
    absent = [-1, -1, 0]
    # Places count from the corner of the window, (2, 2); the agent at (5, 6) moves up in the list.
    assert seen.observation[0].tolist() == [2, 3, 3, *absent, 2, 2, 1, 3, 4, 3, *absent]
    # lbforaging's oddity: at the board's corner other agents are seen twice as far as foods.
    assert seen.observation[1].tolist() == [1, 1, 3, *absent, 0, 0, 2, 4, 4, 1, *absent]


def test_the_state_has_everything_from_0_to_1() -> None:
    _, seen, _ = act(board(((0, 0), (5, 6), (1, 0)), FOODS, (0, 3)), NONE, NONE, NONE)
    expected = [[1 / 5, 1 / 6, 0], [4 / 5, 5 / 6, 1], [0, 0, 1 / 3], [1, 1, 2 / 3], [1 / 5, 0, 1]]
    np.testing.assert_allclose(seen.state.reshape(-1, 3), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["lbf1", "5x5-6p-2f-coop", "8x8-3p-2f"])
def test_spawned_boards(name: str) -> None:
    env, count = environment(name), 300
    keys = jax.random.split(jax.random.key(3), count)
    states, first = jax.device_get(jax.jit(jax.vmap(env.reset))(keys))
    rows, columns, foods = env.board.rows, env.board.columns, env.board.foods
    for agents, places, levels in zip(
        states.position, states.food_position, states.food_level, strict=True
    ):
        assert (agents >= 0).all()
        assert (agents < (rows, columns)).all()
        there = places[levels > 0]
        # In reading order, inside the border, on nobody's cell, and so that no cell is beside two.
        assert there.tolist() == sorted(there.tolist())
        assert (there > 0).all()
        assert (there < (rows - 1, columns - 1)).all()
        assert len({*map(tuple, agents), *map(tuple, there)}) == len(agents) + len(there)
        beside: Counter[Any] = Counter()
        for row, column in there:
            beside.update([(row - 1, column), (row + 1, column)])
            beside.update([(row, column - 1), (row, column + 1)])
        assert max(beside.values()) == 1
    assert (states.spawned == states.food_level.sum(1)).all()
    if name == "lbf1":
        assert (states.level == (1, 1, 1, 2, 2, 2)).all()
        assert set(states.food_level.ravel()) == {3}
    else:
        assert set(states.level.ravel()) == {1, 2}
        lowest_three = np.sort(states.level, axis=1)[:, :3].sum(1)
        most = np.where(states.food_level > 0, states.food_level, 1)
        assert (most <= lowest_three[:, None]).all()
    if name == "5x5-6p-2f-coop":
        there = states.food_level > 0
        assert (states.food_level == lowest_three[:, None])[there].all()
        # On so small a board the second food does not always find a place.
        assert not there.all()
        assert there.any(1).all()
        gone = first.observation[:, :, 3 * (foods - 1) : 3 * foods][~there.all(1)]
        assert (gone == (-1, -1, 0)).all()


def test_agents_are_anywhere_with_the_same_chance() -> None:
    env, count = environment("5x7-8p-2f-coop-sight2"), 4000
    keys = jax.random.split(jax.random.key(4), count)
    states = jax.device_get(jax.jit(jax.vmap(lambda key: env.reset(key)[0]))(keys))
    cells = states.position @ (7, 1)
    for agent in (0, 7):
        found = np.bincount(cells[:, agent], minlength=35)
        expected = count / 35
        # The first and the last alike; 34 degrees of freedom: beyond 66 once in a thousand.
        assert ((found - expected) ** 2 / expected).sum() < 66


def test_steps_after_the_end_are_finite() -> None:
    state = board(((1, 0), (2, 1), (4, 4)), FOODS, (0, 0))
    _, seen, outcome = act(state, LOAD, LOAD, LOAD)
    assert outcome.reward.tolist() == [0, 0, 0]
    assert seen.available[:, NONE].all()


def test_the_scene_has_levels_and_eaten_foods_go() -> None:
    env = environment()
    states = [board(((1, 0), (2, 1), (4, 4)), FOODS)]
    seen = [act(states[0], NONE, NONE, NONE)[1]]
    actions = [(LOAD, LOAD, NORTH), (LOAD, NONE, LOAD)]
    for action in actions:
        state, perceived, _ = act(states[-1], *action)
        states.append(state)
        seen.append(perceived)
    scene = env.scene(np.stack([each.state for each in seen]), np.array(actions))
    check_scene(scene, env.spec, 2)
    with pytest.raises(UserError, match=r"scene: labels has 1 entries, names 5"):
        check_scene(replace(scene, labels=("1",)), env.spec, 2)
    assert scene.labels == ("1", "2", "3", "3", "3")
    assert scene.kinds[1] == "level 2"
    # Agent 2 and the two foods; rows count from the top, y from the bottom.
    assert scene.position[0, 2:].tolist() == [[4, 1], [1, 4], [5, 1]]
    assert scene.position[1, 2].tolist() == [4, 2]
    assert scene.present is not None
    assert scene.present[:, 3:].tolist() == [[True, True], [False, True], [False, True]]
    assert scene.target is not None
    # Both load the first food; the third has gone away from the second by the next step.
    assert scene.target.tolist() == [[3, 3, -1], [-1, -1, -1]]


@pytest.mark.parametrize("name", lbf_oracle.BOARDS)
def test_stored_episodes_of_lbforaging_are_the_same_here(name: str) -> None:
    episodes = lbf_oracle.stored(name)
    assert len(episodes.length) == 9
    assert (episodes.reward > 0).any()
    assert lbf_oracle.equal(name, episodes).all()


def test_a_wrong_step_does_not_pass_for_the_same() -> None:
    episodes = lbf_oracle.stored("lbf1")
    step = int(episodes.length[0]) - 1
    for field, change in (("observation", 1), ("reward", 0.01)):
        changed = getattr(episodes, field).copy()
        changed[0, step, 0] += change
        alike = lbf_oracle.equal("lbf1", episodes._replace(**{field: changed}))
        assert alike.tolist() == [False] + [True] * 8


@pytest.mark.parametrize("name", lbf_oracle.BOARDS)
def test_fresh_episodes_of_lbforaging_are_the_same_here(name: str) -> None:
    seen: Counter[str] = Counter()
    assert lbf_oracle.equal(name, lbf_oracle.play_oracle(name, 40, 77, seen)).all()
    assert seen["foods eaten by several"] > 0
    assert seen["moves blocked by others"] > 0
