"""What one round of a loop came to."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mast.execution.learner import UpdateMetrics
from mast.training.rollout import Totals


class Round(NamedTuple):
    """Episodes that ended, and updates."""

    played: Mapping[str, np.ndarray]
    """Means over the episodes, one number per run; NaN where none ended."""
    updates: Sequence[UpdateMetrics]
    """What they tell; each stands for `updates_each`."""
    updates_each: int = 1


def means_of_episodes(totals: Totals, runs: int) -> dict[str, np.ndarray]:
    """Means of whole episodes, one number per run.

    Args:
        totals: of all runs.
        runs: how many there are.
    """
    of = {
        "train_return": totals.return_,
        "train_win_rate": totals.won,
        "train_length": totals.length,
    }
    return {
        name: np.asarray(values, np.float64).reshape(runs, -1).mean(1)
        for name, values in of.items()
    }
