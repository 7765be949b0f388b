"""What a GPU brings, in at most a few minutes: tests, runs side by side, a peer, and cells of a study.

    make gpu OUT=folder                       or, on a machine without a checkout's .venv:
    PYTHONPATH=src python benchmarks/gpu.py --out folder --jaxmarl path/to/JaxMARL
    JAX_PLATFORMS=cpu python benchmarks/gpu.py --dry --out folder      the same on a CPU, in small

Five parts, each of which may be left out (`--parts`), and none of which starts when its time is over:

- `tests`: `tests/gpu`.
- `patterns`: whether a sparse layer beats a dense one there (`gpu_patterns.py`).
- `runs`: one program of 1 to 64 runs of masked MAST-QMIX at 95 % on 3m; updates a second, of each run.
- `peer`: JaxMARL's QMIX, `vmap`ped over as many seeds, as `peer_jaxmarl.py` has it; needs its checkout.
- `cells`: cells of `table1-default`, five seeds a program, the longest first, until the time is over. Rows of
  finished cells are written; with `--only` those of other cells wait.

`patterns.csv` and `runs.csv` say what was measured and where; `studies/` has the cells' rows.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import commit

ROOT = Path(__file__).parent.parent
PARTS = ("tests", "patterns", "runs", "peer", "cells")
COUNTS = (1, 2, 4, 8, 16, 32, 64)
COLUMNS = (
    "program",
    "environment",
    "runs",
    "updates",
    "seconds",
    "updates_per_second_per_run",
    "env_steps_per_second_per_run",
    "compile_seconds",
    "device",
    "commit",
)
SEQUENCE = 32
"""Steps of a sequence that JaxMARL's learner reads: about as many as our batches have."""


def time_ours(count: int, rounds: int) -> dict[str, Any]:
    """Time `rounds` rounds of `count` runs in one program, after a warm-up that compiles everything."""
    from mast import Trainer, resolve

    settings = {
        "environment": "smax/3m",
        "method": "mast",
        "sparsity": 0.95,
        "execution": "masked",
        "seeds": count,
        "placement": "vmap",
        "epsilon_end": 1.0,
        "eval_interval": 10**9,
    }
    begun = time.perf_counter()
    trainer = Trainer(resolve(settings))
    each = iter(trainer)
    while trainer.counters.updates < 8 * rounds:  # the evolution's program too
        next(each)
    counters = trainer.counters

    def state() -> tuple[float, float, int, float]:
        steps = sum(run.counters.env_steps for run in trainer.runs) / count
        return time.perf_counter(), steps, counters.updates, trainer.engine.compile_seconds

    before = state()
    for _ in range(rounds):
        next(each)
    after = state()
    trainer.close()
    compiled = after[3] - before[3]
    return {
        "program": "mast-masked",
        "updates": after[2] - before[2],
        "seconds": after[0] - before[0] - compiled,
        "env_steps": after[1] - before[1],
        "compile_seconds": before[0] - begun,
    }


def time_jaxmarl(checkout: Path, count: int, rounds: int) -> dict[str, Any]:
    """The same of JaxMARL's loop over `count` seeds."""
    from peer_jaxmarl import JaxMarlLoop

    from mast.runtime import prepare

    prepare()
    begun = time.perf_counter()
    loop = JaxMarlLoop(checkout, "3m", SEQUENCE, 8, count)
    while not loop.counted[1]:  # its buffer fills first
        loop.run(2)
    start, before = time.perf_counter(), loop.counted
    loop.run(rounds)
    steps, updates = (b - a for a, b in zip(before, loop.counted, strict=True))
    return {
        "program": "jaxmarl",
        "updates": updates,
        "seconds": time.perf_counter() - start,
        "env_steps": steps,
        "compile_seconds": start - begun,
    }


def write_row(table: Path, count: int, found: dict[str, Any]) -> None:
    """Add a row, rates worked out, and print it."""
    import jax

    steps, seconds = found.pop("env_steps"), found["seconds"]
    row = {
        **found,
        "environment": "smax/3m",
        "runs": count,
        "seconds": f"{seconds:.3f}",
        "compile_seconds": f"{found['compile_seconds']:.1f}",
        "updates_per_second_per_run": f"{found['updates'] / seconds:.2f}",
        "env_steps_per_second_per_run": f"{steps / seconds:.1f}",
        "device": jax.devices()[0].device_kind,
        "commit": commit() or os.environ.get("COMMIT", ""),
    }
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)
    rate = row["updates_per_second_per_run"]
    print(f"{row['program']}, {count} runs: {rate} updates/s each", flush=True)


def over_counts(
    table: Path,
    counts: tuple[int, ...],
    ends: float,
    measure: Callable[[int], dict[str, Any]],
) -> None:
    """A row for every number of runs, the smallest first, until the time is over."""
    for count in counts:
        if time.perf_counter() > ends:
            print(f"{count} runs and more: no time left", flush=True)
            return
        write_row(table, count, measure(count))


def run_tests() -> None:
    """`tests/gpu`; what it prints is the result, a failure ends nothing else."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n0", "tests/gpu"]
    # Not the CPU that tests/conftest.py takes by default: what JAX finds.
    environment = {"JAX_PLATFORMS": "", **os.environ}
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    print(f"tests: exit code {code}", flush=True)


def run_patterns(out: Path) -> None:
    """`gpu_patterns.py`, for a minute at most."""
    script = Path(__file__).with_name("gpu_patterns.py")
    code = subprocess.run([sys.executable, str(script), "--out", str(out)]).returncode
    print(f"patterns: exit code {code}", flush=True)


def run_cells(out: Path, seconds: float, only: list[str]) -> None:
    """Cells of `table1-default` whose rows are not in the repository yet."""
    results = out / "studies"
    if not results.exists():
        # The rows there are, so that only what is missing is trained.
        (results / "table1-default").mkdir(parents=True)
        for row in (ROOT / "results" / "table1-default").glob("*"):
            (results / "table1-default" / row.name).write_bytes(row.read_bytes())
    command = [sys.executable, "-m", "mast", "study", "run", "table1-default", "--jobs", "1"]
    command += ["--placement", "vmap", "--budget", f"{max(1, int(seconds))}s", "--keep", "policy"]
    command += ["--results", str(results), "--work", str(out / "work")]
    for each in only:
        command += ["--only", each]
    print(f"cells: exit code {subprocess.run(command, cwd=ROOT).returncode}", flush=True)


def main() -> None:
    """Read the command line and run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--minutes", type=float, default=8, help="for all parts together")
    parser.add_argument("--counts", type=int, nargs="+", help="of runs in one program")
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of FLAIROx/JaxMARL")
    parser.add_argument("--only", action="append", default=[], help="as in mast study run")
    parser.add_argument("--dry", action="store_true", help="small: tries the script itself")
    arguments = parser.parse_args()
    ends = time.perf_counter() + 60 * arguments.minutes
    out = arguments.out.absolute()
    counts = tuple(arguments.counts or ((1, 2) if arguments.dry else COUNTS))
    rounds = 2 if arguments.dry else 25
    out.mkdir(parents=True, exist_ok=True)
    if "tests" in arguments.parts:
        run_tests()
    if "patterns" in arguments.parts:
        run_patterns(out)
    third = (ends - time.perf_counter()) / 4
    if "runs" in arguments.parts:
        until = time.perf_counter() + third
        over_counts(out / "runs.csv", counts, until, lambda count: time_ours(count, rounds))
    if "peer" in arguments.parts:
        if arguments.jaxmarl is None:
            print("peer: left out, --jaxmarl names no checkout", flush=True)
        else:
            checkout, until = arguments.jaxmarl.absolute(), time.perf_counter() + third
            over_counts(
                out / "runs.csv",
                counts,
                until,
                lambda count: time_jaxmarl(checkout, count, rounds),
            )
    if "cells" in arguments.parts:
        run_cells(out, ends - time.perf_counter(), arguments.only)


if __name__ == "__main__":
    main()
