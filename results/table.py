"""Print the scores of a map's runs as a Markdown table: python results/table.py smax/3m"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

ORDER = ("dense", "mast", "rigl", "set", "ss")


def cell(run: dict[str, str]) -> str:
    """A score, and how far the run came if it was stopped."""
    early = int(run["env_steps"]) < int(run["steps"])
    note = f" (stopped at {int(run['env_steps']) / 1e6:.2f}M)" if early else ""
    return f"{float(run['score']):.3f}{note}"


def main() -> None:
    """One row per method, one column per seed."""
    with (Path(__file__).parent / "runs.csv").open(newline="") as file:
        runs = [row for row in csv.DictReader(file) if row["environment"] == sys.argv[1]]
    groups = defaultdict(dict)
    for run in runs:
        groups[run["method"], float(run["sparsity"])][int(run["seed"])] = cell(run)
    seeds = sorted({int(run["seed"]) for run in runs})
    print("| method | " + " | ".join(f"seed {seed}" for seed in seeds) + " |")
    print("|---" * (len(seeds) + 1) + "|")
    for (method, sparsity), cells in sorted(
        groups.items(), key=lambda item: ORDER.index(item[0][0])
    ):
        name = method if method == "dense" else f"{method}, {sparsity:.0%} sparse"
        print(f"| {name} | " + " | ".join(cells.get(seed, "-") for seed in seeds) + " |")


if __name__ == "__main__":
    main()
