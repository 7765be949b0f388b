"""Estimated values against what really followed, RigL at 95 % on 3m with max and with Soft Mellowmax.

    python results/plot_values.py

Reads values/*.csv (from the diagnostics.jsonl of runs with --diagnostics true) and draws values.png.
"""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

from mast.studies.report.style import COLOURS, OTHER

HERE = Path(__file__).parent
ARMS = (("max", "max with double-Q"), ("soft_mellowmax", "Soft Mellowmax (α 1, ω 10)"))
KINDS = (("greedy", "fresh greedy episodes"), ("replayed", "replayed episodes"))


def main() -> None:
    """One panel per kind of episodes."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, (kind, title) in zip(panels, KINDS, strict=True):
        for (name, label), colour in zip(ARMS, (OTHER, COLOURS["rigl"]), strict=True):
            with (HERE / "values" / f"3m-rigl95-{name}.csv").open(newline="") as file:
                rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
            steps = [row["env_steps"] / 1000 for row in rows]
            panel.plot(
                steps, [r[f"{kind}_q_tot"] for r in rows], color=colour, label=f"Q_tot, {label}"
            )
            panel.plot(
                steps,
                [r[f"{kind}_return"] for r in rows],
                color=colour,
                linestyle="--",
                label=f"return, {label}",
            )
        panel.set_title(title, loc="left", fontsize=11)
        panel.set_xlabel("thousand env steps")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean over the same steps")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle("SMAX 3m, QMIX, RigL at 95 %, one seed: estimate (solid) and truth (dashed)")
    figure.savefig(HERE / "values.png", dpi=110)


if __name__ == "__main__":
    main()
