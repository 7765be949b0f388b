"""Draw how fast compact updates (kernels_update.csv) and layers (layers.csv) are, and how cost grows."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = {64: "#d55e00", 128: "#e69f00", 256: "#0072b2", 512: "#222222"}
LABELS = {
    "sparsity": "parameters of the two networks",
    "agents": "agents",
    "steps": "steps of an episode",
    "width": "width",
}


def rows_of(name: str) -> list[dict[str, str]]:
    """The rows of one table."""
    with (HERE / name).open(newline="") as file:
        return list(csv.DictReader(file))


def draw_speed() -> Path:
    """One panel per map: dense / compact over density, a line per width; dashed without padding to skip."""
    lines: dict[str, dict[tuple[int, str], list[tuple[float, float]]]] = defaultdict(dict)
    for row in rows_of("kernels_update.csv"):
        if row["instruction_set"] == "avx512":
            key = int(row["width"]), row["batch"]
            point = 100 * (1 - float(row["sparsity"])), float(row["cpu_ratio"])
            lines[row["map"]].setdefault(key, []).append(point)
    figure, panels = plt.subplots(
        1,
        len(lines),
        figsize=(4 * len(lines), 3.6),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axes, (name, found) in zip(panels[0], lines.items(), strict=True):
        for (width, batch), points in sorted(found.items()):
            density, ratio = zip(*sorted(points), strict=True)
            axes.plot(
                *(density, ratio),
                color=COLOURS[width],
                linestyle="-" if batch == "played" else "--",
                marker="o",
                markersize=3,
                label=f"width {width}" + ("" if batch == "played" else ", no padding"),
            )
        ratio_over_density(axes, name, [2.5, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 40])
        axes.legend(fontsize=7)
    panels[0][0].set_ylabel("dense XLA / compact, processor time")
    return save(figure, "kernels_update.png")


def ratio_over_density(axes: Any, title: str, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Both axes logarithmic with such ticks, and a line where neither is faster."""
    axes.axhline(1, color="#999999", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="active weights (%)", title=title)
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.set_yticks(ys, [f"{y:g}" for y in ys])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def draw_growth() -> Path:
    """One panel per sweep, milliseconds of an update."""
    sweeps: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_of("kernels_growth.csv"):
        sweeps[row["sweep"]].append(row)
    figure, panels = plt.subplots(1, len(LABELS), figsize=(13, 3), layout="constrained")
    for axes, (sweep, label) in zip(panels, LABELS.items(), strict=True):
        column = "parameters" if sweep == "sparsity" else sweep
        points = sorted((float(row[column]), float(row["cpu_ms"])) for row in sweeps[sweep])
        axes.plot(*zip(*points, strict=True), color="#d55e00", marker="o", markersize=3)
        axes.set(xlabel=label, ylim=(0, None), xlim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("ms of an update, processor time")
    return save(figure, "kernels_growth.png")


def draw_layers() -> Path:
    """One panel per kind of network: dense XLA / compact over density; dashed with a constant fan-in."""
    lines: dict[str, dict[tuple[int, int, str], list[tuple[float, float]]]] = defaultdict(dict)
    for row in rows_of("layers.csv"):
        if row["by"] == "ours" and row["pattern"] in ("unstructured", "fan-in"):
            key = int(row["width"]), int(row["batch"]), row["pattern"]
            point = 100 * float(row["density"]), float(row["ratio"])
            lines[f"{row['what']}, {row['pass']}"].setdefault(key, []).append(point)
    figure, panels = plt.subplots(
        1, len(lines), figsize=(4 * len(lines), 3.6), sharey=True, layout="constrained"
    )
    widths = sorted({width for found in lines.values() for width, *_ in found})
    for axes, (name, found) in zip(panels, lines.items(), strict=True):
        for (width, batch, pattern), points in sorted(found.items()):
            is_plain = pattern == "unstructured"
            axes.plot(
                *zip(*sorted(points), strict=True),
                color=("#0072b2", "#d55e00", "#222222")[widths.index(width)],
                linestyle="-" if is_plain else "--",
                marker={1: "o", 32: "s", 256: "^"}[batch],
                markersize=4,
                label=f"width {width}, batch {batch}" if is_plain else None,
            )
        ratio_over_density(axes, name, [1, 2, 5, 10, 20, 50], [1, 2, 5, 10, 20, 50])
    panels[0].legend(fontsize=7)
    panels[0].set_ylabel("dense XLA / compact")
    return save(figure, "layers.png")


def save(figure: Any, name: str) -> Path:
    """Write a picture beside its table."""
    path = HERE / name
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


if __name__ == "__main__":
    print(draw_speed(), draw_growth(), draw_layers())
