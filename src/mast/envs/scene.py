"""Where the units of a game are, for those who watch it: an environment may say, none has to."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from jaxtyping import Bool, Float, Int

from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError

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
    """Which unit each agent's action is aimed at, -1 for none; None where nobody aims. Whoever aims at its
    own side heals."""
    flies: tuple[bool, ...] | None = None
    """Which units are in the air; None where none is."""
    beam: tuple[float, ...] | None = None
    """How wide what each unit fires is at its target, across the line of fire, in the units of the positions;
    0 where it hits one unit only, None where all do."""
    labels: tuple[str, ...] | None = None
    """What stands in the circle of each unit; None: the numbers of their names."""
    present: Bool[np.ndarray, "moments units"] | None = None
    """Who is there at all: others are not drawn. None: all units, always."""
    cells: tuple[int, int] = (8, 8)
    """Columns and rows of the lines that help the eye."""


class Staged(Protocol):
    """An environment that can be watched on a plane."""

    def scene(self, state: Float[Any, "moments state"], action: Int[Any, "steps agents"]) -> Scene:
        """What one episode looked like.

        Args:
            state: the mixer's view (`TimeStep.state`) at the start and after every step.
            action: of every step.
        """
        ...


def is_staged(environment: object) -> TypeGuard[Staged]:
    """Whether an environment, or the one that it wraps (which isinstance would not see), can be watched."""
    return callable(getattr(environment, "scene", None))


def check_scene(scene: Scene, spec: EnvironmentSpec, steps: int) -> None:
    """Make sure that a scene is one of an episode.

    Args:
        scene: of any environment.
        spec: of that environment.
        steps: of the episode.

    Raises:
        UserError: a part of it has another length or shape.
    """
    units = len(scene.names)
    per_unit = ("kinds", "side", "radius", "flies", "beam")
    lengths = {
        name: len(getattr(scene, name)) for name in per_unit if getattr(scene, name) is not None
    }
    if scene.labels is not None:
        lengths["labels"] = len(scene.labels)
    wrong = [
        f"{name} has {length} entries, names {units}"
        for name, length in lengths.items()
        if length != units
    ]
    if units < spec.agents:
        wrong.append(f"names has {units} entries, must have at least those of {spec.agents} agents")
    for name, shape in (
        ("position", (steps + 1, units, 2)),
        ("health", (steps + 1, units)),
        ("target", (steps, spec.agents)),
        ("present", (steps + 1, units)),
    ):
        array: Any = getattr(scene, name)
        found = None if array is None else np.shape(array)
        if found != shape and not (found is None and name != "position"):
            wrong.append(f"{name} has shape {found}, must be {shape}")
    if wrong:
        raise UserError(f"{spec.id}: scene: {wrong[0]}; see docs/environments.md")
