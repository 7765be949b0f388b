"""Boards of level-based foraging, by name, without importing JAX.

    lbf/ROWSxCOLUMNS-Np-Mf[-levelsL,…][-foodL | -coop][-sightS]

`lbf/8x8-3p-2f` is the game that lbforaging calls Foraging-8x8-3p-2f; coop and sight mean what they do there.
"""

import re
from dataclasses import dataclass

from mast.errors import UserError

FORM = "lbf/ROWSxCOLUMNS-Np-Mf[-levelsL,L,...][-foodL or -coop][-sightS]"
"""How a board is named; the parts in square brackets may be left out, their order stays."""

NAMED = {
    "lbf1": "10x10-6p-6f-levels1,1,1,2,2,2-food3",
    "lbf2": "10x10-6p-6f-levels1,1,2,2,3,3-food4",
}
"""The boards of SNP-PS."""

DRAWN_LEVELS = (1, 2)
"""The smallest and the largest level of an agent where levels are drawn, as lbforaging registers it."""
LARGEST_LEVEL = 20
SIDE = (5, 100)
"""Cells of a board's side: at least, at most."""
NEIGHBOURS = 4
"""Agents that can stand beside a food."""

_NUMBER = r"[1-9]\d{0,3}"
_PATTERN = re.compile(
    rf"({_NUMBER})x({_NUMBER})-({_NUMBER})p-({_NUMBER})f"
    rf"(?:-levels({_NUMBER}(?:,{_NUMBER})*))?(?:-food({_NUMBER})|(-coop))?(?:-sight({_NUMBER}))?"
)


@dataclass(frozen=True)
class Board:
    """What a name says of a game of level-based foraging.

    Attributes:
        levels: of the agents, in their order; None where every episode draws them.
        food_level: of every food; None where every episode draws them, from 1 to the sum of the three lowest
            levels of the agents.
        coop: all foods have that largest level.
        sight: how many cells far an agent sees, in rows and columns.
    """

    rows: int
    columns: int
    agents: int
    foods: int
    levels: tuple[int, ...] | None
    food_level: int | None
    coop: bool
    sight: int

    @property
    def highest_agent(self) -> int:
        """The largest level that an agent can have."""
        return max(self.levels) if self.levels else DRAWN_LEVELS[1]

    @property
    def highest_food(self) -> int:
        """The largest level that a food can have."""
        if self.food_level is not None:
            return self.food_level
        return sum(sorted(self.levels or (DRAWN_LEVELS[1],) * self.agents)[:3])

    @property
    def reward_scale(self) -> float:
        """The factor that pays in food levels: those of all foods together, as large as they can be."""
        return float(self.foods * self.highest_food)

    @property
    def about(self) -> str:
        """In words, for `mast envs`."""
        levels = ",".join(map(str, self.levels)) if self.levels else "drawn"
        food = "drawn" if self.food_level is None else self.food_level
        return (
            f"{self.foods} foods of level {food}, agents of levels {levels}, "
            f"{self.rows} x {self.columns}"
        )


def board_of(name: str) -> Board:
    """The board that a name means.

    Args:
        name: what stands behind "lbf/": "lbf1", "8x8-3p-2f", "10x10-6p-6f-levels1,1,1,2,2,2-food3-sight3".

    Raises:
        UserError: it is none, or there cannot be such a board; one line.
    """
    found = _PATTERN.fullmatch(NAMED.get(name, name))
    if found is None:
        raise UserError(f'environment "lbf/{name}" must look like {FORM}; see: mast envs')
    rows, columns, agents, foods, levels, food, coop, sight = found.groups()
    board = Board(
        rows=int(rows),
        columns=int(columns),
        agents=int(agents),
        foods=int(foods),
        levels=tuple(map(int, levels.split(","))) if levels else None,
        food_level=int(food) if food else None,
        coop=coop is not None,
        sight=int(sight or max(int(rows), int(columns))),
    )
    wrong = _wrong(board)
    if wrong:
        raise UserError(f'environment "lbf/{name}": {wrong}')
    return board


def _wrong(board: Board) -> str | None:
    """What there cannot be on a board, and what can."""
    for what, side in (("rows", board.rows), ("columns", board.columns)):
        if not SIDE[0] <= side <= SIDE[1]:
            return f"{side} {what}, must be {SIDE[0]} to {SIDE[1]}"
    # A food must stay apart from others and from the edge: a fifth of the cells is all that ever fits.
    cells = board.rows * board.columns
    for what, count, most in (("p", board.agents, cells // 4), ("f", board.foods, cells // 10)):
        if count > most:
            return f"{count}{what}, must be at most {most} on {board.rows} x {board.columns}"
    levels = board.levels or (DRAWN_LEVELS[0],) * board.agents
    if len(levels) != board.agents:
        return f"{len(levels)} levels for {board.agents} agents, must be one each"
    if max(levels) > LARGEST_LEVEL:
        return f"level {max(levels)}, must be at most {LARGEST_LEVEL}"
    together = sum(sorted(levels)[-NEIGHBOURS:])
    if board.food_level is not None and board.food_level > together:
        return f"food{board.food_level}, must be at most {together}: all that fit beside one"
    farthest = max(board.rows, board.columns)
    if board.sight > farthest:
        return f"sight{board.sight}, must be at most {farthest}"
    return None
