"""Every algorithm with every method on SMAX 3m: a short training each, its speed, size and FLOPs.

    taskset -c 0 python benchmarks/algorithms.py --steps 6000

Tickets and one-shot pruning begin with the same algorithm's runs of this table. Rows go to
results/algorithms.csv as they come; rows that are there are not trained again. `--table` prints it.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

from mast import Trainer, resolve
from mast.algorithms.registry import NAMES
from mast.config import METHODS
from mast.configuration.record import processor
from mast.execution.account import account_of

TABLE = Path(__file__).parent.parent / "results" / "algorithms.csv"
SOURCES = {"winning-ticket": "mast", "one-shot": "dense"}
COLUMNS = (
    "algorithm",
    "method",
    "sparsity",
    "steps",
    "updates",
    "updates_per_second",
    "parameters",
    "size_ratio",
    "flops_train_ratio",
    "flops_inference_ratio",
    "win_rate",
    "return",
    "loss",
    "q_tot",
    "machine",
)


def train(algorithm: str, method: str, steps: int, runs: Path) -> dict[str, Any]:
    """One training; its row."""
    out = runs / f"{algorithm}-{method}"
    given: dict[str, Any] = {
        "environment": "smax/3m",
        "algorithm": algorithm,
        "method": method,
        "sparsity": 0.95,
        "steps": steps,
        "epsilon_steps": steps,
        "eval_interval": steps,
        "threads": 1,
    }
    if method in SOURCES:
        source = runs / f"{algorithm}-{SOURCES[method]}"
        if not source.exists():
            train(algorithm, SOURCES[method], steps, runs)
        given["from_run"] = str(source)
    trainer = Trainer(resolve(given), out)
    for metrics in trainer:
        last = metrics
    summary = trainer.summary()
    account = account_of(trainer.config, trainer.environment.spec)
    return {
        "algorithm": algorithm,
        "method": method,
        "sparsity": trainer.config.sparsity,
        "steps": summary["env_steps"],
        "updates": summary["updates"],
        "updates_per_second": round(summary["updates_per_second"], 1),
        "parameters": account.parameters,
        "size_ratio": round(account.size_ratio, 4),
        "flops_train_ratio": round(account.flops_train_ratio, 4),
        "flops_inference_ratio": round(account.flops_inference_ratio, 4),
        "win_rate": summary["win_rate"],
        "return": round(summary["return"], 2),
        "loss": round(last.loss or 0.0, 4),
        "q_tot": round(last.loss_metrics.get("q_tot", 0.0), 3),
        "machine": processor(),
    }


def rows() -> list[dict[str, str]]:
    """What has been measured."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def print_table() -> None:
    """Methods by algorithm: updates per second, and size and training FLOPs as shares of dense."""
    cells = {(row["method"], row["algorithm"]): row for row in rows()}
    print("| method | " + " | ".join(NAMES) + " |")
    print("|---" * (len(NAMES) + 1) + "|")
    for method in METHODS:
        shown = [
            "{updates_per_second}/s · {size_ratio} · {flops_train_ratio}".format(**cells[key])
            if (key := (method, algorithm)) in cells
            else "-"
            for algorithm in NAMES
        ]
        print(f"| {method} | " + " | ".join(shown) + " |")


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print_table()
        return
    done = {(row["algorithm"], row["method"]) for row in rows()}
    with tempfile.TemporaryDirectory() as runs:
        for algorithm in NAMES:
            for method in METHODS:
                if (algorithm, method) in done:
                    continue
                row = train(algorithm, method, arguments.steps, Path(runs))
                new = not TABLE.exists()
                with TABLE.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    if new:
                        writer.writeheader()
                    writer.writerow(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
