"""Draw results/ship.csv: microseconds per step of one agent, by width, density and way to run it."""

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
ARMS = {
    "c": ("exported C", "#0072b2"),
    "c dense": ("the same, dense C", "#999999"),
    "onnxruntime": ("onnxruntime", "#e69f00"),
    "jax": ("JAX", "#d55e00"),
    "pytorch": ("PyTorch", "#cc79a7"),
}
TICKS = (0.5, 1, 2, 5, 10, 20, 50)


def main() -> None:
    """One panel per width, one group of bars per density."""
    with (HERE / "ship.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    widths = sorted({int(row["width"]) for row in rows})
    figure, panels = plt.subplots(1, len(widths), figsize=(9, 3.6), layout="constrained")
    for axes, width in zip(panels, widths, strict=True):
        mine = {
            (float(row["density"]), row["arm"]): float(row["us_median"])
            for row in rows
            if int(row["width"]) == width
        }
        densities = sorted({density for density, _ in mine}, reverse=True)
        for place, (arm, (label, colour)) in enumerate(ARMS.items()):
            values = [mine.get((density, arm), float("nan")) for density in densities]
            places = [group + 0.16 * (place - 2) for group in range(len(densities))]
            bars = axes.bar(places, values, 0.15, color=colour, label=label)
            axes.bar_label(bars, [f"{value:.2g}" for value in values], fontsize=6, padding=1)
        axes.set_yscale("log")
        axes.set_yticks(TICKS, map(str, TICKS))
        axes.set_yticks([], minor=True)
        axes.set_ylim(0.8 * min(mine.values()), 1.4 * max(mine.values()))
        axes.set_xticks(range(len(densities)), [f"{density:.0%}" for density in densities])
        axes.set(title=f"width {width}", xlabel="weights that exist")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("µs per step, median")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        ncols=5,
        loc="outside upper center",
        fontsize=8,
        frameon=False,
    )
    figure.savefig(HERE / "ship.png", dpi=130)


if __name__ == "__main__":
    main()
