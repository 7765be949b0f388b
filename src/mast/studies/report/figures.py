"""Scores as pictures: in % of dense, against sparsity, against what they cost, and as profiles. No JAX.

With matplotlib and without pyplot: nothing global, no window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mast.studies.groups import Group, Panel, by_method
from mast.studies.report.curves import Drawn, band
from mast.studies.report.style import (
    COLOURS,
    MARKERS,
    OTHER,
    SHARED,
    Style,
    colour_of,
    legend_below,
    new_figure,
    percent_ticks,
    plain,
    spread,
    styles_of,
)
from mast.studies.report.tables import Line
from mast.studies.statistics import FEWEST, performance_profile

PAPER_COLOUR = "#444444"


def scores_of_dense(lines: Sequence[Line], paper: str) -> Drawn:
    """Each group's score in % of dense with its interval and its seeds; the paper's as hollow diamonds.

    Args:
        lines: of one panel.
        paper: what the paper's marks are called.
    """
    known = [line for line in lines if line.of_dense is not None]
    dense = next(line.group.numbers.mean() for line in known if line.group.is_dense)
    figure, [axes] = new_figure(1.5 + 0.4 * len(known))
    styles = styles_of([line.group for line in known])
    places = np.arange(len(known))[::-1]
    for place, line in zip(places, known, strict=True):
        assert line.of_dense is not None
        value, low, high = (100 * each for each in line.of_dense)
        style = styles[line.group.label]
        if len(line.group.numbers) >= FEWEST and not line.group.is_dense:
            axes.plot([low, high], [place] * 2, color=style.colour, lw=2, solid_capstyle="butt")
        axes.plot(value, place, **style.marks, markersize=9)
        seeds = 100 * line.group.numbers / dense
        # Below the mean, so that none hides another.
        axes.plot(seeds, [place - 0.26] * len(seeds), "|", color=style.colour, markersize=7)
        if line.paper is not None and not line.group.is_dense:
            axes.plot(
                line.paper.of_dense, place + 0.26, "D", mfc="none", mec=PAPER_COLOUR, markersize=6
            )
    axes.axvline(100, color=COLOURS["dense"], linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(places, [plain(line.group.label) for line in known])
    axes.set_ylim(-0.7, len(known) - 0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("score in % of dense")
    axes.plot([], [], "o", color=OTHER, label="here (SMAX), mean")
    axes.plot([], [], "|", color=OTHER, label="each seed")
    has_paper = any(line.paper is not None and not line.group.is_dense for line in known)
    if has_paper:
        axes.plot([], [], "D", mfc="none", mec=PAPER_COLOUR, ls="", label=paper)
    legend_below(figure, axes)
    caption = "Scores in % of dense's mean score"
    if any(len(line.group.numbers) >= FEWEST for line in known):
        caption += f"; bars: 95 % bootstrap intervals, from {FEWEST} seeds on"
    caption += "; strokes: the seeds"
    if has_paper:
        caption += "; diamonds: the paper's, in % of its own dense"
    return Drawn(figure, caption + ".")


def score_by_sparsity(panel: Panel) -> Drawn | None:
    """Score over sparsity, a line per method and arm; None where no method has two sparsities.

    An arm that is measured at one sparsity has no line, unless it is all that there is of its method.
    """
    kinds: dict[str, list[Group]] = {}
    for group in panel.groups:
        if group.method != "dense":
            kinds.setdefault(group.short, []).append(group)
    lines = {
        name: groups
        for name, groups in kinds.items()
        if len(groups) > 1 or not groups[0].arm or panel.is_only_arm(groups[0])
    }
    if not any(len({group.sparsity for group in groups}) > 1 for groups in lines.values()):
        return None
    figure, [axes] = new_figure(4.4)
    styles = styles_of([groups[0] for groups in lines.values()])
    known = sorted({100 * group.sparsity for groups in lines.values() for group in groups})
    # All of one sparsity stay nearer to it than to the next.
    apart = min(0.25, 0.7 * min(np.diff(known)) / len(lines))
    has_bars = False
    for place, (name, groups) in enumerate(lines.items()):
        ordered = sorted(groups, key=lambda group: group.sparsity)
        # Methods stand beside each other, a little apart, so that none hides another.
        shift = apart * (place - (len(lines) - 1) / 2)
        xs = [100 * group.sparsity + shift for group in ordered]
        style = styles[groups[0].label]
        colour = style.colour
        means = [group.numbers.mean() for group in ordered]
        look = style.marks | {"linestyle": style.dashes}
        axes.plot(xs, means, **look, markersize=7, label=name)
        for x, group in zip(xs, ordered, strict=True):
            axes.plot([x] * len(group.numbers), group.numbers, "_", color=colour, markersize=6)
            if len(group.numbers) >= FEWEST:
                has_bars = True
                _, low, high = band(group.numbers[:, None])
                axes.plot([x, x], [low[0], high[0]], color=colour, linewidth=1.2)
    if panel.dense is not None:
        mean = panel.dense.numbers.mean()
        axes.axhline(mean, color=COLOURS["dense"], linestyle="--", label="dense")
    axes.set_xlabel("sparsity in %")
    axes.set_xticks(known, [f"{each:g}" for each in known])
    _score_axis(axes, panel)
    legend_below(figure, axes)
    bars = "; bars: 95 % bootstrap intervals" if has_bars else ""
    caption = f"Score against sparsity: means over seeds{bars}; strokes: the seeds."
    if len(lines) > 1:
        caption += " Methods are drawn a little apart."
    return Drawn(figure, caption)


def _score_axis(axes: Axes, panel: Panel) -> None:
    axes.set_ylabel(panel.measure)
    if panel.measure == "win rate":
        percent_ticks(axes.yaxis)


def pareto(panel: Panel) -> Drawn | None:
    """Score over time and over training FLOPs, each point named; the best for its cost joined by a line.

    None where a group has no count of FLOPs.
    """
    known = [group for group in panel.groups if group.median("flops_train_ratio") is not None]
    if len(known) < 2:
        return None
    height = max(4.2, 0.9 + 0.24 * len(known))
    figure, both = new_figure(height, columns=2)
    times = [(group, panel.seconds(group)) for group in known]
    minutes = [(group, seconds / 60) for group, seconds in times if seconds is not None]
    what_time = "processor" if panel.time_is_cpu else "wall"
    flops = [(group, group.median("flops_train_ratio") or 0.0) for group in known]
    styles = styles_of(known)
    has_line = False
    for axes, points, what in (
        (both[0], minutes, f"{what_time} time of a run in minutes"),
        (both[1], flops, "FLOPs of training, share of dense"),
    ):
        costs = [cost for _, cost in points]
        scores = [float(group.numbers.mean()) for group, _ in points]
        front = pareto_front(costs, scores)
        has_line = has_line or len(front) > 1
        axes.plot([costs[i] for i in front], [scores[i] for i in front], color="#aaaaaa", zorder=1)
        _named_points(axes, [group for group, _ in points], styles, costs, scores, height)
        axes.set_xlabel(what)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    percent_ticks(both[1].xaxis)
    _score_axis(both[0], panel)
    caption = "What a score costs: means over seeds."
    if has_line:
        caption += " The grey line joins those that nothing cheaper beats."
    caption += " FLOPs are counted by the paper's formulas; time is with the execution of each run"
    caption += ", where it is known." if len(minutes) < len(known) else "."
    return Drawn(figure, caption)


def _named_points(
    axes: Axes,
    groups: Sequence[Group],
    styles: Mapping[str, Style],
    costs: Sequence[float],
    scores: Sequence[float],
    height: float,
) -> None:
    """Points with their names beside them, moved apart, on the side where there is room."""
    right_end = 1.25 * max(costs)
    low, high = min(scores), max(scores)
    margin = 0.12 * (high - low) or 0.05
    axes.set_xlim(0, right_end)
    axes.set_ylim(low - margin, high + margin)
    gap = (high - low + 2 * margin) * 0.19 / (height - 0.9)
    for group, x, score, y in zip(groups, costs, scores, spread(scores, gap), strict=True):
        is_left = x > 0.55 * right_end
        style = styles[group.label]
        axes.plot(x, score, **style.marks, markersize=9, alpha=0.9)
        axes.annotate(
            plain(group.label),
            (x, score),
            (x + (-1 if is_left else 1) * 0.05 * right_end, y),
            color=style.colour,
            fontsize=9,
            ha="right" if is_left else "left",
            va="center",
            arrowprops={"arrowstyle": "-", "color": style.colour, "lw": 0.5, "shrinkB": 4},
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The places that no other is both cheaper (or as cheap) and better than, by cost."""
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], -scores[i])):
        if not front or scores[place] > scores[front[-1]]:
            front.append(place)
    return front


def profiles(panels: Sequence[Panel]) -> Drawn | None:
    """Performance profiles: the share of runs above each score in % of dense; None without dense."""
    tasks = by_method(panels)
    if len(tasks) < 2:
        return None
    figure, [axes] = new_figure(4.6)
    thresholds = np.linspace(0, 1.2, 121)
    fewest = min(len(each) for scores in tasks.values() for each in scores)
    has_bands = len(tasks) <= SHARED and fewest >= FEWEST
    for name, scores in tasks.items():
        share, low, high = performance_profile(scores, thresholds)
        method, colour = name.partition(" ")[0].rstrip(","), colour_of(name)
        dashes = "--" if method == "dense" else "-"
        axes.plot(
            100 * thresholds,
            share,
            dashes,
            color=colour,
            label=plain(name),
            marker=MARKERS.get(method),
            markevery=(7 * list(tasks).index(name) % 20, 20),
        )
        if has_bands:
            axes.fill_between(100 * thresholds, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xlim(0, 120)
    axes.set_xlabel("score in % of dense (τ)")
    axes.set_ylabel("share of runs above τ")
    percent_ticks(axes.yaxis)
    legend_below(figure, axes)
    maps = ", ".join(dict.fromkeys(panel.map for panel in panels))
    runs = sorted({sum(map(len, scores)) for scores in tasks.values()})
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    bands = ", with 95 % bootstrap bands" if has_bands else ""
    caption = f"Performance profiles on {maps}: {count} runs of each method{bands}."
    return Drawn(figure, caption)
