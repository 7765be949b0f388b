"""The pictures of a study, with matplotlib and without pyplot: nothing global, no window. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mast.studies.groups import Group, Panel, by_method
from mast.studies.report.tables import Line
from mast.studies.statistics import performance_profile, smoothed

COLOURS = {
    "dense": "#222222",
    "tiny": "#8c8c8c",
    "ss": "#56b4e9",
    "set": "#e69f00",
    "rigl": "#0072b2",
    "rlx2": "#009e73",
    "mast": "#d55e00",
    "random-ticket": "#cc79a7",
    "winning-ticket": "#7b4ea3",
    "magnitude": "#a0522d",
    "one-shot": "#6b8e23",
}
"""Okabe and Ito's colours first: they can be told apart by the colour-blind."""
PAPER_COLOUR = "#b8860b"
RESAMPLES = 1_000
_WIDTH = 8.0
_COLUMNS = 3
CROWDED = 7
"""Groups that one pair of axes can show; of more, each has its own."""


def learning_curves(panel: Panel, smooth: bool = False) -> Figure:
    """The measure over env steps: means over seeds with 95 % bootstrap bands.

    Args:
        panel: whose groups are lines.
        smooth: whether each curve goes through the paper's filter first.
    """
    known = {}
    for group in panel.groups:
        steps, values = group_curve(group, panel.measure.replace(" ", "_"))
        if len(steps):
            if smooth:
                values = np.array([smoothed(each) for each in values])
            known[group.label] = (group, steps / 1e6, _band(values))
    figure, places = _axes_of(list(known), 4.4)
    colours = colours_of(panel.groups)
    is_crowded = len(known) > CROWDED
    for label, (group, steps, (mean, low, high)) in known.items():
        axes = places[label]
        if is_crowded:
            for _, other_steps, (other, _, _) in known.values():
                axes.plot(other_steps, other, color="#dddddd", linewidth=0.6, zorder=1)
        axes.fill_between(steps, low, high, color=colours[label], alpha=0.15, linewidth=0)
        style = "--" if group.method == "dense" else "-"
        axes.plot(steps, mean, style, color=colours[label], linewidth=1.6, label=label)
        if panel.measure == "win rate":
            axes.set_ylim(0, 1)
        axes.set_xlim(left=0)
    what = f"greedy {panel.measure}"
    _name_axes(figure, places, f"{what}, filtered" if smooth else what)
    if not is_crowded:
        _legend(figure, figure.axes[0])
    return figure


def group_curve(group: Group, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column of a group's evaluations.

    Returns:
        env steps, [evaluations]; values, [seeds, evaluations]. Seeds are put together by the number of the
        evaluation, as far as the shortest goes.
    """
    curves = [result.curve for result in group.results]
    curves = [curve for curve in curves if name in curve]
    if not curves:
        return np.empty(0), np.empty((0, 0))
    length = min(len(curve["env_steps"]) for curve in curves)
    steps = np.mean([curve["env_steps"][:length] for curve in curves], axis=0)
    return steps, np.array([curve[name][:length] for curve in curves])


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds with its 95 % bootstrap interval at each evaluation."""
    rng = np.random.Generator(np.random.Philox(key=0))
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return values.mean(axis=0), low, high


def scores_of_dense(lines: Sequence[Line], paper: str) -> Figure:
    """Each group's score in % of dense with its interval; the paper's as diamonds.

    Args:
        lines: of one panel.
        paper: what the paper's marks are called.
    """
    known = [line for line in lines if line.of_dense is not None]
    figure, axes = _figure(1.1 + 0.34 * len(known))
    colours = colours_of([line.group for line in known])
    places = np.arange(len(known))[::-1]
    for place, line in zip(places, known, strict=True):
        assert line.of_dense is not None
        value, low, high = (100 * each for each in line.of_dense)
        colour = colours[line.group.label]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, place, "o", color=colour, markersize=7)
        if line.paper is not None and not line.group.is_dense:
            axes.plot(line.paper.of_dense, place, "D", mfc="none", mec=PAPER_COLOUR, markersize=7)
    axes.axvline(100, color="#222222", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [line.group.label for line in known])
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.set_xlabel("score in % of dense")
    axes.plot([], [], "o", color="#555555", label="here (SMAX), 95 % interval")
    if any(line.paper is not None for line in known):
        axes.plot([], [], "D", mfc="none", mec=PAPER_COLOUR, linestyle="", label=paper)
    _legend(figure, axes)
    return figure


def score_by_sparsity(panel: Panel) -> Figure | None:
    """Score over sparsity, a line per method; None where no method has two sparsities."""
    methods: dict[str, list[Group]] = {}
    for group in panel.groups:
        if not group.arm and group.method != "dense":
            methods.setdefault(group.method, []).append(group)
    if not any(len({group.sparsity for group in groups}) > 1 for groups in methods.values()):
        return None
    figure, axes = _figure(4.0)
    for method, groups in methods.items():
        ordered = sorted(groups, key=lambda group: group.sparsity)
        values = [_band(group.numbers[:, None]) for group in ordered]
        mean, low, high = (np.array([each[part][0] for each in values]) for part in range(3))
        axes.errorbar(
            [100 * group.sparsity for group in ordered],
            mean,
            yerr=np.abs([mean - low, high - mean]),
            color=COLOURS.get(method, "#555555"),
            marker="o",
            capsize=3,
            label=method,
        )
    if panel.dense is not None:
        axes.axhline(panel.dense.numbers.mean(), color="#222222", linestyle="--", label="dense")
    axes.set_xlabel("sparsity in %")
    axes.set_ylabel(panel.measure)
    _legend(figure, axes)
    return figure


def pareto(panel: Panel) -> Figure | None:
    """Score over time and over training FLOPs; the best for its cost is joined by a line.

    None where a group has no count of FLOPs.
    """
    known = [group for group in panel.groups if group.median("flops_train_ratio") is not None]
    if len(known) < 2:
        return None
    figure = Figure(figsize=(9, 4), layout="constrained")
    first, second = figure.subplots(1, 2, sharey=True)
    colours = colours_of(panel.groups)
    minutes = [panel.seconds(group) / 60 for group in known]
    what_time = "processor" if panel.time_is_cpu else "wall"
    flops = [group.median("flops_train_ratio") or 0.0 for group in known]
    scores = [float(group.numbers.mean()) for group in known]
    for axes, costs, what in (
        (first, minutes, f"{what_time} time of a run in minutes"),
        (second, flops, "FLOPs of training, share of dense"),
    ):
        _tidy(axes)
        axes.set_xlim(0, 1.08 * max(costs))
        front = pareto_front(costs, scores)
        axes.plot([costs[i] for i in front], [scores[i] for i in front], color="#bbbbbb", zorder=1)
        for group, cost, score in zip(known, costs, scores, strict=True):
            axes.plot(cost, score, "o", color=colours[group.label], markersize=8, label=group.label)
        axes.set_xlabel(what)
    first.set_ylabel(panel.measure)
    _legend(figure, first)
    return figure


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places that no other is both cheaper (or as cheap) and better than, by cost."""
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if not front or scores[place] > scores[front[-1]]:
            front.append(place)
    return front


def profiles(panels: Sequence[Panel]) -> Figure | None:
    """Performance profiles: the share of runs above each score in % of dense; None without dense."""
    tasks = by_method(panels)
    if len(tasks) < 2:
        return None
    figure, axes = _figure(4.0)
    thresholds = np.linspace(0, 1.2, 121)
    colours = dict(zip(tasks, map(_method_colour, tasks), strict=True))
    for name, scores in tasks.items():
        share, low, high = performance_profile(scores, thresholds)
        axes.plot(100 * thresholds, share, color=colours[name], label=name)
        axes.fill_between(100 * thresholds, low, high, color=colours[name], alpha=0.12, linewidth=0)
    axes.set_xlabel("score in % of dense (τ)")
    axes.set_ylabel("share of runs above τ")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _legend(figure, axes)
    return figure


def estimates(panel: Panel) -> Figure | None:
    """Estimated Q_tot and the return that followed, of greedy episodes (MAST Fig 5, with the truth).

    None where nothing was recorded.
    """
    return _recorded(
        panel,
        _with_diagnostics(panel),
        (
            ("-", "estimate: Q_tot", lambda record: _value(record["greedy"], "q_tot")),
            (
                ":",
                "truth: discounted return",
                lambda record: _value(record["greedy"], "discounted_return"),
            ),
        ),
        "mean over the same greedy steps",
        height=4.4,
    )


def overlaps(panel: Panel) -> Figure | None:
    """How much of the first mask, and of the mask before, is left at each evaluation: means over layers.

    None where no group that evolves was recorded.
    """
    return _recorded(
        panel,
        [group for group in _with_diagnostics(panel) if group.config.evolves],
        (
            ("-", "with the first mask", lambda r: _mean_layer(r.get("overlap_initial"))),
            (":", "with the evaluation before", lambda r: _mean_layer(r.get("overlap_previous"))),
        ),
        "share of active weights in both",
        height=4.0,
        top=1.02,
    )


def _with_diagnostics(panel: Panel) -> list[Group]:
    return [group for group in panel.groups if any(r.diagnostics for r in group.results)]


def _recorded(
    panel: Panel,
    groups: Sequence[Group],
    lines: Sequence[tuple[str, str, Callable[[dict[str, Any]], float]]],
    ylabel: str,
    *,
    height: float,
    top: float | None = None,
) -> Figure | None:
    """Numbers of the diagnostics against env steps, means over seeds; None without a group.

    Args:
        panel: whose colours the groups have.
        groups: with diagnostics.
        lines: of each its style, what it is, and its number in a record.
        ylabel: of all.
        height: of the figure (inches).
        top: of the axis that begins at 0; None leaves both to the numbers.
    """
    if not groups:
        return None
    figure, places = _axes_of([group.label for group in groups], height)
    colours = colours_of(panel.groups)
    for group in groups:
        axes = places[group.label]
        records = [result.diagnostics for result in group.results if result.diagnostics]
        length = min(map(len, records))
        steps = np.mean([[r["env_steps"] for r in each[:length]] for each in records], axis=0) / 1e6
        for style, _, number in lines:
            mean = np.mean([[number(r) for r in each[:length]] for each in records], axis=0)
            axes.plot(steps, mean, style, color=colours[group.label])
        if top is not None:
            axes.set_ylim(0, top)
    first = figure.axes[0]
    if len(groups) <= CROWDED:
        for group in groups:
            first.plot([], [], color=colours[group.label], label=group.label)
    for style, what, _ in lines:
        first.plot([], [], style, color="#555555", label=what)
    _name_axes(figure, places, ylabel)
    _legend(figure, first)
    return figure


def _mean_layer(layers: dict[str, float | None] | None) -> float:
    """The mean over layers; NaN where nothing was recorded."""
    known = [value for value in (layers or {}).values() if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _value(record: dict[str, float | None], name: str) -> float:
    value = record.get(name)
    return np.nan if value is None else float(value)


def colours_of(groups: Sequence[Group]) -> dict[str, str]:
    """Label → colour: the method's own where each method is there once, else from a scale per method."""
    colours: dict[str, str] = {}
    for method in dict.fromkeys(group.method for group in groups):
        labels = [group.label for group in groups if group.method == method]
        if len(labels) == 1 or method == "dense":
            colours |= dict.fromkeys(labels, COLOURS.get(method, "#555555"))
            continue
        scale = colormaps["viridis" if method == "mast" else "cividis"]
        for place, label in enumerate(labels):
            shade = scale(0.92 * place / max(1, len(labels) - 1))
            colours[label] = "#" + "".join(f"{round(255 * part):02x}" for part in shade[:3])
    return colours


def _method_colour(label: str) -> str:
    return COLOURS.get(label.partition(" ")[0], "#555555")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _axes_of(labels: Sequence[str], height: float) -> tuple[Figure, dict[str, Axes]]:
    """The axes of each label: one for all, or where that would be crowded one for each, titled."""
    if len(labels) <= CROWDED:
        figure, axes = _figure(height)
        return figure, dict.fromkeys(labels, axes)
    rows = -(-len(labels) // _COLUMNS)
    figure = Figure(figsize=(_WIDTH + 1.5, 0.6 + 1.7 * rows), layout="constrained")
    grid = list(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True).flat)
    for axes, label in zip(grid, labels, strict=False):
        _tidy(axes)
        axes.set_title(label, fontsize=8, loc="left")
    for axes in grid[len(labels) :]:
        axes.remove()
    for axes in grid[max(0, len(labels) - _COLUMNS) : len(labels)]:
        axes.tick_params(labelbottom=True)  # the lowest of each column
    return figure, dict(zip(labels, grid, strict=False))


def _name_axes(figure: Figure, places: dict[str, Axes], ylabel: str) -> None:
    """What is on both axes: said once, however many share them."""
    xlabel = "environment steps (millions)"
    if len(set(places.values())) > 1:
        figure.supxlabel(xlabel, fontsize=10)
        figure.supylabel(ylabel, fontsize=10)
    else:
        figure.axes[0].set_xlabel(xlabel)
        figure.axes[0].set_ylabel(ylabel)


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
