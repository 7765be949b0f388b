"""A study's tables as data: a line per group, beside the paper's numbers. Imports no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mast.studies.groups import Group, Panel, by_method
from mast.studies.paper_numbers import PaperNumber, paper_number
from mast.studies.statistics import (
    agreement,
    interquartile_mean,
    mean_over_tasks,
    probability_of_improvement,
    ratio_interval,
    stratified_interval,
)
from mast.training.statistics import SCORE_WINDOW, Interval

TOLERANCE = 0.03
"""Table 1's own: a sparsity is kept where MAST stays within 3 % of dense."""


FEWEST = 3
"""Seeds that an interval or a band is drawn from at least: the bootstrap of two knows three values."""


@dataclass(frozen=True)
class Line:
    """A group of a panel.

    Attributes:
        seeds: done and asked.
        mean: of the scores, with its interval.
        iqm: interquartile mean, with its interval.
        of_dense: mean over dense's mean, with its interval; None without dense, or where dense scores 0.
        over_dense, over_rigl: probability that a run is better than one of dense, or of RigL at the same
            sparsity; None where there is none, or a single run of either.
        paper: the paper's numbers.
        difference: ours minus theirs, in points of % of dense; None where one is missing.
        seconds: median processor time of a run; wall time where no group's is known, None where others' is.
    """

    group: Group
    seeds: tuple[int, int]
    mean: Interval
    iqm: Interval
    of_dense: Interval | None
    over_dense: Interval | None
    over_rigl: Interval | None
    paper: PaperNumber | None
    difference: float | None
    seconds: float | None


@dataclass(frozen=True)
class Ordering:
    """Whether the methods come in the paper's order.

    Attributes:
        ours, paper: labels from best to worst.
        agree, pairs: pairs in the same order, of those that are tied in neither.
        best_is_the_papers: whether the best is the paper's best.
    """

    ours: list[str]
    paper: list[str]
    agree: int
    pairs: int

    @property
    def best_is_the_papers(self) -> bool:
        """Whether the best group is the paper's."""
        return self.ours[0] == self.paper[0]


def lines_of(panel: Panel, table: str) -> list[Line]:
    """A line per group of a panel.

    Args:
        panel: with results.
        table: the paper's table to look numbers up in; "" for none.
    """
    return [_line(panel, group, table) for group in panel.groups]


def _line(panel: Panel, group: Group, table: str) -> Line:
    dense = panel.dense
    scores = group.numbers
    of_dense = None
    if dense is not None and panel.measure == "win rate" and dense.numbers.mean() > 0:
        of_dense = Interval(1.0, 1.0, 1.0)
        if group is not dense:
            of_dense = ratio_interval(scores, dense.numbers)
    paper = paper_number(table, group, any_arm=panel.is_only_arm(group))
    difference = None
    if paper is not None and of_dense is not None:
        difference = 100 * of_dense.mean - paper.of_dense
    return Line(
        group=group,
        seeds=(len(group.results), len(group.cells)),
        mean=stratified_interval([scores], mean_over_tasks),
        iqm=stratified_interval([scores], interquartile_mean),
        of_dense=of_dense,
        over_dense=_improvement(group, panel.rival(group, "dense")),
        over_rigl=_improvement(group, panel.rival(group, "rigl")),
        paper=paper,
        difference=difference,
        seconds=panel.seconds(group),
    )


def _improvement(group: Group, rival: Group | None) -> Interval | None:
    if rival is None or group is rival or min(len(group.numbers), len(rival.numbers)) < 2:
        return None
    return probability_of_improvement([group.numbers], [rival.numbers])


def ordering_of(lines: Sequence[Line]) -> Ordering | None:
    """Our order of the groups that the paper has too, dense left out; None for fewer than three."""
    known = [line for line in lines if line.paper is not None and not line.group.is_dense]
    if len(known) < 3:
        return None
    ours = [line.mean.mean for line in known]
    theirs = [line.paper.of_dense for line in known if line.paper is not None]
    agree, pairs = agreement(ours, theirs)
    labels = [line.group.label for line in known]
    return Ordering(_sorted(labels, ours), _sorted(labels, theirs), agree, pairs)


def _sorted(labels: Sequence[str], numbers: Sequence[float]) -> list[str]:
    """Labels from the largest number to the smallest; equal ones stay in their order."""
    order = sorted(range(len(labels)), key=lambda place: -numbers[place])
    return [labels[place] for place in order]


@dataclass(frozen=True)
class Arms:
    """The scores of a panel's methods under each arm, for a study that varies a setting of all of them.

    Attributes:
        names: of the arms, in the study's order; "" is the plain one.
        methods: with sparsity, in the study's order.
        groups: (method, arm) → those that have results.
        paper: method → the paper's % of dense.
        agreement: arm → pairs of methods in the paper's order, and of how many; without dense.
    """

    names: list[str]
    methods: list[str]
    groups: dict[tuple[str, str], Group]
    paper: dict[str, float]
    agreement: dict[str, tuple[int, int]]


def arms_of(panel: Panel, table: str) -> Arms | None:
    """The arms side by side; None where no two methods share one that has a name.

    Args:
        panel: with results.
        table: the paper's table whose order the methods are held to; "" for none.
    """
    groups = {(group.armless, group.arm): group for group in panel.groups}
    names = list(dict.fromkeys(group.arm for group in panel.groups))
    methods = list(dict.fromkeys(group.armless for group in panel.groups))
    counts = {name: sum(arm == name for _, arm in groups) for name in names if name}
    if len(names) < 2 or max(counts.values(), default=0) < 2:
        return None
    paper = {}
    for (method, _), group in groups.items():
        number = paper_number(table, group, any_arm=True) if table == "table1" else None
        if number is not None:
            paper[method] = number.of_dense
    agreed = {}
    for name in names:
        there = [
            (group.numbers.mean(), paper[method])
            for (method, arm), group in groups.items()
            if arm == name and method in paper and group.method != "dense"
        ]
        if len(there) > 1:
            ours, theirs = zip(*there, strict=True)
            agreed[name] = agreement(ours, theirs)
    return Arms(sorted(names, key=bool), methods, groups, paper, agreed)


def score_said(panel: Panel) -> str:
    """What a run's number is the mean of, as far as its results have so many evaluations."""
    counts = panel.evaluations
    if counts[0] >= SCORE_WINDOW:
        return f"its last {SCORE_WINDOW} evaluations"
    if counts[-1] < SCORE_WINDOW and len(counts) == 1:
        return "its only evaluation" if counts[0] == 1 else f"its {counts[0]} evaluations"
    return (
        f"its last {SCORE_WINDOW} evaluations, or of all where it has fewer (from {counts[0]} on)"
    )


@dataclass(frozen=True)
class Overall:
    """A method over all maps, scores in shares of dense's mean; intervals are stratified by map.

    Attributes:
        mean, iqm: over all maps.
        over_dense: probability that a run on a map drawn at random is better than one of dense.
    """

    method: str
    mean: Interval
    iqm: Interval
    over_dense: Interval | None


def over_all_maps(panels: Sequence[Panel]) -> list[Overall]:
    """A row per method that every panel has; empty for a single panel, or where one has no dense."""
    if len(panels) < 2:
        return []
    tasks = by_method(panels)
    dense = tasks.get("dense")
    return [
        Overall(
            method=name,
            mean=stratified_interval(scores, mean_over_tasks),
            iqm=stratified_interval(scores, interquartile_mean),
            over_dense=None
            if dense is None or name == "dense"
            else probability_of_improvement(scores, dense),
        )
        for name, scores in tasks.items()
    ]
