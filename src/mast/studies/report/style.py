"""How every figure looks: a colour and a marker per method, ticks that people write, plain text. No JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mast.studies.groups import Group

COLOURS = {
    "dense": "#1a1a1a",
    "tiny": "#83849a",
    "ss": "#2894f0",
    "set": "#77287a",
    "rigl": "#0121c4",
    "rlx2": "#217c44",
    "mast": "#eb7200",
    "random-ticket": "#a2954a",
    "winning-ticket": "#c317c4",
    "magnitude": "#8f0a18",
    "one-shot": "#743744",
}
"""One colour per method in every figure; far apart for the colour-blind too, and dark enough on white."""
OTHER = "#555555"
"""What belongs to no method."""
MARKERS = {
    "dense": "s",
    "tiny": "v",
    "ss": "<",
    "set": "^",
    "rigl": "o",
    "rlx2": "P",
    "mast": "*",
    "random-ticket": ">",
    "winning-ticket": "p",
    "magnitude": "X",
    "one-shot": "h",
}
DASHES = ("solid", (0, (5.0, 2.0)), (0, (1.5, 1.5)), (0, (7.0, 2.0, 1.5, 2.0)))
"""One per arm of a method, the plain one first."""
WIDTH = 11.0
"""Inches of a figure; the page shows it as wide as its text."""
SHARED = 4
"""Groups that one pair of axes can show; of more, each has its own."""
_COLUMNS = 3


@dataclass(frozen=True)
class Style:
    """How a group is drawn: its method's colour and marker, its arm's dashes.

    Attributes:
        is_filled: markers of a method's first arm are filled, those of others hollow.
    """

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]
    is_filled: bool

    @property
    def marks(self) -> dict[str, Any]:
        """A marker without a line, as `Axes.plot` takes it."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markerfacecolor": self.colour if self.is_filled else "white",
            "markeredgecolor": self.colour,
            "linestyle": "none",
        }


def styles_of(groups: Sequence[Group]) -> dict[str, Style]:
    """Label → style. Arms of a method have its colour, so labels must tell more than four of them apart."""
    styles = {}
    for method in dict.fromkeys(group.method for group in groups):
        alike = sorted((g for g in groups if g.method == method), key=lambda g: bool(g.arm))
        for place, group in enumerate(alike):
            styles[group.label] = Style(
                colour_of(method), marker_of(method), DASHES[place % len(DASHES)], place == 0
            )
    return styles


def colour_of(method: str) -> str:
    """A method's colour, of a label such as "mast 95 %" too."""
    return COLOURS.get(method.partition(" ")[0].rstrip(","), OTHER)


def marker_of(method: str) -> str:
    """A method's marker."""
    return MARKERS.get(method, "D")


def plain(text: str) -> str:
    """A label as it is: `$` begins no formula."""
    return text.replace("$", r"\$")


def new_figure(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page, with axes side by side that share y."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    found = list(figure.subplots(1, columns, sharey=True, squeeze=False).flat)
    for axes in found:
        tidy(axes)
    return figure, found


def axes_of(labels: Sequence[str], *, shared: bool) -> tuple[Figure, dict[str, Axes]]:
    """The axes of each label: one for all, or one for each, titled.

    Args:
        labels: of the groups that are drawn.
        shared: whether all are drawn into one.
    """
    if shared:
        figure, [axes] = new_figure(4.6)
        return figure, dict.fromkeys(labels, axes)
    rows = -(-len(labels) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.8 + 2.1 * rows), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, label in zip(grid, labels, strict=False):
        tidy(axes)
        axes.set_title(plain(label), fontsize=10, loc="left")
    for axes in grid[len(labels) :]:
        axes.remove()
    for axes in grid[max(0, len(labels) - _COLUMNS) : len(labels)]:
        axes.tick_params(labelbottom=True)  # the lowest of each column
    return figure, dict(zip(labels, grid, strict=False))


def name_axes(figure: Figure, places: Mapping[str, Axes], ylabel: str) -> None:
    """What is on both axes: env steps along x, said once, however many share them."""
    xlabel = "environment steps"
    for axes in set(places.values()):
        axes.set_xlim(left=0)
        steps_ticks(axes.xaxis)
    if len(set(places.values())) > 1:
        figure.supxlabel(xlabel, fontsize=10)
        figure.supylabel(ylabel, fontsize=10)
    else:
        figure.axes[0].set_xlabel(xlabel)
        figure.axes[0].set_ylabel(ylabel)


def tidy(axes: Axes) -> None:
    """A light grid, no frame, round numbers."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        round_ticks(axis)


def round_ticks(axis: Axis) -> None:
    """At most six ticks, at multiples of 1, 2 or 5."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def percent_ticks(axis: Axis) -> None:
    """Shares as 20 %."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def steps_ticks(axis: Axis) -> None:
    """Environment steps as 200k or 1.5M."""

    def text(steps: float, _: int) -> str:
        largest = max(map(abs, axis.get_view_interval()))
        for unit, letter in ((1e6, "M"), (1e3, "k")):
            if largest >= unit and steps != 0:
                return f"{steps / unit:g}{letter}"
        return f"{steps:g}"

    axis.set_major_formatter(FuncFormatter(text))


def legend_below(figure: Figure, axes: Axes) -> None:
    """The legend under the axes, which keep the whole width."""
    handles, labels = axes.get_legend_handles_labels()
    texts = [plain(str(label)) for label in labels]
    columns = max(1, min(len(labels), 120 // (max(map(len, texts), default=1) + 6)))
    figure.legend(
        handles, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def spread(places: Sequence[float], gap: float) -> np.ndarray:
    """The nearest places, by least squares, that keep their order and are a gap apart.

    Args:
        places: where labels would like to be.
        gap: between two neighbours at least.
    """
    order = np.argsort(np.asarray(places, float), kind="stable")
    wanted = np.asarray(places, float)[order] - gap * np.arange(len(order))
    blocks: list[list[float]] = []  # of each block of touching labels its mean and size
    for value in wanted:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, size = blocks.pop()
            total = blocks[-1][1] + size
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * size) / total, total]
    flat = np.concatenate([np.full(int(size), mean) for mean, size in blocks] or [np.empty(0)])
    spaced = np.empty(len(order))
    spaced[order] = flat + gap * np.arange(len(order))
    return spaced
