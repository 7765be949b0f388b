"""What ways of sharing cost an update of sparse QMIX, masked and compact, beside --sharing shared.

    taskset -c 0 python benchmarks/neuron_masks.py 3m 3s5z

The updates, batches and clocks are those of `update.py`, whose arms take turns in one process.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from machine import commit, processor
from update import compact_arm, medians, played_batch, xla_arm

from mast import resolve
from mast.configuration.record import without_folder
from mast.execution.account import sizes_of
from mast.execution.environment import environment_of
from mast.execution.learner import Learner
from mast.kernels import library

TABLE = Path(__file__).parent.parent / "results" / "neuron_masks.csv"
COLUMNS = (
    *("map", "sparsity", "sharing", "prune_ratio", "masked_ms", "compact_ms", "ratio"),
    *("masked_cpu_ms", "compact_cpu_ms", "instruction_set", "machine", "commit", "command"),
)
KINDS: dict[str, dict[str, Any]] = {
    "shared": {},
    "fups": {},
    "snp": {"prune_ratio": "0-0.1"},
    "snp+id": {"prune_ratio": "0.1-0.1"},
    "seps": {},
    "independent": {},
}
"""Ways of sharing, and what agents lack; those of SePS have three networks."""


def measure(name: str, sparsity: float, seconds: float) -> list[dict[str, Any]]:
    """A row for each way of sharing on one map."""
    given = {"environment": f"smax/{name}", "method": "rigl", "sparsity": sparsity}
    environment, batch = environment_of(resolve(given)), played_batch(f"smax/{name}")
    arms = {}
    for sharing, lacks in KINDS.items():
        config = resolve(given | lacks | {"sharing": sharing})
        learner = Learner(config, sizes_of(config, environment.spec))
        arms[f"masked {sharing}"] = xla_arm(learner, batch)
        arms[f"compact {sharing}"] = compact_arm(learner, batch)
    spent = medians(arms, seconds)
    rows = []
    for sharing, lacks in KINDS.items():
        masked, compact = spent[f"masked {sharing}"], spent[f"compact {sharing}"]
        rows.append(
            {
                "map": name,
                "sparsity": sparsity,
                "sharing": sharing,
                "prune_ratio": lacks.get("prune_ratio", ""),
                "masked_ms": round(masked.wall, 3),
                "compact_ms": round(compact.wall, 3),
                "ratio": round(masked.wall / compact.wall, 2),
                "masked_cpu_ms": round(masked.cpu, 3),
                "compact_cpu_ms": round(compact.cpu, 3),
                "instruction_set": library.active().instruction_set.name,
                "machine": processor(),
                "commit": commit(),
                "command": " ".join(map(without_folder, sys.argv)),
            }
        )
    return rows


def main() -> None:
    """Measure the maps that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--sparsity", type=float, default=0.95)
    parser.add_argument("--seconds", type=float, default=30.0, help="per map")
    arguments = parser.parse_args()
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in arguments.maps:
            for row in measure(name, arguments.sparsity, arguments.seconds):
                writer.writerow(row)
                print(row)
            file.flush()


if __name__ == "__main__":
    main()
