"""Size and FLOPs by `mast info` beside the numbers that the MAST paper prints in Table 1: a Markdown table.

python results/table1.py
"""

import csv
from importlib import resources

from mast.accounting.costs import account
from mast.algorithms.registry import BUILT_IN, algorithm_entry
from mast.envs.smac_sizes import smac_sizes
from mast.networks.spec import Sizes

ALGORITHMS = {"qmix": "qmix", "wqmix": "owqmix", "res": "res"}


def main() -> None:
    """A row per cell of the paper's table; each number as ours / theirs."""
    text = resources.files("mast").joinpath("data/table1.csv").read_text(encoding="utf-8")
    print("| algorithm | map | sparsity | size | FLOPs, training | FLOPs, acting |")
    print("|---|---|---|---|---|---|")
    for row in csv.DictReader(text.splitlines()):
        sizes = smac_sizes(f"smac/{row['map']}")
        team = Sizes(sizes.observation, sizes.state, sizes.actions, sizes.agents)
        name = ALGORITHMS[row["algorithm"]]
        entry, operator = algorithm_entry(name), BUILT_IN[name].defaults.get("operator", "max")
        ours = account(entry.networks(team), entry.uses(team, operator), float(row["sparsity"]))
        pairs = (
            (ours.size_ratio, row["total_size"]),
            (ours.flops_train_ratio, row["flops_train"]),
            (ours.flops_inference_ratio, row["flops_test"]),
        )
        cells = " | ".join(f"{mine:.4f} / {float(theirs):.3f}" for mine, theirs in pairs)
        print(f"| {row['algorithm']} | {row['map']} | {float(row['sparsity']):.0%} | {cells} |")


if __name__ == "__main__":
    main()
