"""Gather finished runs into results/: one row per run in runs.csv, its evaluations in curves/NAME.csv.

    python results/collect.py runs/3m-dense-s0 runs/3m-mast95-s0 ...

A run is named by its folder. Gathering it again replaces its row, so the file can be made as rows come.
"""

import csv
import json
import shutil
import sys
from pathlib import Path

from mast.configuration.record import processor, without_folders
from mast.training.logging import read_metrics
from mast.training.statistics import score

HERE = Path(__file__).parent
SETTINGS = ("environment", "algorithm", "method", "sparsity", "steps", "seed", "target_interval")
COLUMNS = (
    "name",
    *SETTINGS,
    "env_steps",
    "episodes",
    "updates",
    "seconds",
    "score",
    "best",
    "last_return",
    "git_commit",
    "jax",
    "jaxmarl",
    "cpu_count",
    "machine",
    "command",
)


def row_of(run: Path) -> dict[str, object]:
    """The row of one run; its score is the mean win rate of its last 20 evaluations."""
    record = json.loads((run / "config.json").read_text())
    rows = read_metrics(run)
    wins = [row["win_rate"] for row in rows]
    last = rows[-1]
    return {
        "name": run.name,
        **{name: record["settings"][name] for name in SETTINGS},
        **{name: last[name] for name in ("env_steps", "episodes", "updates")},
        "seconds": round(last["seconds"] or 0, 1),
        "score": score(wins),
        "best": max((win for win in wins if win is not None), default=None),
        "last_return": last["return"],
        "git_commit": record["git_commit"],
        "jax": record["versions"]["jax"],
        "jaxmarl": record["versions"]["jaxmarl"],
        "cpu_count": record["cpu_count"],
        "machine": record.get("machine", processor()),
        "command": without_folders(record["command"]),
    }


def main() -> None:
    """Read the runs named on the command line and rewrite runs.csv."""
    table = HERE / "runs.csv"
    rows = {}
    if table.exists():
        with table.open(newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
    for run in map(Path, sys.argv[1:]):
        rows[run.name] = row_of(run)
        shutil.copy(run / "metrics.csv", HERE / "curves" / f"{run.name}.csv")
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


if __name__ == "__main__":
    main()
