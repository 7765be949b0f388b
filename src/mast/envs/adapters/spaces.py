"""Gymnasium's spaces, as PettingZoo and Gymnasium give them: observations as rows, actions as numbers."""

from typing import Any

import numpy as np
from gymnasium import spaces

from mast.errors import UserError


class Observed:
    """What one agent observes.

    Args:
        space: of its observations; of a dictionary with an "observation" and an "action_mask", as board games
            have it, the former.
    """

    def __init__(self, space: Any) -> None:
        is_masked = isinstance(space, spaces.Dict) and "action_mask" in space.spaces
        self._key = "observation" if is_masked and "observation" in space.spaces else None
        self._space = space[self._key] if self._key else space
        self.features = int(spaces.flatdim(self._space))

    def row(self, value: Any) -> np.ndarray:
        """An observation as numbers in a row, discrete ones one-hot."""
        inner = value[self._key] if self._key else value
        return np.asarray(spaces.flatten(self._space, inner), np.float32)

    @staticmethod
    def mask(value: Any, info: Any) -> Any:
        """Which actions an observation or its info says are available; None where neither does."""
        for said in (info, value):
            for name in ("action_mask", "avail_actions", "available_actions"):
                if isinstance(said, dict) and name in said:
                    return said[name]
        return None


def discrete(id: str, agent: str, space: Any) -> tuple[int, int]:
    """How many actions a space has, and the number of the first.

    Raises:
        UserError: it is not discrete.
    """
    if not isinstance(space, spaces.Discrete):
        raise UserError(f"{id}: {agent} acts in {space}; only Discrete actions can be learnt")
    return int(space.n), int(space.start)


def availability(mask: Any, actions: int) -> np.ndarray:
    """A row of booleans; of an agent that is said to have no action, its first."""
    row = np.ones(actions, bool) if mask is None else np.asarray(mask).astype(bool)
    if not row.any():
        row = np.arange(actions) == 0
    return row
