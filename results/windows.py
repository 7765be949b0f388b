"""The table of docs/experiments.md: mean greedy win rate per window of env steps for each investigation run.

python results/windows.py results/investigation-2s3z/*.csv
"""

import csv
import sys
from pathlib import Path

WINDOWS = ((50, 100), (100, 150), (150, 200), (200, 250))
"""In thousands of env steps; from the first, before the second."""


def main() -> None:
    """Print one line per file."""
    for path in map(Path, sys.argv[1:]):
        with path.open(newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        cells = []
        for low, high in WINDOWS:
            wins = [r["win_rate"] for r in rows if low * 1000 <= r["env_steps"] < high * 1000]
            cells.append(f"{sum(wins) / len(wins):.2f} ({len(wins)})" if wins else "-")
        cut = 1 - sum(row["terminated"] for row in rows) / len(rows)
        print(path.stem, *cells, f"q_tot {rows[-1]['q_tot']:.1f}", f"cut {cut:.3f}", sep="\t")


if __name__ == "__main__":
    main()
