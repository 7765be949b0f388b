"""What of an agent still computes: units on a path from a feature to an action, by method and sparsity.

python results/connectivity.py RUNS > results/connectivity.csv, where RUNS holds runs with their policies.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

FIELDS = ("run", "method", "sparsity", "neurons", "units", "features", "actions")


def used(mask: dict[str, np.ndarray]) -> tuple[int, int, int, int]:
    """Neurons of the first layer, units of the GRU, features and actions that lie on a path.

    A unit's new state comes through its candidate: what only opens or shuts a gate is no path.
    """
    first, into, around, out = (mask[n] for n in ("fc1", "gru_input", "gru_hidden", "fc2"))
    units = first.shape[0]
    into, around = into[2 * units :], around[2 * units :]  # the candidate's rows
    told, heard = np.zeros(units, bool), out.any(0)
    for _ in range(units):  # each turn takes one more step along the recurrent matrix
        told = (into & first.any(1)).any(1) | (around & told).any(1)
        heard = heard | (around & heard[:, None]).any(0)
    both = told & heard
    neurons = (into & both[:, None]).any(0) & first.any(1)
    features = (first & neurons[:, None]).any(0)
    return neurons.sum(), both.sum(), features.sum(), (out & both).any(1).sum()


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(FIELDS)
    for run in sorted(Path(sys.argv[1]).glob("*/policy.safetensors")):
        settings = json.loads((run.parent / "config.json").read_text())
        weights = load_file(run)
        masks = {
            name: weights.get(f"{name}.mask", weights[f"{name}.weight"] != 0).astype(bool)
            for name in ("fc1", "gru_input", "gru_hidden", "fc2")
        }
        given = settings.get("settings", settings)
        writer.writerow([run.parent.name, given["method"], given["sparsity"], *used(masks)])
