"""Writes the table by which `--execution auto` chooses, from what benchmarks/update.py measured.

    python benchmarks/compact_speed.py

A row is an instruction set, a width and a density: how many times as fast as masked a compact update was, in
processor time, on batches as they are played; the worst of the maps measured.
"""

import csv
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "results" / "kernels_update.csv"
TABLE = ROOT / "src" / "mast" / "data" / "compact_speed.csv"


def main() -> None:
    """Rewrite the table."""
    worst: dict[tuple[str, int, float], float] = {}
    with MEASURED.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["batch"] != "played":
                continue
            density = round(1 - float(row["sparsity"]), 4)
            key = row["instruction_set"], int(row["width"]), density
            speedup = float(row["masked_cpu_ms"]) / float(row["compact_cpu_ms"])
            worst[key] = min(speedup, worst.get(key, speedup))
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("instruction_set", "width", "density", "speedup"))
        writer.writerows((*key, round(speedup, 2)) for key, speedup in sorted(worst.items()))


if __name__ == "__main__":
    main()
