"""Pictures of a run's inside: masks, connection counts, values against returns, density per agent.

matplotlib without pyplot: nothing global, no window system. Imports no JAX.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

DOTS = 100
"""Pixels per inch, so that a hundredth of an inch is a pixel."""
PAPER, KEPT, GROWN = "#f2f2ef", "#1b2a49", "#e66100"
"""No weight, a weight that the first snapshot has too, one that it has not; safe for the colour-blind."""
ESTIMATE, TRUTH = "#d55e00", "#0072b2"
KINDS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")
"""Okabe and Ito's colours, for unit types."""
_TITLE, _TEXT = 11, 9
_WIDEST = 1500
"""Pixels that a row of masks may take."""
_CELL = 190
"""Pixels that the two lines over a mask need."""


class Snapshot(NamedTuple):
    """The masks at one moment; `when` is how a picture calls it."""

    when: str
    masks: Mapping[str, Bool[np.ndarray, "..."]]


def draw_masks(snapshots: Sequence[Snapshot], layer: str, path: Path) -> None:
    """The masks of one layer, a panel per snapshot; inputs run along x, outputs along y (MAST Fig 10).

    Every weight is a square of the same whole number of pixels. Weights that the first snapshot lacks have a
    colour of their own. The networks of independent agents are rows of panels.

    Args:
        snapshots: earliest first.
        layer: leaf path, as in the masks.
        path: of the PNG.
    """
    stacks = [_stacked(each.masks[layer]) for each in snapshots]
    agents, outputs, inputs = stacks[0].shape
    scale = max(1, min(8, 300 // inputs, 620 // outputs))
    width, height = inputs * scale, outputs * scale
    cell = max(width, _CELL) + 26
    columns = max(1, min(len(snapshots), (_WIDEST - 60) // cell))
    bands = -(-len(snapshots) // columns) * agents
    left, top, band = 64, 58, height + 78
    size = (max(left + columns * cell, 420), top + bands * band + 10)
    plural = "" if outputs == 1 else "s"
    figure = canvas(size, f"{_short(layer)}: {outputs} output{plural} × {inputs} inputs")
    _legend_of_masks(figure, size, changed=any((s != stacks[0]).any() for s in stacks))
    for index, (snapshot, stack) in enumerate(zip(snapshots, stacks, strict=True)):
        row, column = divmod(index, columns)
        for agent in range(agents):
            x, y = left + column * cell, top + (row * agents + agent) * band + 42
            axes = figure.add_axes(box(size, x, y, width, height))
            whose = f"agent {agent}, " if agents > 1 else ""
            _draw_mask(axes, stack[agent], stacks[0][agent])
            axes.set_title(
                f"{snapshot.when}\n{whose}density {stack[agent].mean():.3f}",
                fontsize=_TEXT,
                loc="left",
                pad=3,
            )
            axes.set_xlabel("input", fontsize=_TEXT - 1, labelpad=1, loc="left")
            if _short(layer).rpartition(".")[2].startswith("gru"):
                _name_gates(axes, outputs, words=column == 0)
            elif column > 0:
                axes.set_yticklabels([])
            elif height > 50:
                axes.set_ylabel("output", fontsize=_TEXT - 1, labelpad=2)
    figure.savefig(path)


def draw_connections(snapshots: Sequence[Snapshot], layer: str, path: Path) -> None:
    """How many weights each output and each input has, sorted, a line per snapshot (MAST Fig 14).

    Args:
        snapshots: earliest first.
        layer: leaf path, as in the masks.
        path: of the PNG.
    """
    stacks = [_stacked(each.masks[layer]) for each in snapshots]
    agents, outputs, inputs = stacks[0].shape
    size = (1320, 46 + 320 * agents)
    figure = canvas(size, f"{_short(layer)}: connections, sorted")
    colours = colormaps["viridis_r"](np.linspace(0.15, 1, len(snapshots)))
    for agent in range(agents):
        for column, (axis, what) in enumerate(((1, "output"), (0, "input"))):
            axes = figure.add_axes(box(size, 60 + 650 * column, 66 + 320 * agent, 370, 240))
            for snapshot, stack, colour in zip(snapshots, stacks, colours, strict=True):
                counts = sorted_counts(stack[agent], axis)
                empty = int((counts == 0).sum())
                axes.step(
                    np.arange(len(counts) + 1),
                    [*counts, counts[-1]],
                    where="post",
                    color=colour,
                    linewidth=1.6,
                    label=f"{snapshot.when} ({empty} without)",
                )
            of = f"agent {agent}: " if agents > 1 else ""
            axes.set_title(f"{of}weights of each {what}", fontsize=_TEXT + 1, loc="left")
            axes.set_xlabel(f"{what}s, the best connected first", fontsize=_TEXT)
            axes.set_xlim(0, outputs if axis == 1 else inputs)
            axes.set_ylim(bottom=0)
            _plain(axes)
            axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.legend(fontsize=_TEXT, frameon=False, loc="upper left", bbox_to_anchor=(1, 1.03))
        figure.axes[-2].set_ylabel("active weights", fontsize=_TEXT)
    figure.savefig(path)


def sorted_counts(mask: Bool[np.ndarray, "outputs inputs"], axis: int) -> Int[np.ndarray, " n"]:
    """The number of active weights of each output (axis 1) or input (axis 0), descending."""
    return np.sort(mask.sum(axis))[::-1]


def draw_values(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Estimated Q_tot and the discounted return over env steps (MAST Fig 5, with the truth).

    Args:
        records: the lines of diagnostics.jsonl.
        path: of the PNG.
    """
    size = (980, 400)
    figure = canvas(size, "Q_tot and what really followed: means over the same steps")
    steps = [record["env_steps"] for record in records]
    of_all = []
    for column, (name, title) in enumerate(
        (
            ("greedy", "fresh greedy episodes"),
            ("replayed", "a replayed batch (older, ε-greedy policies)"),
        )
    ):
        axes = figure.add_axes(box(size, 62 + 480 * column, 74, 410, 270))
        for key, label, colour, style in (
            ("q_tot", "estimate: Q_tot", ESTIMATE, "-"),
            ("discounted_return", "truth: discounted return", TRUTH, "--"),
        ):
            values = [np.nan if r[name][key] is None else r[name][key] for r in records]
            of_all += values
            axes.plot(steps, values, style, color=colour, marker="o", markersize=3, label=label)
        axes.set_title(title, fontsize=_TEXT + 1, loc="left")
        _steps_axis(axes)
        _plain(axes)
    for axes in figure.axes:
        axes.set_ylim(*_range(of_all))
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(0.985, 1),
        ncols=2,
        fontsize=_TEXT,
        frameon=False,
    )
    figure.axes[0].set_ylabel("scaled reward", fontsize=_TEXT)
    figure.savefig(path)


def draw_densities(
    records: Sequence[Mapping[str, Any]], unit_types: Sequence[str], path: Path
) -> None:
    """The density of each agent's network over env steps, coloured by unit type.

    Args:
        records: the lines of diagnostics.jsonl, of independent networks.
        unit_types: of each agent.
        path: of the PNG.
    """
    size = (760, 420)
    figure = canvas(size, "Density of each agent's network")
    axes = figure.add_axes(box(size, 66, 64, 520, 300))
    steps = [record["env_steps"] for record in records]
    densities = np.array([record["density_per_agent"] for record in records])
    kinds = list(dict.fromkeys(unit_types))
    markers = "os^vD*Px"
    for agent, kind in enumerate(unit_types):
        axes.plot(
            steps,
            densities[:, agent],
            color=KINDS[kinds.index(kind) % len(KINDS)],
            marker=markers[agent % len(markers)],
            markersize=4,
            linewidth=1.3,
            label=f"{agent} {kind}".rstrip(),
        )
    axes.set_ylabel("share of its weights that is active", fontsize=_TEXT)
    axes.set_ylim(*_range(densities.ravel().tolist()))
    _steps_axis(axes)
    _plain(axes)
    axes.legend(
        title="agent",
        fontsize=_TEXT,
        title_fontsize=_TEXT,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    figure.savefig(path)


def in_words(env_steps: int) -> str:
    """A number of environment steps as titles say it."""
    return f"{env_steps:,} steps"


def _stacked(mask: np.ndarray) -> np.ndarray:
    """[agents, outputs, inputs], of a shared network one."""
    return mask if mask.ndim == 3 else mask[None]


def _short(layer: str) -> str:
    return layer.removesuffix(".weight")


def canvas(size: tuple[int, int], title: str) -> Figure:
    """An empty picture of so many pixels with its title."""
    figure = Figure(figsize=(size[0] / DOTS, size[1] / DOTS), dpi=DOTS, facecolor="white")
    figure.text(12 / size[0], 1 - 12 / size[1], title, fontsize=_TITLE, weight="bold", va="top")
    return figure


def box(
    size: tuple[int, int], x: int, y: int, width: int, height: int
) -> tuple[float, float, float, float]:
    """A rectangle in pixels from the top left, as matplotlib wants it."""
    return (x / size[0], 1 - (y + height) / size[1], width / size[0], height / size[1])


def _draw_mask(axes: Axes, mask: np.ndarray, first: np.ndarray) -> None:
    """0 = no weight, 1 = one that the first snapshot has, 2 = one that it has not."""
    kinds = mask.astype(np.uint8) + (mask & ~first)
    axes.imshow(
        kinds,
        cmap=ListedColormap([PAPER, KEPT, GROWN]),
        vmin=0,
        vmax=2,
        interpolation="nearest",
        aspect="auto",
        origin="upper",
    )
    axes.tick_params(labelsize=_TEXT - 2, length=2, pad=1)
    for axis, length in ((axes.xaxis, mask.shape[1]), (axes.yaxis, mask.shape[0])):
        axis.set_ticks(_ticks(length))
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#888888")


def _ticks(length: int) -> list[int]:
    """A few places of an axis of weights, the first among them."""
    step = next(s for s in (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2**30) if length / s <= 6)
    return list(range(0, length, step))


def _name_gates(axes: Axes, outputs: int, words: bool) -> None:
    """A GRU matrix is three gates, one below the other."""
    units = outputs // 3
    for boundary in (units, 2 * units):
        axes.axhline(boundary - 0.5, color="#888888", linewidth=0.8)
    axes.set_yticks([units * (gate + 0.5) - 0.5 for gate in range(3)])
    axes.set_yticklabels(["reset", "update", "new"] if words else [], rotation=90, va="center")
    axes.tick_params(axis="y", length=0)


def _legend_of_masks(figure: Figure, size: tuple[int, int], changed: bool) -> None:
    entries = [(KEPT, "active"), (PAPER, "no weight")]
    if changed:
        entries = [(KEPT, "active, as at first"), (GROWN, "grown since"), (PAPER, "no weight")]
    figure.legend(
        handles=[Patch(facecolor=c, edgecolor="#888888", lw=0.5, label=w) for c, w in entries],
        loc="upper left",
        bbox_to_anchor=(4 / size[0], 1 - 30 / size[1]),
        ncols=3,
        fontsize=_TEXT,
        frameon=False,
        handlelength=1,
        handleheight=1,
        columnspacing=1.5,
    )


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=_TEXT - 1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _steps_axis(axes: Axes) -> None:
    axes.set_xlabel("environment steps", fontsize=_TEXT)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold all values and 0, with a margin."""
    known = [value for value in values if np.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = 0.06 * (high - low) or 1.0
    return (low - margin if low < 0 else 0.0), high + margin
