"""Names for cells that would have the same one: by the settings in which their blocks differ. No JAX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.protocol import identity


@dataclass(frozen=True)
class Draft:
    """A cell before it is known whether its name is its own.

    Attributes:
        number: of its `[[cells]]` block, from 1.
        scalars: settings that the block itself gives one value; they may become its arm.
        is_named: whether the file names its arm.
    """

    cell: Cell
    number: int
    scalars: tuple[str, ...]
    is_named: bool


def told_apart(drafts: Iterable[Draft], earlier: Sequence[Cell], where: str) -> list[Cell]:
    """The cells that are new, each once, no two with the same name.

    Where two would have one, those that the file does not name get an arm of the settings that their own
    block gives and that differ: `drop_fraction = 0.1`, as a list would have made it.

    Args:
        drafts: of blocks.
        earlier: cells of the study that keep their names.
        where: the file, for messages.

    Raises:
        UserError: two cells still share a name.
    """
    known = {cell.key for cell in earlier}
    fresh: dict[str, Draft] = {}
    for draft in drafts:
        if draft.cell.key not in known:
            fresh.setdefault(draft.cell.key, draft)
    namesakes: dict[str, list[Cell]] = {}
    for cell in (*earlier, *(draft.cell for draft in fresh.values())):
        namesakes.setdefault(cell.called, []).append(cell)
    # All seeds of a group are called alike.
    arms: dict[str, str] = {}
    for draft in fresh.values():
        others = namesakes[draft.cell.called]
        if len(others) > 1 and not draft.is_named:
            words = _words(draft, others)
            if words:
                arms[draft.cell.group] = ", ".join([draft.cell.arm, *words]).removeprefix(", ")
    cells = []
    taken = {cell.called: cell for cell in earlier}
    for draft in fresh.values():
        cell = replace(draft.cell, arm=arms.get(draft.cell.group, draft.cell.arm))
        if cell.called in taken:
            raise UserError(f"{where}: cells {draft.number}: {_problem(cell, taken[cell.called])}")
        taken[cell.called] = cell
        cells.append(cell)
    return cells


def _words(draft: Draft, others: Sequence[Cell]) -> list[str]:
    """The settings of a cell's own block that some namesake has differently."""
    config = draft.cell.config
    return [
        f"{name} = {draft.cell.given[name]}"
        for name in draft.scalars
        if any(getattr(other.config, name) != getattr(config, name) for other in others)
    ]


def _problem(cell: Cell, other: Cell) -> str:
    """Which setting differs between two cells of one name, and what to write."""
    here, there = identity(cell.config), identity(other.config)
    name = next(each for each in sorted({*here, *there}) if here.get(each) != there.get(each))
    value, others = getattr(cell.config, name), getattr(other.config, name)
    return (
        f"two different cells are called {cell.called} ({name} is {value} and {others}); name one "
        f'in its block with arm = "{name} {value}", or among its arms with '
        f'{{ name = "{name} {value}", {name} = {json.dumps(value)} }}'
    )
