"""Native battles held to those of JAX, step by step: `make oracle`, some minutes.

    python benchmarks/oracle_battle.py 3m 2s3z --episodes 1000
    python benchmarks/oracle_battle.py 3m --policy runs/first/policy.safetensors

Each native step begins where that of JAX began (jaxmarl's, or Mast's own on the maps that SMAX lacks),
with the same key and the same actions: random ones, the heuristic's, or a trained policy's. What must be
equal is equal (who lives, who is aimed at, what is available, how it ended), or a rounding has tipped a
comparison: such steps are counted. The floats of the other steps may differ by a rounding; the largest
difference is written, in map units and in shares. Where many units crowd, every tick's pushes enlarge a
rounding: so beside it stands by how much JAX's own step changes when it begins with every place moved by
one rounding, and in how many steps that tips a comparison. Rows go to results/oracle_battle.csv.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from machine import commit
from tables import put_row

from mast.envs.battle.heuristic import HeuristicTeam
from mast.envs.battle.maps import SCENARIOS
from mast.envs.battle.native import obstacle
from mast.envs.smax import Smax
from mast.policy import Policy

TABLE = Path(__file__).parent.parent / "results" / "oracle_battle.csv"
COLUMNS = (
    *("map", "actions", "episodes", "steps", "tipped", "largest_difference"),
    *("nudged_tipped", "nudged_difference", "commit"),
)
TIPPED = 0.1
"""A rounding is below, even one that a crowd has enlarged; a shot, a move or a heal more or less is above."""

Play = Callable[[Any, Any, int], np.ndarray]
"""(states, what was seen, the step) → every agent's action."""


def random_play(env: Smax, keys: Any) -> Play:
    """Any available action."""
    generator = np.random.default_rng(0)

    def play(state: Any, seen: Any, step: int) -> np.ndarray:
        available = np.asarray(seen.available)
        return np.argmax(np.where(available, generator.random(available.shape), -1), -1)

    return play


def heuristic_play(env: Smax, keys: Any) -> Play:
    """The heuristic on the allies' side."""
    team = HeuristicTeam(env._battle, 0)
    memory = jax.vmap(lambda _: team.initial_state())(keys)
    act = jax.jit(jax.vmap(team.act))

    def play(state: Any, seen: Any, step: int) -> np.ndarray:
        nonlocal memory
        action, memory = act(_at(keys, 1000 + step), memory, state.battle)
        return np.asarray(action)

    return play


def trained_play(path: Path, env: Smax, keys: Any) -> Play:
    """A policy's greedy action."""
    policy = Policy.load(path)
    memories: list[Any] = [None] * len(keys)

    def play(state: Any, seen: Any, step: int) -> np.ndarray:
        actions = []
        for place in range(len(keys)):
            action, memories[place] = policy.act(
                np.asarray(seen.observation[place]),
                np.asarray(seen.available[place]),
                memories[place],
            )
            actions.append(action)
        return np.stack(actions)

    return play


def compare(scenario: str, make_play: Callable[[Smax, Any], Play], episodes: int) -> dict[str, Any]:
    """How many steps were played, how many were tipped, and the largest difference of the others."""
    theirs, ours = Smax(scenario), Smax(scenario, native=True)
    keys = jax.random.split(jax.random.key(0), episodes)
    state, seen = jax.jit(jax.vmap(theirs.reset))(keys)
    held, _ = jax.jit(jax.vmap(ours.reset))(keys)
    step, native_step = jax.jit(jax.vmap(theirs.step)), jax.jit(jax.vmap(ours.step))
    play, ended = make_play(theirs, keys), np.zeros(episodes, bool)
    steps = 0
    native_found, nudged_found = Found(), Found()
    for moment in range(theirs.spec.episode_limit):
        action = play(state, seen, moment).astype(np.int32)
        now = _at(keys, moment)
        held = held._replace(
            battle=state.battle, enemy_policy=state.enemy_policy, last_actions=state.last_actions
        )
        places = np.nextafter(np.asarray(state.battle.unit_positions), np.float32(np.inf))
        nudged = state._replace(battle=state.battle.replace(unit_positions=places))
        state, seen, outcome = step(now, state, action)
        expected = (state.battle, state.enemy_policy, seen, outcome)
        for found, play_step, begin in (
            (native_found, native_step, held),
            (nudged_found, step, nudged),
        ):
            after, perceived, ending = play_step(now, begin, action)
            found.add(expected, (after.battle, after.enemy_policy, perceived, ending), ~ended)
        steps += int((~ended).sum())
        ended |= np.asarray(outcome.terminated | outcome.truncated)
        if ended.all():
            break
    return {
        "steps": steps,
        "tipped": native_found.tipped,
        "largest_difference": f"{native_found.largest:.1e}",
        "nudged_tipped": nudged_found.tipped,
        "nudged_difference": f"{nudged_found.largest:.1e}",
    }


class Found:
    """What two ways of one step have differed by so far."""

    def __init__(self) -> None:
        self.tipped = 0
        self.largest = 0.0
        """Of the floats, in steps that were not tipped."""

    def add(self, first: Any, second: Any, going: np.ndarray) -> None:
        """Compare a step of the episodes that are going on."""
        tipped, apart = np.zeros(len(going), bool), np.zeros(len(going))
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
            difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
            largest = difference.reshape(len(going), -1).max(1)
            if np.asarray(a).dtype == np.float32:
                apart = np.maximum(apart, largest)
            else:
                tipped |= largest > 0
        tipped |= apart >= TIPPED
        self.tipped += int((tipped & going).sum())
        self.largest = max(self.largest, float(apart[going & ~tipped].max(initial=0.0)))


def _at(keys: Any, step: int) -> Any:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, step)


def main() -> None:
    """Read the command line and add or replace rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", nargs="*", choices=[*SCENARIOS, []], default=list(SCENARIOS))
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--policy", type=Path, help="of a team trained on the map")
    arguments = parser.parse_args()
    reason = obstacle()
    if reason is not None:
        parser.error(f"no native battles here: {reason}")
    for scenario in arguments.maps:
        plays: dict[str, Callable[[Smax, Any], Play]] = {"random": random_play}
        if not SCENARIOS[
            scenario
        ].smacv2_unit_type_generation:  # whose types it would have to be told
            plays["heuristic"] = heuristic_play
        if arguments.policy is not None:
            plays = {"trained": partial(trained_play, arguments.policy)}
        for actions, make_play in plays.items():
            found = compare(scenario, make_play, arguments.episodes)
            row = {
                **{"map": scenario, "actions": actions, "episodes": arguments.episodes},
                **found,
                "commit": commit(),
            }
            print(row, flush=True)
            put_row(TABLE, COLUMNS, ("map", "actions"), row)


if __name__ == "__main__":
    main()
