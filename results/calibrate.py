"""How hard the maps are: the heuristic against itself, and play at random, over whole battles.

    python results/calibrate.py [MAP …]

Rewrites the rows of these maps in results/calibration.csv: those that SMAX lacks, and two of its own.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.envs.battle.heuristic import HeuristicTeam
from mast.envs.registry import make

OUT = Path(__file__).parent / "calibration.csv"
MAPS = ("3m", "2s3z", "8m_vs_9m", "MMM2", "2c_vs_64zg")
EPISODES, AT_ONCE, SEED = 128, 16, 0
COLUMNS = (
    "map", "identity", "play", "episodes", "seed", "win_rate", "return_mean", "return_std",
    "enemies_left", "steps_mean", "cut",
)  # fmt: skip


def calibrate(name: str, play: str, limit: Any = None) -> dict[str, Any]:
    """Play the allies of one map, at random or by the heuristic.

    Args:
        name: of the map.
        play: "heuristic" or "random", among the available actions.
        limit: steps of an episode, or "smac".
    """
    environment: Any = make(f"smax/{name}", episode_limit=limit)
    spec = environment.spec
    team = HeuristicTeam(environment._battle, 0)

    def episode(key: Any) -> Any:
        def ongoing(carry: Any) -> Any:
            return ~carry[-1]

        def step(carry: Any) -> Any:
            key, state, seen, memory, total, steps, _, _ = carry
            key, act_key, step_key = jax.random.split(key, 3)
            if play == "heuristic":
                actions, memory = team.act(act_key, memory, state.battle)
                # The dead of jaxmarl's heuristic go on moving; here they stop.
                actions = jnp.where(state.battle.unit_alive[: spec.agents], actions, 4)
            else:
                likes = jnp.where(seen.available, 0.0, -jnp.inf)
                actions = jax.random.categorical(act_key, likes).astype(jnp.int32)
            state, seen, outcome = environment.step(step_key, state, actions)
            over = outcome.terminated | outcome.truncated
            return key, state, seen, memory, total + outcome.reward, steps + 1, outcome, over

        key, reset_key = jax.random.split(key)
        state, seen = environment.reset(reset_key)
        nothing = jax.eval_shape(environment.step, key, state, jnp.zeros(spec.agents, jnp.int32))[2]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing)
        start = (key, state, seen, team.initial_state(), 0.0, 0, nothing, jnp.array(False))
        _, state, _, _, total, steps, outcome, _ = jax.lax.while_loop(ongoing, step, start)
        left = state.battle.unit_alive[spec.agents :].sum()
        return outcome.won, outcome.truncated, total, steps, left

    keys = jax.random.split(jax.random.key(SEED), EPISODES)
    battles = jax.jit(jax.vmap(episode))
    parts = [battles(keys[at : at + AT_ONCE]) for at in range(0, EPISODES, AT_ONCE)]
    won, cut, total, steps, left = (np.concatenate(each) for each in zip(*parts, strict=True))
    return {
        "map": name,
        "identity": spec.identity,
        "play": play,
        "episodes": EPISODES,
        "seed": SEED,
        "win_rate": f"{won.mean():.4f}",
        "return_mean": f"{total.mean():.3f}",
        "return_std": f"{total.std():.3f}",
        "enemies_left": f"{left.mean():.2f}",
        "steps_mean": f"{steps.mean():.1f}",
        "cut": f"{cut.mean():.4f}",
    }


def main(names: list[str]) -> None:
    """Measure and write."""
    rows = []
    if OUT.exists():
        rows = list(csv.DictReader(OUT.read_text(encoding="utf-8").splitlines()))
    for name in names or MAPS:
        limits = (None,) if name not in MAPS[2:] else (None, "smac")
        for limit in limits:
            for play in ("heuristic", "random"):
                row = calibrate(name, play, limit)
                print(*row.values(), flush=True)
                key = ("map", "identity", "play")
                rows = [old for old in rows if any(old[part] != row[part] for part in key)]
                rows.append(row)
    with OUT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
