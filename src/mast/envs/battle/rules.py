"""What SMAX's battles do not have: medivacs that fly and heal, colossi whose beam hits several.

Every function is one rule, for one tick of a battle; units are rows, allies first.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.envs.battle.unit_types import (
    BEAM_DEPTH,
    BEAM_WIDTH,
    ENERGY_PER_SECOND,
    HEALTH_PER_ENERGY,
    HEALTH_PER_SECOND,
    MAX_ENERGY,
)


class Heal(NamedTuple):
    """What the medivacs did in a tick."""

    gained: Float[Array, " units"]
    """Health that each unit was given."""
    energy: Float[Array, " healers"]
    """What each medivac has left."""


def in_range(
    positions: Float[Array, "units 2"], ranges: Float[np.ndarray, " units"]
) -> Bool[Array, "units units"]:
    """Whether each unit (row) reaches each other (column); from centre to centre, as SMAX has it."""
    apart = jnp.linalg.norm(positions[:, None] - positions[None, :], axis=-1)
    return apart < ranges[:, None]


def can_target(
    reach: Bool[Array, "units units"],
    alive: Bool[Array, " units"],
    hurt: Bool[Array, " units"],
    may_hit: Bool[np.ndarray, "units units"],
    may_heal: Bool[np.ndarray, "units units"],
) -> Bool[Array, "units units"]:
    """Whom each unit (row) may aim its action at: what it can hit, or for a medivac whom it can heal.

    Args:
        reach: from `in_range`.
        alive: who lives.
        hurt: who is below full health.
        may_hit: by side and type alone, see `may_hit`.
        may_heal: likewise.
    """
    return reach & alive[:, None] & alive[None, :] & (may_hit | (may_heal & hurt[None, :]))


def may_hit(
    side: Int[np.ndarray, " units"],
    heals: Bool[np.ndarray, " units"],
    melee: Bool[np.ndarray, " units"],
    flies: Bool[np.ndarray, " units"],
) -> Bool[np.ndarray, "units units"]:
    """Which unit (row) may hit which (column): opponents, but nobody on foot's reach in the air.

    Args:
        side: 0 of allies, 1 of enemies.
        heals: medivacs have no weapon.
        melee: fight hand to hand, which does not reach those that fly.
        flies: who does.
    """
    opponents = side[:, None] != side[None, :]
    return opponents & ~heals[:, None] & ~(melee[:, None] & flies[None, :])


def may_heal(
    side: Int[np.ndarray, " units"], heals: Bool[np.ndarray, " units"]
) -> Bool[np.ndarray, "units units"]:
    """Which unit (row) may heal which (column): a medivac those of its side that are no medivacs."""
    return (side[:, None] == side[None, :]) & heals[:, None] & ~heals[None, :]


def beam_touches(
    shooter: Float[Array, "shooters 2"],
    target: Float[Array, "shooters 2"],
    positions: Float[Array, "units 2"],
    radii: Float[np.ndarray, " units"],
) -> Bool[Array, "shooters units"]:
    """Whom a colossus' beam touches: a rectangle through the target, across the line of fire.

    A unit is a circle. From straight on top of its target a colossus fires along x.

    Args:
        shooter: where the colossi are.
        target: where their targets are.
        positions: of all units.
        radii: of all units.
    """
    shot = target - shooter
    length = jnp.linalg.norm(shot, axis=-1, keepdims=True)
    # No quotient of components: a shot straight up or down is like any other.
    along = jnp.where(length > 0, shot / jnp.where(length > 0, length, 1.0), jnp.array([1.0, 0.0]))
    across = jnp.stack([-along[:, 1], along[:, 0]], axis=-1)
    apart = positions[None, :] - target[:, None]

    def beyond(
        direction: Float[Array, "shooters 2"], size: float
    ) -> Float[Array, "shooters units"]:
        place = jnp.einsum("sud,sd->su", apart, direction)
        return jnp.maximum(jnp.abs(place) - size / 2, 0.0)

    gap = jnp.hypot(beyond(along, BEAM_DEPTH), beyond(across, BEAM_WIDTH))
    return gap <= radii[None, :]


def heal(
    targets: Bool[Array, "healers units"],
    energy: Float[Array, " healers"],
    missing: Float[Array, " units"],
    seconds: float,
) -> Heal:
    """Heal for a tick: at most as fast as a medivac can, as its energy lasts, as health is missing.

    Energy returns in every tick, healing or not. Medivacs that heal the same unit share what is missing.

    Args:
        targets: whom each medivac heals, at most one.
        energy: of each medivac.
        missing: to the full health, of each unit.
        seconds: that a tick lasts.
    """
    offered = jnp.minimum(HEALTH_PER_SECOND * seconds, HEALTH_PER_ENERGY * energy)
    gifts = jnp.where(targets, offered[:, None], 0.0)
    total = gifts.sum(axis=0)
    taken = jnp.minimum(total, missing) / jnp.where(total > 0, total, 1.0)
    gifts = gifts * taken
    spent = gifts.sum(axis=1) / HEALTH_PER_ENERGY
    return Heal(
        gained=gifts.sum(axis=0),
        energy=jnp.minimum(energy - spent + ENERGY_PER_SECOND * seconds, MAX_ENERGY),
    )


def health_after(
    health: Float[Array, " units"],
    damage: Float[Array, " units"],
    healed: Float[Array, " units"],
    full: Float[np.ndarray, " units"],
) -> Float[Array, " units"]:
    """Health after a tick: damage goes first, nobody heals the dead, and nobody is healthier than full."""
    left = jnp.maximum(health - damage, 0.0)
    return jnp.where(left > 0, jnp.minimum(left + healed, full), 0.0)
