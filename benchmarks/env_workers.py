"""What worker processes save where a Python environment is the cost: env steps a second by their number.

    python benchmarks/env_workers.py

`Waits` sleeps 5 ms at each step, as one does who waits for an external simulator; `Computes` is busy for
5 ms of processor time.
Rewrites results/env_workers.csv.
"""

import csv
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.config import resolve
from mast.configuration.record import processor
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.execution.environment import environment_of
from mast.networks.agent import recurrent_agent
from mast.networks.spec import Sizes, recurrent_agent_spec
from mast.training.rollout import HostPlayers
from mast.training.worker_players import WorkerPlayers

STEP_SECONDS = 0.005
EPISODES, LIMIT = 16, 50
WORKERS = (0, 1, 2, 4, 8)
RESULTS = Path(__file__).parents[1] / "results" / "env_workers.csv"


class Waits:
    """Two agents, fifty steps, nothing to learn; a step takes as long as an external simulator's."""

    def __init__(self) -> None:
        self.spec = EnvironmentSpec(
            id="env_workers:" + type(self).__name__,
            agents=2,
            actions=5,
            observation=20,
            state=40,
            episode_limit=LIMIT,
            has_win=False,
            is_jax=False,
            agent_names=("a", "b"),
            unit_types=("", ""),
            reward_scale=1.0,
            identity=type(self).__name__,
            max_return=None,
        )

    def _seen(self) -> TimeStep:
        ones = np.ones((2, 20), np.float32)
        return TimeStep(ones, np.ones((2, 5), bool), np.ones(40, np.float32))  # type: ignore[arg-type]

    def _work(self) -> None:
        time.sleep(STEP_SECONDS)

    def reset(self, key: int) -> tuple[None, TimeStep]:
        self.turn = 0
        return None, self._seen()

    def step(self, key: int, env_state: None, actions: Any) -> tuple[None, TimeStep, Outcome]:
        self._work()
        self.turn += 1
        no: Any = np.False_
        cut: Any = np.bool_(self.turn >= LIMIT)
        reward: Any = np.float32(0)
        return None, self._seen(), Outcome(reward, no, cut, no)


class Computes(Waits):
    """The same, busy."""

    def _work(self) -> None:
        end = time.process_time() + STEP_SECONDS
        while time.process_time() < end:
            pass


def steps_per_second(name: str, workers: int) -> float:
    """Of `EPISODES` whole episodes, after a first round that starts and compiles everything."""
    config = resolve({"environment": f"benchmarks.env_workers:{name}", "env_workers": workers})
    environment = environment_of(config)
    players = (
        WorkerPlayers(config, environment.spec)
        if workers
        else HostPlayers(environment, config.replay_dtype)
    )
    sizes = Sizes(observation=20, state=40, actions=5, agents=2)
    agent = recurrent_agent(jax.random.key(0), recurrent_agent_spec(sizes), 20, 5)
    keys = jax.random.split(jax.random.key(1), EPISODES)
    players.record(agent, keys[: max(workers, 1)], jnp.float32(1.0))
    start = time.perf_counter()
    players.record(agent, keys, jnp.float32(1.0))
    seconds = time.perf_counter() - start
    if isinstance(players, WorkerPlayers):
        players.close()
    return EPISODES * LIMIT / seconds


def main() -> None:
    """Measure, print and write."""
    rows = []
    for name in ("Waits", "Computes"):
        for workers in WORKERS:
            rate = steps_per_second(name, workers)
            rows.append((name, workers, f"{rate:.0f}", os.cpu_count(), processor()))
            print(*rows[-1], flush=True)
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("environment", "env_workers", "env_steps_per_second", "cpus", "processor"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
