"""Where the units of a game are, for those who watch it: an environment may say, none has to."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

ALLY, ENEMY, LANDMARK = range(3)
"""Sides of `Scene.side`."""


@dataclass(frozen=True)
class Scene:
    """One episode on a plane; the first units are the agents, in their order."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    """What is shown; y grows upwards."""
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    """The type of each unit, for reports; "" where there are none."""
    side: tuple[int, ...]
    """`ALLY`, `ENEMY` or `LANDMARK`."""
    radius: tuple[float, ...]
    """In the units of the positions."""
    position: Float[np.ndarray, "moments units 2"]
    """x and y; of a unit that is gone, its last place."""
    health: Float[np.ndarray, "moments units"] | None
    """Shares of the full health, 0 for a unit that is gone; None where nobody has a health."""
    target: Int[np.ndarray, "steps agents"] | None
    """Which unit each agent's action is aimed at, -1 for none; None where nobody aims."""


@runtime_checkable
class Staged(Protocol):
    """An environment that can be watched on a plane."""

    def scene(self, state: Float[Any, "moments state"], action: Int[Any, "steps agents"]) -> Scene:
        """What one episode looked like.

        Args:
            state: the mixer's view (`TimeStep.state`) at the start and after every step.
            action: of every step.
        """
        ...
