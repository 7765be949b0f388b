"""Updates per second of every algorithm on SMAX 3m, masked and (where there are kernels) compact.

    taskset -c 0 python benchmarks/algorithm_speed.py
    taskset -c 0 python benchmarks/algorithm_speed.py --only owqmix res

One batch of 32 really played episodes; all arms in one process, in turn; medians, and the ratio to
masked QMIX. A method is data, so within an algorithm and an execution all methods are as fast, but for
`tiny`, whose networks are narrower. Rows go to results/algorithm_speed.csv; with `--only`, those of these
algorithms' compact arms do, and the other rows stay.
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from update import played_batch

from mast import resolve
from mast.algorithms.registry import NAMES
from mast.configuration.record import processor
from mast.execution.account import sizes_of
from mast.execution.environment import environment_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.training.programs import CompactPrograms, MaskedPrograms, Programs

TABLE = Path(__file__).parent.parent / "results" / "algorithm_speed.csv"
ROUNDS = 25
COLUMNS = (
    "algorithm",
    "method",
    "execution",
    "cpu_ms",
    "per_second",
    "against_qmix_masked",
    "machine",
)


def arm(algorithm: str, method: str, execution: str, batch: Any) -> Callable[[], Any]:
    """One update, and the next, and so on."""
    config = resolve(
        {"environment": "smax/3m", "algorithm": algorithm, "method": method, "sparsity": 0.95}
    )
    learner = Learner(config, sizes_of(config, environment_of(config).spec))
    programs: Programs = (
        CompactPrograms(learner, threads=1)
        if execution == "compact"
        else MaskedPrograms(learner, vmapped=False)
    )
    held = [programs.begin(jax.jit(learner.init)(jax.random.key(0)))]
    numbers = method_from_config(config)

    def run() -> Any:
        held[0], metrics, _ = programs.update(held[0], batch, numbers, jnp.float32(0))
        return metrics.loss

    return run


def main() -> None:
    """Measure, and rewrite the table or some rows of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES)
    only = parser.parse_args().only
    batch = jax.device_put(played_batch("smax/3m"))
    arms = {
        (name, "mast", "masked"): None for name in ("iql", "vdn", "qmix", "owqmix", "cwqmix", "res")
    }
    arms |= {("qmix", "tiny", "masked"): None, ("owqmix", "tiny", "masked"): None}
    arms |= {("qmix", "tiny", "compact"): None}
    arms |= {(name, "mast", "compact"): None for name in NAMES}
    if only:
        arms = {key: None for key in arms if key[0] in {"qmix", *only} and key[1] == "mast"}
    made = {key: arm(*key, batch) for key in arms}
    spent: dict[Any, list[float]] = {key: [] for key in made}
    for run in made.values():
        jax.block_until_ready(run())
    for _ in range(ROUNDS):
        for key, run in made.items():
            start = time.process_time()
            jax.block_until_ready(run())
            spent[key].append(time.process_time() - start)
    medians = {key: float(np.median(times)) for key, times in spent.items()}
    base = medians["qmix", "mast", "masked"]
    rows = {}
    if only:
        with TABLE.open(newline="") as file:
            rows = {tuple(row[:3]): row for row in list(csv.reader(file))[1:]}
    for key, seconds in medians.items():
        row = [*key, round(1e3 * seconds, 3), round(1 / seconds, 1), round(base / seconds, 3)]
        print(row)
        if not only or (key[0] in only and key[2] == "compact"):
            rows[key] = [*row, processor()]
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows.values())


if __name__ == "__main__":
    main()
