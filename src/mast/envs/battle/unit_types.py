"""SMAX's unit types with those that it lacks appended; SMAX's own keep SMAX's numbers.

Facts of StarCraft II 4.10, shields folded into health, in SMAX's clock (seconds of the "faster" speed).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from mast.envs.jaxmarl_silent import SMAX


@dataclass(frozen=True)
class NewUnitType:
    """A unit type as SMAX describes one: lengths in map units, times in seconds."""

    name: str
    shorthand: str
    velocity: float
    attack: float
    """Health that a shot removes from a target that is not light."""
    attack_range: float
    """Of a medivac: within which it heals."""
    sight_range: float
    radius: float
    health: float
    weapon_cooldown: float
    """Of a medivac: the largest energy, which is shown as a share where others show their cooldown."""


MAX_ENERGY = 200.0
START_ENERGY = 50.0
ENERGY_PER_SECOND = 0.5625
HEALTH_PER_SECOND = 9.0
HEALTH_PER_ENERGY = 3.0

BEAM_WIDTH, BEAM_DEPTH = 2.8, 0.3
"""Across the line of fire, and along it."""

MEDIVAC = NewUnitType("medivac", "v", 3.5, 0.0, 4.0, 11.0, 0.75, 150.0, MAX_ENERGY)
# Two beams of 10 each, 15 against light units; 200 health and 150 shield.
COLOSSUS = NewUnitType("colossus", "c", 3.15, 20.0, 7.0, 10.0, 1.0, 350.0, 1.07)
NEW = (MEDIVAC, COLOSSUS)

BONUS_VS_LIGHT = {"colossus": 10.0}
LIGHT = ("marine", "zealot", "zergling", "hydralisk")
MELEE = ("zealot", "zergling")
FLYING = ("medivac",)
HEALING = ("medivac",)
BEAMING = ("colossus",)

_SMAX = SMAX()
NAMES: tuple[str, ...] = (*_SMAX.unit_type_names, *(kind.name for kind in NEW))


def tables() -> dict[str, Any]:
    """The keyword arguments of `SMAX` that describe all types, the new ones last."""
    fields = {
        "unit_type_velocities": "velocity",
        "unit_type_attacks": "attack",
        "unit_type_attack_ranges": "attack_range",
        "unit_type_sight_ranges": "sight_range",
        "unit_type_radiuses": "radius",
        "unit_type_health": "health",
        "unit_type_weapon_cooldowns": "weapon_cooldown",
    }
    numbers = {
        table: jnp.concatenate(
            [
                getattr(_SMAX, table),
                jnp.array([getattr(kind, field) for kind in NEW], jnp.float32),
            ]
        )
        for table, field in fields.items()
    }
    shorthands = [*_SMAX.unit_type_shorthands, *(kind.shorthand for kind in NEW)]
    return {"unit_type_names": list(NAMES), "unit_type_shorthands": shorthands, **numbers}
