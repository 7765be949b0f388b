"""How the cost of a compact update grows: with active weights, agents, steps and threads.

    taskset -c 0,1 python benchmarks/growth.py

One setting at a time is changed around a middle: 8 agents, 60 steps, width 64, 95 % sparse, observations of
130 numbers, states of 120, 13 actions, 32 episodes that all play to the end, random numbers. A row holds the
median of an update of QMIX on the clock and in processor time (of all threads); arms in turn, in blocks.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from machine import commit, processor
from update import BATCH, compact_arm, learner_for, medians

from mast.configuration.record import without_folder
from mast.execution.compact import CompactLearner
from mast.learning.replay import Batch

TABLE = Path(__file__).parent.parent / "results" / "kernels_growth.csv"
MIDDLE = {"agents": 8, "steps": 60, "sparsity": 0.95, "width": 64, "threads": 1}
SWEEPS: dict[str, list[Any]] = {
    "sparsity": [0.0, 0.5, 0.8, 0.9, 0.95, 0.975, 0.99],
    "agents": [1, 2, 4, 8, 16, 32],
    "steps": [8, 15, 30, 60, 120],
    "width": [16, 32, 64, 128, 256],
    "threads": [1, 2],
}


def random_batch(agents: int, steps: int) -> Batch:
    """Whole episodes of random numbers in half precision."""
    generator = np.random.default_rng(0)
    rows = (steps + 1, BATCH, agents)
    return Batch(
        observation=generator.normal(size=(*rows, 130)).astype(np.float16),
        state=generator.normal(size=(steps + 1, BATCH, 120)).astype(np.float16),
        available=np.ones((*rows, 13), bool),
        action=generator.integers(0, 13, (steps, BATCH, agents), np.int32),
        reward=generator.normal(size=(steps, BATCH)).astype(np.float32),
        terminated=np.arange(steps)[:, None].repeat(BATCH, 1) == steps - 1,
        mask=np.ones((steps, BATCH), bool),
    )


def active_weights(learner: Any) -> int:
    """Numbers that the online networks have, biases too."""
    compact = CompactLearner(learner, 1)
    state = jax.eval_shape(lambda key: compact.compact(learner.init(key)), jax.random.key(0))
    return sum(network.parameters.size for network in (state.params.agent, state.params.mixer))


def main() -> None:
    """Measure every sweep and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="per sweep")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    with arguments.out.open("w", newline="") as file:
        columns = ("sweep", *MIDDLE, "parameters", "ms", "cpu_ms", "machine", "commit", "command")
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for sweep, values in SWEEPS.items():
            cases = [MIDDLE | {sweep: value} for value in values]
            arms, parameters = {}, []
            for case in cases:
                batch = random_batch(case["agents"], case["steps"])
                learner = learner_for("smax/3m", batch, case["width"], case["sparsity"])
                arms[str(case[sweep])] = compact_arm(learner, batch, case["threads"])
                parameters.append(active_weights(learner))
            spent = medians(arms, arguments.seconds)
            for case, size in zip(cases, parameters, strict=True):
                times = spent[str(case[sweep])]
                writer.writerow(
                    {
                        "sweep": sweep,
                        **case,
                        "parameters": size,
                        "ms": round(times.wall, 3),
                        "cpu_ms": round(times.cpu, 3),
                        "machine": processor(),
                        "commit": commit(),
                        "command": " ".join(map(without_folder, sys.argv)),
                    }
                )
            file.flush()


if __name__ == "__main__":
    main()
