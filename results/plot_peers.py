"""Draw results/peers.csv: updates per processor second of each arm, a panel per map that JaxMARL plays."""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mast.studies.report.style import COLOURS as METHODS
from mast.studies.report.style import OTHER

HERE = Path(__file__).parent
NAMES = {
    "mast-compact": "Mast, 95 % sparse, compact",
    "mast-masked": "Mast, 95 % sparse, masked",
    "dense": "Mast, dense",
    "jaxmarl-short": "JaxMARL, sequences as ours",
    "jaxmarl-128": "JaxMARL, its 128 steps",
    "torch": "our loop, PyTorch learner",
}
COLOURS = {
    "mast-compact": METHODS["mast"],
    "mast-masked": METHODS["mast"],
    "dense": METHODS["dense"],
}


def main() -> None:
    """Write peers.png."""
    with (HERE / "peers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    maps = list(dict.fromkeys(row["map"] for row in rows if row["arm"] == "jaxmarl-short"))
    figure, panels = plt.subplots(1, len(maps), figsize=(4.6 * len(maps), 2.6), squeeze=False)
    for panel, scenario in zip(panels[0], maps, strict=True):
        speeds = {
            row["arm"]: float(row["updates_per_cpu_second"])
            for row in rows
            if row["map"] == scenario
        }
        arms = [arm for arm in reversed(NAMES) if arm in speeds]
        bars = panel.barh(
            [NAMES[arm] for arm in arms],
            [speeds[arm] for arm in arms],
            color=[COLOURS.get(arm, OTHER) for arm in arms],
        )
        panel.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
        panel.set_title(f"SMAX {scenario}", fontsize=9)
        panel.set_xlabel("updates per processor second, whole loop", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[0][1:]:
        panel.set_yticklabels([])
    figure.tight_layout()
    figure.savefig(HERE / "peers.png", dpi=120)


if __name__ == "__main__":
    main()
