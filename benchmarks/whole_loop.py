"""How fast the whole loop is, and where its time goes: collect, sample, learn, evaluate, checkpoint.

    taskset -c 0 python benchmarks/whole_loop.py smax/3m smax/3s5z --updates 400

Each map is trained by MAST-QMIX at 95 % and by dense QMIX, one update per episode, after a warm-up that
compiles everything and brings episodes to their usual lengths. Rows go to results/whole_loop.csv.
"""

import argparse
import csv
import os
from pathlib import Path

from mast import Trainer, resolve
from mast.training.meter import PHASES

TABLE = Path(__file__).parent.parent / "results" / "whole_loop.csv"
COLUMNS = (
    "environment",
    "method",
    "cores",
    "updates",
    "env_steps",
    "seconds",
    "env_steps_per_second",
    "updates_per_second",
    *(f"share_{phase}" for phase in (*PHASES, "rest")),
)


def measure(environment: str, method: str, warm_up: int, updates: int) -> dict[str, object]:
    """Train `warm_up` updates unseen, then time `updates` more."""
    settings = {
        "environment": environment,
        "method": method,
        "sparsity": 0.95,
        "eval_interval": 10**9,
    }
    trainer = Trainer(resolve(settings))
    rounds = iter(trainer)
    while trainer.counters.updates < warm_up:
        next(rounds)
    meter, counters = trainer.meter, trainer.counters
    run = trainer.runs[0]
    before = dict(meter.phases)
    start = (
        meter.seconds,
        counters.updates,
        run.counters.env_steps,
        trainer.engine.compile_seconds,
    )
    while counters.updates < warm_up + updates:
        next(rounds)
    compiling = trainer.engine.compile_seconds - start[3]
    seconds = meter.seconds - start[0] - compiling
    done, steps = counters.updates - start[1], run.counters.env_steps - start[2]
    shares = {phase: (meter.phases[phase] - before[phase]) / seconds for phase in PHASES}
    return {
        "environment": environment,
        "method": method,
        "cores": len(os.sched_getaffinity(0)),
        "updates": done,
        "env_steps": steps,
        "seconds": round(seconds, 2),
        "env_steps_per_second": round(steps / seconds, 1),
        "updates_per_second": round(done / seconds, 2),
        **{f"share_{phase}": round(share, 4) for phase, share in shares.items()},
        "share_rest": round(1 - sum(shares.values()), 4),
    }


def main() -> None:
    """Measure the maps named on the command line and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", nargs="+")
    parser.add_argument("--warm-up", type=int, default=200)
    parser.add_argument("--updates", type=int, default=400)
    arguments = parser.parse_args()
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for environment in arguments.environments:
            for method in ("dense", "mast"):
                row = measure(environment, method, arguments.warm_up, arguments.updates)
                writer.writerow(row)
                file.flush()
                print(row)


if __name__ == "__main__":
    main()
