"""Numbers over env steps: learning curves, estimates against returns, overlap of masks. No JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mast.studies.groups import Group, Panel
from mast.studies.report.style import (
    COLOURS,
    OTHER,
    SHARED,
    axes_of,
    legend_below,
    name_axes,
    percent_ticks,
    plain,
    styles_of,
)
from mast.studies.statistics import CONFIDENCE, FEWEST, smoothed

RESAMPLES = 1_000


class Drawn(NamedTuple):
    """A figure and what it shows."""

    figure: Figure
    caption: str


def learning_curves(panel: Panel, smooth: bool = False) -> Drawn:
    """The measure over env steps: the mean over seeds, and a 95 % bootstrap band or the single seeds.

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
            known[group.label] = (group, steps, values)
    shared = len(known) <= SHARED
    figure, places = axes_of(list(known), shared=shared)
    styles = styles_of(panel.groups)
    dense = next((label for label, (group, *_) in known.items() if group.is_dense), None)
    banded = set()
    for label, (_, steps, values) in known.items():
        axes, style = places[label], styles[label]
        if not shared:
            _draw_others(axes, label, {name: each[1:] for name, each in known.items()}, dense)
        if shared and len(values) >= FEWEST:
            banded.add(label)
            _, low, high = band(values)
            axes.fill_between(steps, low, high, color=style.colour, alpha=0.15, linewidth=0)
        elif len(values) > 1:
            for each in values:
                axes.plot(steps, each, color=style.colour, alpha=0.55, linewidth=0.6)
        dashes = style.dashes if shared else "solid"
        mean = values.mean(axis=0)
        marker = "o" if len(steps) == 1 else "none"
        axes.plot(
            steps,
            mean,
            color=style.colour,
            linestyle=dashes,
            linewidth=1.8,
            marker=marker,
            label=plain(label),
        )
    for axes in set(places.values()):
        if panel.measure == "win rate":
            axes.set_ylim(0, 1)
            percent_ticks(axes.yaxis)
    measure = panel.measure if panel.measure.startswith("sampled") else f"greedy {panel.measure}"
    what = measure
    name_axes(figure, places, f"{what}, filtered" if smooth else what)
    if shared:
        legend_below(figure, figure.axes[0])
    values_of = {label: values for label, (_, _, values) in known.items()}
    caption = f"{measure.capitalize()} at each evaluation ({_evaluations(values_of)}). "
    caption += _lines_said(values_of, banded)
    if not shared and len(known) > 1:
        caption += " Grey: the means of the others" + ("; black: dense." if dense else ".")
    if smooth:
        caption += " Each run through the paper's filter (Savitzky-Golay, 21, 2)."
    return Drawn(figure, caption)


def _draw_others(
    axes: Axes, own: str, known: dict[str, tuple[np.ndarray, np.ndarray]], dense: str | None
) -> None:
    """The means of the other groups behind a group's own curves, dense's in its colour."""
    for label, (steps, values) in known.items():
        if label != own:
            is_dense = label == dense
            axes.plot(
                steps,
                values.mean(axis=0),
                color=COLOURS["dense"] if is_dense else "#dddddd",
                linewidth=0.8 if is_dense else 0.6,
                zorder=1.5 if is_dense else 1,
            )


def _evaluations(values: dict[str, np.ndarray]) -> str:
    """How many evaluations the curves have."""
    counts = [each.shape[1] for each in values.values()]
    few, many = min(counts), max(counts)
    return f"{few} of them" if few == many else f"{few} to {many} of them"


def _lines_said(values: dict[str, np.ndarray], banded: set[str]) -> str:
    """What the lines are: means with bands, means with their seeds, or single runs."""
    seeds = {label: len(each) for label, each in values.items()}
    parts = []
    if banded:
        parts.append("mean over seeds with a 95 % bootstrap band")
    if any(count > 1 for label, count in seeds.items() if label not in banded):
        parts.append("mean over seeds, thick, and each seed, thin")
    if any(count == 1 for count in seeds.values()):
        parts.append(
            "a single seed" if len(seeds) == 1 else "a single line where there is one seed"
        )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


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


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds with its 95 % bootstrap interval at each evaluation."""
    rng = np.random.Generator(np.random.Philox(key=0))
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = values[drawn].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return values.mean(axis=0), low, high


def estimates(panel: Panel) -> Drawn | None:
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
        "The team's estimate and the discounted return that followed on the same greedy steps",
    )


def overlaps(panel: Panel) -> Drawn | None:
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
        "How much of a mask is left: mean over layers",
        is_share=True,
    )


def _with_diagnostics(panel: Panel) -> list[Group]:
    return [group for group in panel.groups if any(r.diagnostics for r in group.results)]


def _recorded(
    panel: Panel,
    groups: Sequence[Group],
    lines: Sequence[tuple[str, str, Callable[[dict[str, Any]], float]]],
    ylabel: str,
    caption: str,
    *,
    is_share: bool = False,
) -> Drawn | None:
    """Numbers of the diagnostics against env steps, means over seeds; None without a group.

    Args:
        panel: whose colours the groups have.
        groups: with diagnostics.
        lines: of each its style, what it is, and its number in a record.
        ylabel: of all.
        caption: what is drawn, without a full stop; of how many seeds is added.
        is_share: whether the axis goes from 0 to 100 %; else the numbers choose.
    """
    if not groups:
        return None
    shared = len(groups) <= SHARED and len({group.method for group in groups}) == len(groups)
    figure, places = axes_of([group.label for group in groups], shared=shared)
    styles = styles_of(panel.groups)
    seeds = set()
    for group in groups:
        axes = places[group.label]
        records = [result.diagnostics for result in group.results if result.diagnostics]
        seeds.add(len(records))
        length = min(map(len, records))
        steps = np.mean([[r["env_steps"] for r in each[:length]] for each in records], axis=0)
        for style, _, number in lines:
            mean = np.mean([[number(r) for r in each[:length]] for each in records], axis=0)
            axes.plot(steps, mean, style, color=styles[group.label].colour)
        if is_share:
            axes.set_ylim(0, 1.02)
            percent_ticks(axes.yaxis)
    first = figure.axes[0]
    if shared:
        for group in groups:
            colour = styles[group.label].colour
            first.plot([], [], color=colour, label=plain(group.label))
    for style, what, _ in lines:
        first.plot([], [], style, color=OTHER, label=what)
    name_axes(figure, places, ylabel)
    legend_below(figure, first)
    few, many = min(seeds), max(seeds)
    if (few, many) == (1, 1):
        return Drawn(figure, f"{caption}; one seed.")
    count = f"{few}" if few == many else f"{few} to {many}"
    return Drawn(figure, f"{caption}; mean over {count} seeds.")


def _mean_layer(layers: dict[str, float | None] | None) -> float:
    """The mean over layers; NaN where nothing was recorded."""
    known = [value for value in (layers or {}).values() if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _value(record: dict[str, float | None], name: str) -> float:
    value = record.get(name)
    return np.nan if value is None else float(value)
