"""The sizes of SMAC's maps, from the paper: SMAC itself needs StarCraft II, which Mast does not run.

Imports no JAX: `mast info smac/3s5z` counts size and FLOPs as the paper's Table 1 does.
"""

import csv
import difflib
from dataclasses import dataclass
from importlib import resources

from mast.errors import UserError

PREFIX = "smac/"


@dataclass(frozen=True)
class SmacSizes:
    """Features per observation and state, actions, agents; the state holds the last joint action."""

    id: str
    observation: int
    state: int
    actions: int
    agents: int

    @property
    def identity(self) -> str:
        """Stands above every number."""
        return f"SMAC {self.id.removeprefix(PREFIX)} (StarCraft II 4.10): sizes only, it cannot be played"


def smac_sizes(id: str) -> SmacSizes:
    """The sizes of a map by its id, "smac/3s5z".

    Raises:
        UserError: the paper has no such map.
    """
    table = resources.files("mast").joinpath("data/smac_dimensions.csv").read_text(encoding="utf-8")
    maps = {PREFIX + row["map"]: row for row in csv.DictReader(table.splitlines())}
    if id not in maps:
        near = difflib.get_close_matches(id, maps, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"unknown map {id}{hint}: one of {', '.join(maps)}")
    row = maps[id]
    return SmacSizes(
        id,
        observation=int(row["obs"]),
        state=int(row["state"]),
        actions=int(row["actions"]),
        agents=int(row["agents"]),
    )
