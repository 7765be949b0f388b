"""Environment steps per second of level-based foraging on one core, at random actions.

    taskset -c 0 python benchmarks/environment_speed.py

A program plays a batch of episodes from reset to the limit, resets and drawn actions counted in, and all that
an agent or a mixer would read is computed. Medians of CPU time, which other programs disturb little, and of
wall time beside it. Rows go to results/environment_speed.csv.
"""

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import commit, processor

from mast.envs.registry import make

TABLE = Path(__file__).parent.parent / "results" / "environment_speed.csv"
IDS = ("lbf/lbf1", "lbf/lbf2", "lbf/8x8-3p-2f", "lbf/10x10-6p-6f-levels1,1,1,2,2,2-food3-sight3")
BATCHES = (8, 64, 512)
ROUNDS = 9
LEAST_STEPS = 50_000
"""Of a round: enough that the clock is exact."""
COLUMNS = (
    "environment",
    "batch",
    "env_steps_per_cpu_second",
    "env_steps_per_second",
    "cpu_us_per_step",
    "load",
    "cores",
    "machine",
    "commit",
)


def episodes(id: str, batch: int) -> tuple[Callable[[Any], Any], int]:
    """A program that plays a batch of whole episodes, and how many steps they have together."""
    env = make(id)
    spec = env.spec

    def play(key: Any) -> Any:
        reset_key, step_key = jax.random.split(key)
        state, seen = jax.vmap(env.reset)(jax.random.split(reset_key, batch))

        def one(state: Any, key: Any) -> Any:
            actions = jax.random.randint(key, (batch, spec.agents), 0, spec.actions)
            state, seen, outcome = jax.vmap(env.step, (None, 0, 0))(key, state, actions)
            return state, read(seen, outcome)

        _, sums = jax.lax.scan(one, state, jax.random.split(step_key, spec.episode_limit))
        return sums, read(seen)

    return jax.jit(play), batch * spec.episode_limit


def read(*results: Any) -> Any:
    """A number that needs all of them, so that nothing is left out."""
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(results))


def measure(id: str, batch: int) -> list[Any]:
    """One row of the table."""
    play, steps = episodes(id, batch)
    repeats = -(-LEAST_STEPS // steps)
    jax.block_until_ready(play(jax.random.key(0)))
    spent = []
    for turn in range(ROUNDS):
        keys = jax.random.split(jax.random.key(turn), repeats)
        clocks = time.process_time(), time.perf_counter()
        for key in keys:
            jax.block_until_ready(play(key))
        spent.append((time.process_time() - clocks[0], time.perf_counter() - clocks[1]))
    cpu, wall = np.median(spent, axis=0) / (repeats * steps)
    load = round(os.getloadavg()[0], 1)
    cores = len(os.sched_getaffinity(0))
    numbers = [round(1 / cpu), round(1 / wall), round(1e6 * cpu, 2), load, cores]
    return [id, batch, *numbers, processor(), commit()]


def main() -> None:
    """Measure, and rewrite the table."""
    rows = []
    for id in IDS:
        for batch in BATCHES:
            rows.append(measure(id, batch))
            print(*rows[-1], flush=True)
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
