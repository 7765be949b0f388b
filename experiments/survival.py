"""How many grown weights outlive the next evolution: python experiments/survival.py RUN...

Reads the mask snapshots of runs that kept one between any two evolutions, for instance

    mast train smax/2s3z --method mast --sparsity 0.95 --steps 800000 --snapshots 0,0.0085,0.017,... \\
        --learning-rate 0.005

and prints, per run and layer, the mean share of the weights that one evolution grew which the next one kept.
"""

import sys
from pathlib import Path

import numpy as np

from mast.diagnosis.snapshots import load_snapshot, snapshot_paths


def survival(run: Path) -> dict[str, tuple[float, int]]:
    """By layer: the mean share of grown weights that outlive the next evolution, and of how many."""
    snapshots = [load_snapshot(path)[1] for path in snapshot_paths(run)]
    found = {}
    for layer in snapshots[0]:
        changed = [snapshots[0][layer]]
        for each in snapshots[1:]:
            if (each[layer] != changed[-1]).any():
                changed.append(each[layer])
        shares = []
        for before, now, after in zip(changed, changed[1:], changed[2:], strict=False):
            grown = now & ~before
            shares.append((grown & after).sum() / grown.sum())
        if shares:
            found[layer] = (float(np.mean(shares)), len(shares))
    return found


def main() -> None:
    """A table, a column per run."""
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    runs = [Path(name) for name in sys.argv[1:]]
    tables = [survival(run) for run in runs]
    print("layer", *(run.name for run in runs), sep="\t")
    for layer in tables[0]:
        print(layer, *(f"{100 * t[layer][0]:.0f} % of {t[layer][1]}" for t in tables), sep="\t")


if __name__ == "__main__":
    main()
