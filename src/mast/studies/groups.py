"""Results put together: seeds to groups, groups to panels (an environment and an algorithm). No JAX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mast.config import Config
from mast.studies.cell import Cell
from mast.studies.results import Result
from mast.studies.study import Study


@dataclass(frozen=True)
class Group:
    """Cells that differ in nothing but their seed.

    Attributes:
        cells: all that the study asks for.
        results: of those that are done.
    """

    cells: tuple[Cell, ...]
    results: tuple[Result, ...]

    @property
    def config(self) -> Config:
        """The settings of the first seed."""
        return self.cells[0].config

    @property
    def method(self) -> str:
        """The method's name."""
        return self.config.method

    @property
    def arm(self) -> str:
        """What it is called beside others of its method; "" where the method says it all."""
        return self.cells[0].arm

    @property
    def is_dense(self) -> bool:
        """Whether it is plain dense training, what sparse methods are measured by."""
        return self.method == "dense" and not self.arm

    @property
    def sparsity(self) -> float:
        """Share of weights that are zero (tiny: of those that it does not have)."""
        return self.config.sparsity

    @property
    def label(self) -> str:
        """Method, sparsity and arm, for tables and legends."""
        return f"{self.armless}, {self.arm}" if self.arm else self.armless

    @property
    def short(self) -> str:
        """Method and arm, for where one sparsity is known."""
        return f"{self.method}, {self.arm}" if self.arm else self.method

    @property
    def armless(self) -> str:
        """Method and sparsity: what the arms of a method have in common."""
        dense = self.method == "dense"
        return self.method if dense else f"{self.method} {100 * self.sparsity:g} %"

    @cached_property
    def numbers(self) -> np.ndarray:
        """The scores (or returns) of the seeds that are done, [seeds]."""
        return np.array([result.number for result in self.results], float)

    @property
    def is_complete(self) -> bool:
        """Whether every seed that was asked for is done."""
        return len(self.results) == len(self.cells)

    def median(self, name: str) -> float | None:
        """The median over seeds of a number of the rows; None where they have none."""
        values = [result.row.get(name) for result in self.results]
        known = [float(value) for value in values if value is not None]
        return float(np.median(known)) if known else None

    @property
    def seconds(self) -> float:
        """The median wall time of a run."""
        return float(np.median([result.seconds for result in self.results]))

    @property
    def cpu_seconds(self) -> float | None:
        """The median processor time of those runs of which it is known."""
        return self.median("cpu_seconds")


@dataclass(frozen=True)
class Panel:
    """The groups of one environment and algorithm that have results.

    Attributes:
        asked: how many groups the study asks for.
        groups: in the study's order.
    """

    environment: str
    algorithm: str
    groups: tuple[Group, ...]
    asked: int

    @property
    def title(self) -> str:
        """Algorithm and map."""
        return f"{self.algorithm} on {self.environment}"

    @property
    def map(self) -> str:
        """The environment's short name."""
        return self.groups[0].cells[0].map

    @property
    def evaluations(self) -> list[int]:
        """How many evaluations its results have, each number once, the fewest first."""
        results = (result for group in self.groups for result in group.results)
        return sorted({len(result.curve["env_steps"]) for result in results})

    @property
    def dense(self) -> Group | None:
        """What scores are normalised to: the first group of plain dense runs; None without any."""
        found = [group for group in self.groups if group.is_dense]
        return found[0] if found else None

    @property
    def measure(self) -> str:
        """What the numbers are: "win rate" or "return"."""
        return self.groups[0].results[0].measure.replace("_", " ")

    @property
    def time_is_cpu(self) -> bool:
        """Whether some group's processor time is known; wall time says little where cores were shared."""
        return any(group.cpu_seconds is not None for group in self.groups)

    def seconds(self, group: Group) -> float | None:
        """What a run of a group took: processor time, or wall time where no group's processor time is known.

        None where that of other groups is known and that of this one is not, as of several runs in one
        program on a GPU: the two kinds of time do not compare.
        """
        return group.cpu_seconds if self.time_is_cpu else group.seconds

    @property
    def identities(self) -> list[str]:
        """The environment's version and settings, one per kind that the results come from."""
        rows = (result.row for group in self.groups for result in group.results)
        return list(dict.fromkeys(str(row.get("environment", "unknown")) for row in rows))

    @property
    def names(self) -> dict[str, str]:
        """Label → name that is the same on every map: without the sparsity where the method has one only."""
        names = {}
        for group in self.groups:
            alike = [
                each for each in self.groups if (each.method, each.arm) == (group.method, group.arm)
            ]
            names[group.label] = group.short if len(alike) == 1 else group.label
        return names

    def is_only_arm(self, group: Group) -> bool:
        """Whether a group's method has no other arm here."""
        return {each.arm for each in self.groups if each.method == group.method} == {group.arm}

    def rival(self, group: Group, method: str) -> Group | None:
        """The plain group of another method to hold a group against, at the same sparsity if it has one."""
        for other in self.groups:
            same = other.method == method and not other.arm and other is not group
            if same and (method == "dense" or other.sparsity == group.sparsity):
                return other
        return None


def groups_of(study: Study, results: Iterable[Result]) -> list[Group]:
    """The study's groups in its order, those without a result among them."""
    found = {result.cell.key: result for result in results}
    cells: dict[str, list[Cell]] = {}
    for cell in study.cells:
        cells.setdefault(cell.group, []).append(cell)
    return [
        Group(tuple(each), tuple(found[cell.key] for cell in each if cell.key in found))
        for each in cells.values()
    ]


def panels_of(study: Study, results: Iterable[Result]) -> list[Panel]:
    """The study's panels that have a result, in its order."""
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in groups_of(study, results):
        key = (group.config.environment, group.config.algorithm)
        kinds.setdefault(key, []).append(group)
    panels = [
        Panel(*key, tuple(group for group in groups if group.results), len(groups))
        for key, groups in kinds.items()
    ]
    return [panel for panel in panels if panel.groups]


def by_method(panels: Sequence[Panel]) -> Mapping[str, list[np.ndarray]]:
    """Scores over dense's mean per panel, for every plain method that has all panels.

    A method with a single arm is taken for plain, such as tiny at a learning rate of its own.

    Returns:
        name → one array of normalised scores per panel: of the sparsity that the method has there, or, where
        it has several on some panel, of each that it has on all; empty where a panel has no dense.
    """
    if any(panel.dense is None or panel.dense.numbers.mean() <= 0 for panel in panels):
        return {}
    tasks: dict[str, list[np.ndarray]] = {}
    plain = {
        (group.method, group.arm): group
        for panel in panels
        for group in panel.groups
        if not group.arm or panel.is_only_arm(group)
    }
    for kind, group in plain.items():
        there = [_of_dense(panel, kind) for panel in panels]
        if all(len(scores) == 1 for scores in there):
            tasks[group.short] = [next(iter(scores.values())) for scores in there]
        else:
            for label in there[0]:
                if all(label in scores for scores in there):
                    tasks[label] = [scores[label] for scores in there]
    return tasks


def _of_dense(panel: Panel, kind: tuple[str, str]) -> dict[str, np.ndarray]:
    """Label → scores over dense's mean, of the groups of a method and arm."""
    assert panel.dense is not None
    reference = panel.dense.numbers.mean()
    alike = (group for group in panel.groups if (group.method, group.arm) == kind)
    return {group.label: group.numbers / reference for group in alike}
