"""Whether trainings still come out as they did: fresh runs of fixed seeds against stored ones. No JAX.

A change that alters nothing gives the same curves on the same machine. One that only rounds differently
gives others, as far apart as two seeds are; so what is held is the level: the mean win rate over the last
part of the training, in a band around that of the stored seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mast.studies.groups import Group
from mast.studies.results import Result

LAST_SHARE = 0.5
"""The part of the evaluations, from the end, that the level is the mean of."""
DEVIATIONS = 3.0
SMALLEST_BAND = 0.08
"""Win rates nearer than this are never called different: five of 64 games."""


@dataclass(frozen=True)
class Verdict:
    """One method's fresh runs against the stored ones.

    Attributes:
        fresh, stored: levels: mean win rate over the last half of the evaluations, over seeds.
        band: how far apart they may be.
        identical: whether every fresh curve equals the stored one of its seed.
    """

    label: str
    fresh: float
    stored: float
    band: float
    identical: bool

    @property
    def holds(self) -> bool:
        """Whether the fresh runs are inside the band."""
        return abs(self.fresh - self.stored) <= self.band


def level(result: Result) -> float:
    """The mean win rate of a run over the last half of its evaluations."""
    wins = result.curve["win_rate"]
    return float(wins[-max(1, round(LAST_SHARE * len(wins))) :].mean())


def band(stored: Sequence[float], fresh: int) -> float:
    """How far a mean of fresh seeds may be from that of the stored ones.

    Three standard deviations of the difference of the two means, with the spread of the stored seeds; not
    below `SMALLEST_BAND`.

    Args:
        stored: levels of the stored seeds.
        fresh: how many fresh seeds there are.
    """
    if len(stored) < 2:
        return SMALLEST_BAND
    spread = float(np.std(stored, ddof=1))
    return max(SMALLEST_BAND, DEVIATIONS * spread * float(np.sqrt(1 / len(stored) + 1 / fresh)))


def compare(stored: Group, fresh: Group) -> Verdict:
    """Holds fresh runs to the stored ones of the same settings."""
    levels = [level(result) for result in stored.results]
    now = [level(result) for result in fresh.results]
    by_seed = {result.cell.config.seed: result for result in stored.results}
    return Verdict(
        label=fresh.label,
        fresh=float(np.mean(now)),
        stored=float(np.mean(levels)),
        band=band(levels, len(now)),
        identical=all(
            _same(result, by_seed.get(result.cell.config.seed)) for result in fresh.results
        ),
    )


def _same(fresh: Result, stored: Result | None) -> bool:
    if stored is None or len(fresh.curve["win_rate"]) != len(stored.curve["win_rate"]):
        return False
    names = ("env_steps", "win_rate", "return", "q_tot")
    known = [name for name in names if name in fresh.curve and name in stored.curve]
    return all(
        np.array_equal(fresh.curve[name], stored.curve[name], equal_nan=True) for name in known
    )
