"""The highest sparsity whose score stays near dense's, by bisection (the definition of Table 1). No JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mast.studies.groups import Group
from mast.studies.statistics import FEWEST, ratio_interval
from mast.training.statistics import Interval


@dataclass(frozen=True)
class Probe:
    """A sparsity that was tried.

    Attributes:
        of_dense: its mean score over dense's, with a 95 % interval over seeds.
        holds: whether the mean is within the tolerance.
        is_sure: whether the whole interval is on the same side; never with fewer than `FEWEST` seeds.
        seconds: of one core that its runs took.
    """

    sparsity: float
    of_dense: Interval
    holds: bool
    is_sure: bool
    seconds: float


@dataclass
class Search:
    """What a search found.

    Attributes:
        best: the highest sparsity that held; None if none did.
        probes: in the order in which they were tried.
        finished: whether the bisection came to its end.
    """

    best: float | None = None
    probes: list[Probe] = field(default_factory=list)
    finished: bool = False


def grid(low: float, high: float, resolution: float) -> list[float]:
    """The sparsities to search among, ascending from the low end; the high one too if a step meets it."""
    count = int(np.floor((high - low) / resolution + 1e-9))
    return [round(low + step * resolution, 6) for step in range(count + 1)]


def search(sparsities: Sequence[float], probe: Callable[[float], Probe | None]) -> Search:
    """Bisects ascending sparsities for the last that holds, as if none held above one that does not.

    Args:
        sparsities: ascending.
        probe: trains at a sparsity and judges it; None where it was stopped, which ends the search.
    """
    found = Search()
    holds, fails = -1, len(sparsities)
    while fails - holds > 1:
        middle = (holds + fails) // 2
        tried = probe(sparsities[middle])
        if tried is None:
            return found
        found.probes.append(tried)
        if tried.holds:
            holds, found.best = middle, sparsities[middle]
        else:
            fails = middle
    found.finished = True
    return found


def core_seconds(group: Group) -> float:
    """What a group's runs took of one core: processor time, or wall time where that is not known."""
    return sum(result.cpu_seconds or result.seconds for result in group.results)


def judge(group: Group, dense: Group, tolerance: float) -> Probe:
    """Whether a group stays within the tolerance of dense.

    Args:
        group: runs at one sparsity.
        dense: runs of dense, which must have scored above 0.
        tolerance: share of dense's score that may be missing.
    """
    interval = ratio_interval(group.numbers, dense.numbers)
    bound = 1 - tolerance
    return Probe(
        sparsity=group.sparsity,
        of_dense=interval,
        holds=interval.mean >= bound,
        # A single seed has an interval of no width, and two know three values.
        is_sure=min(len(group.numbers), len(dense.numbers)) >= FEWEST
        and (interval.low >= bound or interval.high < bound),
        seconds=core_seconds(group),
    )
