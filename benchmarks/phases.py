"""Where the whole loop spends its processor time, of this checkout or of several in turn.

    taskset -c 1 python benchmarks/phases.py 3m 3s5z
    taskset -c 1 python benchmarks/phases.py 3m 27m_vs_30m --trees before=../old after=.

Each tree trains the same run (MAST-QMIX at 95 %, compact, one update per episode) in a process of its own;
the processes take turns, some updates each, and of each phase the median turn counts. Processor time, as
the core may have other work; a turn in which something was compiled is not counted. Rows go to
results/phases.csv.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tables import put_row

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "results" / "phases.csv"
PHASES = ("collect", "sample", "learn", "rest")
COLUMNS = (
    *("map", "algorithm", "tree", "turns", "updates", "env_steps"),
    *(f"{phase}_ms" for phase in PHASES),
    *("update_ms", "sample_share", "collect_share", "machine"),
)


def train(environment: str, algorithm: str, warm_up: int, updates: int) -> None:
    """A child's life: for each line on standard input, some updates, and where their time went."""
    from mast import Trainer, resolve

    settings = {
        **{"environment": f"smax/{environment}", "algorithm": algorithm, "method": "mast"},
        **{"sparsity": 0.95, "execution": "compact", "threads": 1},
        **{"eval_interval": 10**9, "checkpoint_interval": 1e7},
    }
    trainer = Trainer(resolve(settings))
    spent = dict.fromkeys(PHASES, 0.0)
    # Learning runs on beside the host, so its share is what is left; of the other phases only collecting
    # waits for work of other threads.
    clocks = {"collect": time.process_time}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        clock, host = clocks.get(name, time.thread_time), time.thread_time()
        start = clock()
        yield
        if name != "learn":
            spent[name] += clock() - start
        spent["phases"] += time.thread_time() - host

    trainer.meter.phase = phase  # type: ignore[method-assign]
    rounds, run = iter(trainer), trainer.runs[0]

    def turn(count: int) -> dict[str, float]:
        spent.update(dict.fromkeys((*PHASES, "phases"), 0.0))
        before = trainer.counters.updates, run.counters.env_steps, trainer.engine.compile_seconds
        start, host = time.process_time(), time.thread_time()
        while trainer.counters.updates < before[0] + count:
            next(rounds)
        whole, rest = time.process_time() - start, time.thread_time() - host - spent["phases"]
        return {
            **{"all": whole, "collect": spent["collect"], "sample": spent["sample"], "rest": rest},
            "learn": whole - spent["collect"] - spent["sample"] - rest,
            "updates": trainer.counters.updates - before[0],
            "env_steps": run.counters.env_steps - before[1],
            "compiled": trainer.engine.compile_seconds - before[2],
        }

    turn(warm_up)
    for _ in sys.stdin:
        print(json.dumps(turn(updates)), flush=True)


def measure(
    environment: str, algorithm: str, trees: dict[str, Path], arguments: argparse.Namespace
) -> Iterator[dict[str, object]]:
    """A row of each tree."""
    from mast.configuration.record import processor

    command = [sys.executable, __file__, environment, "--algorithms", algorithm, "--child"]
    command += ["--warm-up", str(arguments.warm_up), "--updates", str(arguments.updates)]
    children = {
        name: subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(tree.resolve() / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, tree in trees.items()
    }
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for _ in range(arguments.turns):
        for name, child in children.items():
            assert child.stdin
            assert child.stdout
            print(file=child.stdin, flush=True)
            found = json.loads(child.stdout.readline())
            if not found["compiled"]:
                turns[name].append(found)
    for name, child in children.items():
        child.communicate()
        each = turns[name]

        def per_update(what: str, each: list[dict[str, float]] = each) -> float:
            return 1e3 * float(np.median([turn[what] / turn["updates"] for turn in each]))

        phases = {phase: per_update(phase) for phase in PHASES}
        whole = per_update("all")
        yield {
            **{"map": environment, "algorithm": algorithm, "tree": name, "turns": len(each)},
            "updates": sum(turn["updates"] for turn in each),
            "env_steps": sum(turn["env_steps"] for turn in each),
            **{f"{phase}_ms": round(phases[phase], 4) for phase in PHASES},
            "update_ms": round(whole, 4),
            "sample_share": round(phases["sample"] / whole, 4),
            "collect_share": round(phases["collect"] / whole, 4),
            "machine": processor(),
        }


def main() -> None:
    """Measure the maps named on the command line and rewrite their rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--algorithms", nargs="+", default=["qmix"])
    parser.add_argument("--trees", nargs="+", default=["after=" + str(ROOT)], metavar="NAME=PATH")
    parser.add_argument("--warm-up", type=int, default=400)
    parser.add_argument("--updates", type=int, default=200, help="of a turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments.maps[0], arguments.algorithms[0], arguments.warm_up, arguments.updates)
        return
    trees = {name: Path(path) for name, path in (each.split("=", 1) for each in arguments.trees)}
    for environment in arguments.maps:
        for algorithm in arguments.algorithms:
            for row in measure(environment, algorithm, trees, arguments):
                print(row, flush=True)
                put_row(TABLE, COLUMNS, ("map", "algorithm", "tree"), row)


if __name__ == "__main__":
    main()
