"""Level-based foraging by lbforaging 2.0 (MIT), the game's own authors' code, beside ours: step for step.

    pip install --no-deps --target build/oracle lbforaging==2.0.0
    PYTHONPATH=build/oracle python tests/envs/lbf_oracle.py --episodes 10000
    PYTHONPATH=build/oracle python tests/envs/lbf_oracle.py --store

The first plays episodes of lbforaging, from boards that our reset spawned, and counts those in which ours
sees, pays and ends alike; the second writes tests/golden/lbf_episodes.npz, with which the suite does the same
without lbforaging.
"""

import argparse
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mast.envs import lbf_rules
from mast.envs.lbf import LevelBasedForaging

STORED = Path(__file__).parents[1] / "golden" / "lbf_episodes.npz"
BOARDS = {
    "lbf1": 0.3,
    "lbf2": 0.2,
    "8x8-3p-2f": 0.1,
    "5x7-8p-2f-coop-sight2": 0.1,
    "10x6-6p-6f-sight1": 0.1,
    "8x8-16p-6f-levels1,2,3,4,5,1,2,3,4,5,1,2,3,4,5,1-food9-sight3": 0.1,
    "10x10-6p-6f-levels1,1,1,2,2,2-food3-sight3": 0.1,
}
"""Which are played, and which share of the episodes is of each: small and crowded ones have what is rare."""
LIMIT = 50


class Episodes(NamedTuple):
    """Episodes of one board, stacked: [episodes, …], steps second; what follows an episode's end is zero."""

    position: np.ndarray  # at the start, as are the next four
    level: np.ndarray
    food_position: np.ndarray
    food_level: np.ndarray
    length: np.ndarray
    action: np.ndarray
    observation: np.ndarray  # of the start and after every step, as `available`
    available: np.ndarray
    reward: np.ndarray  # float64
    eaten: np.ndarray  # whether there is no food left after the step


@cache
def environment(name: str) -> LevelBasedForaging:
    return LevelBasedForaging(name, reward_scale=1.0)  # as lbforaging pays


@cache
def _reset(name: str) -> Any:
    return jax.jit(jax.vmap(lambda key: environment(name).reset(key)[0]))


def starts(name: str, count: int, seed: int) -> list[lbf_rules.LbfState]:
    """Boards as our reset spawns them."""
    batch = jax.device_get(_reset(name)(jax.random.split(jax.random.key(seed), count)))
    return [lbf_rules.LbfState(*(leaf[index] for leaf in batch)) for index in range(count)]


# The oracle


def oracle(name: str) -> Any:
    """The same game of lbforaging; its levels are set later."""
    from gymnasium.spaces import Box, Tuple
    from lbforaging.foraging.environment import ForagingEnv

    board = environment(name).board
    game = ForagingEnv(
        players=board.agents,
        min_player_level=1,
        max_player_level=20,
        min_food_level=1,
        max_food_level=80,
        field_size=(board.rows, board.columns),
        max_num_food=board.foods,
        sight=board.sight,
        max_episode_steps=LIMIT,
        force_coop=False,
    )
    # Its own bounds of observations take rows for columns and would refuse what it sees on an oblong board.
    size = game.observation_space[0].shape
    game.observation_space = Tuple([Box(-1, 200, size, np.float32)] * board.agents)
    return game


def begin(game: Any, start: lbf_rules.LbfState) -> Any:
    """Put the oracle's pieces where ours are; returns its first observations."""
    game.field[:] = 0
    for (row, column), level in zip(start.food_position, start.food_level, strict=True):
        if level:
            game.field[row, column] = level
    for player, place, level in zip(game.players, start.position, start.level, strict=True):
        player.setup(tuple(int(each) for each in place), int(level), game.field_size)
        player.reward = 0
    game._food_spawned = game.field.sum()
    game.current_step, game._game_over = 0, False
    game._gen_valid_moves()
    return game._make_gym_obs()


def choose(game: Any, style: int, random: np.random.Generator) -> list[int]:
    """Actions that make something happen: anything at all, each to its food, or all to one food.

    Most are not looked at, whether they are possible; among what is impossible the oracle does nothing.
    """
    foods = np.argwhere(game.field)
    actions = []
    for player in game.players:
        place = np.array(player.position)
        distance = np.abs(foods - place).sum(1)
        goal = foods[0] if style == 2 else foods[distance.argmin()]
        if style == 0 or random.random() < 0.2:
            actions.append(int(random.integers(6)))
        elif distance.min() == 1 and random.random() < 0.8:
            actions.append(5)
        else:
            south, east = goal - place
            along_rows = random.random() < abs(south) / max(1, abs(south) + abs(east))
            actions.append((2 if south > 0 else 1) if along_rows else (4 if east > 0 else 3))
    return actions


def valid(game: Any) -> np.ndarray:
    """Which actions each of its players may take."""
    table = np.zeros((len(game.players), 6), bool)
    for row, player in zip(table, game.players, strict=True):
        row[[action.value for action in game._valid_actions[player]]] = True
    return table


def play_oracle(name: str, count: int, seed: int, seen: Counter[str]) -> Episodes:
    """Episodes of the oracle; what happens in them is counted in `seen`."""
    game, random, played = oracle(name), np.random.default_rng(seed), []
    for number, start in enumerate(starts(name, count, seed)):
        observations, available = [np.stack(begin(game, start))], [valid(game)]
        actions, rewards, eaten, over = [], [], [], False
        while not over:
            actions.append(choose(game, number % 3, random))
            before = [player.position for player in game.players]
            foods = np.count_nonzero(game.field)
            seen_now, reward, over, _, _ = game.step(actions[-1])
            _count(seen, game, available[-1], actions[-1], before, foods, reward)
            observations.append(np.stack(seen_now))
            available.append(valid(game))
            rewards.append(reward)
            eaten.append(game.field.sum() == 0)
        seen["eaten up" if eaten[-1] else "cut"] += 1
        pieces = (start.position, start.level, start.food_position, start.food_level)
        lists = (actions, observations, available, rewards, eaten)
        played.append(Episodes(*pieces, np.array(len(actions)), *map(_padded, lists)))
    return Episodes(*(np.stack(each) for each in zip(*played, strict=True)))


def _padded(values: list[Any]) -> np.ndarray:
    """With zeros after the end; all lists get the longest one's length."""
    array = np.array(values)
    padding = np.zeros((LIMIT + 1 - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, padding])


def _count(
    seen: Counter[str],
    game: Any,
    available: np.ndarray,
    actions: list[int],
    before: list[Any],
    foods: int,
    reward: list[float],
) -> None:
    """What has happened in a step, so that it shows that everything has."""
    after = [player.position for player in game.players]
    took = available[np.arange(len(actions)), actions]
    moved = [a != b for a, b in zip(before, after, strict=True)]
    tried = [bool(t) and 1 <= action <= 4 for t, action in zip(took, actions, strict=True)]
    seen["steps"] += 1
    seen["impossible actions"] += int((~took).sum())
    seen["moves blocked by others"] += sum(t and not m for t, m in zip(tried, moved, strict=True))
    followed = set(before) & {a for a, m in zip(after, moved, strict=True) if m}
    seen["cells entered while left"] += sum(
        m and b in followed for b, m in zip(before, moved, strict=True)
    )
    seen["steps with two on a cell"] += len(set(after)) < len(after)
    gone = foods - np.count_nonzero(game.field)
    paid = sum(value > 0 for value in reward)
    loading = sum(bool(t) and action == 5 for t, action in zip(took, actions, strict=True))
    seen["foods eaten"] += int(gone)
    seen["foods eaten by several"] += int(gone == 1 and paid > 1)
    seen["loads too weak"] += loading - paid


# Ours


@cache
def _replay(name: str) -> Any:
    env = environment(name)

    def episode(state: lbf_rules.LbfState, actions: Any) -> Any:
        first = lbf_rules.observation(env.board, state), lbf_rules.available(env.board, state)

        def one(state: lbf_rules.LbfState, action: Any) -> Any:
            state, seen, outcome = env.step(jax.random.key(0), state, action)
            return state, (seen.observation, seen.available, outcome)

        return first, jax.lax.scan(one, state, actions)[1]

    return jax.jit(jax.vmap(episode))


def equal(name: str, theirs: Episodes) -> np.ndarray:
    """Which episodes are the same in ours: observations, possible actions, rewards and ends of every step."""
    count = len(theirs.length)
    state = lbf_rules.LbfState(
        *(np.asarray(each, np.int32) for each in theirs[:4]),
        theirs.food_level.sum(1).astype(np.int32),
        np.zeros(count, np.int32),
    )
    first, (seen, possible, outcome) = jax.device_get(
        _replay(name)(state, theirs.action[:, :LIMIT].astype(np.int32))
    )
    until = np.arange(LIMIT) < theirs.length[:, None]
    last = np.arange(LIMIT) == theirs.length[:, None] - 1

    def same(ours: np.ndarray, their: np.ndarray) -> np.ndarray:
        unequal = (ours != their[:, :LIMIT]).reshape(count, LIMIT, -1).any(-1)
        return ~(unequal & until).any(1)

    alike = (first[0] == theirs.observation[:, 0]).all((1, 2))
    alike &= (first[1] == theirs.available[:, 0]).all((1, 2))
    alike &= same(seen, theirs.observation[:, 1:])
    alike &= same(possible, theirs.available[:, 1:])
    alike &= same(outcome.reward, theirs.reward.astype(np.float32))
    alike &= same(outcome.terminated, theirs.eaten)
    alike &= same(outcome.truncated, last & ~theirs.eaten[:, :LIMIT])
    return alike & same(outcome.terminated | outcome.truncated, last)


def store(path: Path) -> None:
    """Write some episodes of every board."""
    arrays, seen = {}, Counter()
    for name in BOARDS:
        for field, values in play_oracle(name, 9, 5, seen)._asdict().items():
            small = values if values.dtype in (bool, np.float64) else values.astype(np.int8)
            arrays[f"{name}/{field}"] = small
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size} bytes; {dict(seen)}")


def stored(name: str) -> Episodes:
    """The stored episodes of a board."""
    with np.load(STORED) as arrays:
        return Episodes(*(arrays[f"{name}/{field}"] for field in Episodes._fields))


def main() -> None:
    """Play, compare and tell; or store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    if given.store:
        store(STORED)
        return
    seen: Counter[str] = Counter()
    tried = same = 0
    for name, share in BOARDS.items():
        count = round(share * given.episodes)
        for begin_at in range(0, count, 100):
            alike = equal(name, play_oracle(name, 100, given.seed + begin_at, seen))
            tried, same = tried + len(alike), same + int(alike.sum())
        print(f"{name}: so far {same} of {tried} equal", flush=True)
    print(f"{same} of {tried} episodes equal; {dict(seen)}")


if __name__ == "__main__":
    main()
