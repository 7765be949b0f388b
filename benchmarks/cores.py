"""What a second core gives: kernels on two threads, or playing beside learning (`--pipeline`).

    python benchmarks/cores.py 3m 3s5z 27m_vs_30m

MAST-QMIX at 95 %, compact, one update per episode, in three processes: on one core, on two cores with kernels
on two threads, and on two cores with one thread and `--pipeline`. The processes take turns on a machine that
should do nothing else; `update_ms` is the median turn's wall time, `ratio` the median over the turns of the
first arm's time over this one's. A turn in which something was compiled is not counted. Rows go to
results/cores.csv.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import commit, processor
from tables import put_row

TABLE = Path(__file__).parent.parent / "results" / "cores.csv"
COLUMNS = (
    "map",
    "arm",
    "cores",
    "threads",
    "pipeline",
    "turns",
    "update_ms",
    "ratio",
    "machine",
    "commit",
)
ARMS: dict[str, tuple[int, int, bool]] = {
    "one core": (1, 1, False),
    "two threads": (2, 2, False),
    "pipeline": (2, 1, True),
}
"""Per arm: cores, threads of the kernels, whether it plays beside learning."""


def train(environment: str, arm: str, warm_up: int, updates: int) -> None:
    """A child's life: for each line on standard input, some updates, and how long they took."""
    cores, threads, pipeline = ARMS[arm]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from mast import Trainer, resolve

    settings = {
        **{"environment": f"smax/{environment}", "method": "mast", "sparsity": 0.95},
        **{"execution": "compact", "threads": threads, "pipeline": pipeline},
        **{"eval_interval": 10**9, "checkpoint_interval": 1e7},
    }
    trainer = Trainer(resolve(settings))
    rounds = iter(trainer)

    def turn(count: int) -> dict[str, float]:
        first, compiled = trainer.counters.updates, trainer.engine.compile_seconds
        start = time.perf_counter()
        while trainer.counters.updates < first + count:
            next(rounds)
        seconds, done = time.perf_counter() - start, trainer.counters.updates - first
        return {"ms": 1e3 * seconds / done, "compiled": trainer.engine.compile_seconds - compiled}

    turn(warm_up)
    for _ in sys.stdin:
        print(json.dumps(turn(updates)), flush=True)


def measure(environment: str, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """A row of each arm."""
    command = [sys.executable, __file__, environment, "--warm-up", str(arguments.warm_up)]
    command += ["--updates", str(arguments.updates), "--child"]
    children = {
        arm: subprocess.Popen(
            [*command, arm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for arm in ARMS
    }
    turns: list[dict[str, float]] = []
    for _ in range(arguments.turns):
        found = {}
        for arm, child in children.items():
            assert child.stdin
            assert child.stdout
            print(file=child.stdin, flush=True)
            found[arm] = json.loads(child.stdout.readline())
        if not any(each["compiled"] for each in found.values()):
            turns.append({arm: each["ms"] for arm, each in found.items()})
    for child in children.values():
        child.communicate()
    return [
        {
            **{"map": environment, "arm": arm, "cores": cores, "threads": threads},
            **{"pipeline": pipeline, "turns": len(turns)},
            "update_ms": round(float(np.median([turn[arm] for turn in turns])), 3),
            "ratio": round(float(np.median([turn["one core"] / turn[arm] for turn in turns])), 2),
            **{"machine": processor(), "commit": commit()},
        }
        for arm, (cores, threads, pipeline) in ARMS.items()
    ]


def main() -> None:
    """Measure the maps named on the command line and rewrite their rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--warm-up", type=int, default=400)
    parser.add_argument("--updates", type=int, default=200, help="of a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--child", choices=tuple(ARMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments.maps[0], arguments.child, arguments.warm_up, arguments.updates)
        return
    for environment in arguments.maps:
        for row in measure(environment, arguments):
            print(row, flush=True)
            put_row(TABLE, COLUMNS, ("map", "arm"), row)


if __name__ == "__main__":
    main()
