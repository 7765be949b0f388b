"""The maps of SMAC that SMAX lacks, in SMAX's own terms."""

from collections.abc import Sequence

import jax.numpy as jnp

from mast.envs.battle.unit_types import NAMES, NEW
from mast.envs.jaxmarl_silent import MAP_NAME_TO_SCENARIO, Scenario


def scenario_of_units(allies: Sequence[str], enemies: Sequence[str]) -> Scenario:
    """A battle of these units, which start in two clouds a half of the map apart.

    Args:
        allies: the unit type of each, as "marine".
        enemies: likewise.
    """
    kinds = jnp.array([NAMES.index(name) for name in (*allies, *enemies)], jnp.uint8)
    return Scenario(kinds, len(allies), len(enemies), False, False)


def _bio(marauders: int, marines: int) -> list[str]:
    """One medivac comes last, as in SMAC."""
    return ["marauder"] * marauders + ["marine"] * marines + ["medivac"]


SCENARIOS: dict[str, Scenario] = {
    **MAP_NAME_TO_SCENARIO,
    "8m_vs_9m": scenario_of_units(["marine"] * 8, ["marine"] * 9),
    "MMM2": scenario_of_units(_bio(2, 7), _bio(3, 8)),
    "2c_vs_64zg": scenario_of_units(["colossus"] * 2, ["zergling"] * 64),
}
"""Jaxmarl's scenarios, which stay as they are, and ours."""


def has_new_types(scenario: Scenario) -> bool:
    """Whether SMAX itself cannot play this; the other maps stay jaxmarl's to the bit."""
    return bool((scenario.unit_types >= len(NAMES) - len(NEW)).any())
