"""A study: a list of cells, read from a short file. Imports no JAX.

The file is TOML. `[settings]` holds for every cell; each `[[cells]]` block is a product: a list in the place
of a value makes a cell for each of its values. `arms` is a list of tables for settings that change together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mast.config import Config, resolve
from mast.configuration.explain import one_line
from mast.configuration.suggestions import did_you_mean, did_you_mean_setting
from mast.configuration.text import ALIASES, RATIOS
from mast.errors import UserError
from mast.studies.arm_names import Draft, told_apart
from mast.studies.cell import PLAIN, SOURCE_PREFIX, Cell
from mast.studies.statements import Statement, read_statements

HEAD = ("title", "paper", "about", "table", "seeds", "settings", "cells", "statements")
"""What a study's file may hold."""
BLOCK = ("seeds", "arms", "arm", "from", "masks")
"""What a `[[cells]]` block may hold beside settings."""
TABLES = ("table1", "table2", "table3", "table8")
"""The paper's tables whose numbers can stand beside a study's."""
AXES = ("environment", "algorithm", "method", "sparsity", "seed")
"""Settings that a cell's name says by itself; others that a block varies become its arm."""
MOST_SEEDS = 1000
"""Of a block's cells."""
_NOT_IN_A_CELL = ("seeds", "placement", "threads", "execution", "from_run")


@dataclass(frozen=True)
class Study:
    """A list of cells and what they are for.

    Attributes:
        name: of the study and of its folder below `results/`.
        title: one line.
        paper: which table or figure of which paper; "" for one's own.
        about: what the protocol is and why, in sentences.
        table: the paper's table whose numbers stand beside ours; "" for none.
        statements: what the paper says in words of what the study shows.
        cells: each once, in the file's order.
    """

    name: str
    title: str
    cells: tuple[Cell, ...] = field(repr=False)
    paper: str = ""
    about: str = ""
    table: str = ""
    statements: tuple[Statement, ...] = ()

    def named(self) -> dict[str, str]:
        """What it is, for JSON."""
        return {"study": self.name, "title": self.title, "paper": self.paper}

    def chosen(self, only: Mapping[str, Sequence[str]]) -> tuple[Cell, ...]:
        """The cells whose settings are among those named.

        Args:
            only: setting (or map, arm) → the values to keep, as text.

        Raises:
            UserError: no such setting, or no cell has any of the values.
        """
        cells = self.cells
        for name, wanted in only.items():
            known = ["map", "arm", *Config.model_fields]
            if name not in known:
                raise UserError(
                    f"--only {name}: no such setting{did_you_mean_setting(name, known)}"
                )
            have = list(dict.fromkeys(cell.value(name) for cell in self.cells))
            if have == [PLAIN] and name == "arm":
                raise UserError(f"--only arm: no cell of study {self.name} has an arm")
            for value in wanted:
                if _same(name, value, have) is None:
                    raise UserError(f"{name} = {value}: study {self.name} has {', '.join(have)}")
            values = {_same(name, value, have) for value in wanted}
            cells = tuple(cell for cell in cells if cell.value(name) in values)
        if not cells:
            raise UserError(f"no cell of study {self.name} is left by what was chosen")
        return cells


def _same(name: str, value: str, have: Sequence[str]) -> str | None:
    """The one of these texts that means the same, as 500000 and 5e5 do, or fups+id and shared."""
    value = ALIASES.get(name, {}).get(value, value)
    if value in ("True", "False"):
        value = value.lower()
    numbers = _numbers(name, value)
    for each in have:
        if value == each or (numbers is not None and numbers == _numbers(name, each)):
            return each
    return None


def _numbers(name: str, value: str) -> tuple[float, ...] | None:
    """The numbers that a text is made of; None where it is not made of numbers."""
    try:
        return tuple(float(each) for each in (value.split("-") if name in RATIOS else [value]))
    except ValueError:
        return None


def read_study(name: str, content: Mapping[str, Any], where: str) -> Study:
    """The study that a file describes.

    Args:
        name: of the study.
        content: of the TOML file.
        where: the file, for messages.

    Raises:
        UserError: the first thing that is wrong, in one line.
    """
    for key in content:
        if key not in HEAD:
            raise UserError(f"{where}: unknown entry {key!r}{did_you_mean(key, HEAD)}")
    shared = content.get("settings", {})
    blocks = content.get("cells")
    if not isinstance(shared, Mapping):
        raise UserError(f"{where}: settings: must be a table of settings")
    if not isinstance(blocks, list) or not blocks:
        raise UserError(f"{where}: cells: must be at least one [[cells]] block")
    table = content.get("table", "")
    if table not in ("", *TABLES):
        raise UserError(f"{where}: table = {table}: must be one of {', '.join(TABLES)}")
    seeds = content.get("seeds", 4)
    # Blocks that begin with another cell come last: the other one may stand below them.
    for number, block in enumerate(blocks, 1):
        if not isinstance(block, Mapping):
            raise UserError(f"{where}: cells {number}: must be a table")
    numbered = list(enumerate(blocks, 1))
    cells: list[Cell] = []
    for with_source in (False, True):
        drafts = []
        for number, block in numbered:
            if ("from" in block) == with_source:
                try:
                    drafts += list(_block_drafts(block, number, shared, seeds, cells))
                except UserError as error:
                    raise UserError(f"{where}: cells {number}: {error}") from None
        cells += told_apart(drafts, cells, where)
    texts = {key: _text(content, key, where) for key in ("title", "paper", "about")}
    texts["title"] = texts["title"] or name
    statements = read_statements(content.get("statements", []), where)
    _check_statements(statements, cells, where)
    return Study(name=name, cells=tuple(cells), table=table, statements=statements, **texts)


def _check_statements(statements: Sequence[Statement], cells: Sequence[Cell], where: str) -> None:
    """Refuses a statement about an arm or a map that the study does not have, or an arm of several groups."""
    known = {cell.arm for cell in cells}
    maps = {cell.map for cell in cells}
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for cell in cells:
        place = (cell.config.environment, cell.config.algorithm, cell.arm)
        groups.setdefault(place, {}).setdefault(cell.group, cell.density_name)
    for number, statement in enumerate(statements, 1):
        if statement.on not in ("", *maps):
            raise UserError(
                f"{where}: statements {number}: no cell has the map {statement.on!r}"
                f"{did_you_mean(statement.on, sorted(maps))}"
            )
        for arm in itertools.chain(*statement.arms):
            if arm not in known:
                raise UserError(
                    f"{where}: statements {number}: no cell has the arm {arm!r}"
                    f"{did_you_mean(arm, sorted(known))}"
                )
            for (environment, algorithm, name), named in groups.items():
                if name == arm and len(named) > 1:
                    raise UserError(
                        f"{where}: statements {number}: {algorithm} on {environment} has {len(named)} arms "
                        f"{arm!r} ({', '.join(named.values())}); give each a name of its own"
                    )


def _text(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{where}: {key}: must be a text")
    return " ".join(value.split())


def _block_drafts(
    own: Mapping[str, Any],
    number: int,
    shared: Mapping[str, Any],
    seeds: Any,
    earlier: Sequence[Cell],
) -> Iterator[Draft]:
    """The cells of one block, seeds innermost."""
    block = {**shared, **own}
    settings = {key: value for key, value in block.items() if key not in BLOCK}
    if not isinstance(block.get("masks", False), bool):
        raise UserError(f"masks = {block['masks']}: must be true or false")
    for name in settings:
        if name not in Config.model_fields:
            known = [*Config.model_fields, *BLOCK]
            raise UserError(f"unknown setting {name!r}{did_you_mean_setting(name, known)}")
        if name in _NOT_IN_A_CELL:
            raise UserError(f"{name}: belongs to how a study is run, not into its file")
        if settings[name] == []:
            raise UserError(f"{name} = []: must be a value, or a list of one or more")
    axes = {name: value if isinstance(value, list) else [value] for name, value in settings.items()}
    swept = [name for name, values in axes.items() if len(values) > 1 and name not in AXES]
    arms = block.get("arms", [{}])
    if not isinstance(arms, list) or not all(isinstance(arm, Mapping) for arm in arms) or not arms:
        raise UserError("arms: must be a list of tables")
    if any("seed" in each for each in (settings, *arms)):
        raise UserError("seed: a study has several; seeds = [0, 1] are these two")
    scalars = tuple(name for name in own if name in settings and name not in (*swept, *AXES))
    for values in itertools.product(*axes.values()):
        for arm in arms:
            given = {**dict(zip(axes, values, strict=True)), **arm}
            words = [f"{name} = {given[name]}" for name in dict.fromkeys([*swept, *arm])]
            is_named = "name" in arm or "arm" in block
            label = str(given.pop("name", block.get("arm", ", ".join(words))))
            if not label.isprintable():
                raise UserError(f"arm = {label!r}: must be a text of one line")
            for seed in _seeds(block.get("seeds", seeds)):
                cell = _cell({**given, "seed": seed}, label, block.get("from"), earlier)
                cell = replace(cell, keeps_masks=bool(block.get("masks", False)))
                yield Draft(cell, number, scalars, is_named)


def _seeds(value: Any) -> Sequence[int]:
    if type(value) is int and 1 <= value <= MOST_SEEDS:
        return range(value)
    listed = isinstance(value, list) and 1 <= len(value) <= MOST_SEEDS
    if listed and all(type(each) is int and 0 <= each < 2**31 for each in value):
        return value
    raise UserError(
        f"seeds = {one_line(value)}: must be a number of seeds from 1 to {MOST_SEEDS}, or a list of seeds "
        f"such as [0, 1], each from 0 to {2**31 - 1}"
    )


def _cell(given: dict[str, Any], arm: str, wanted: Any, earlier: Sequence[Cell]) -> Cell:
    if wanted is None:
        return Cell(resolve(given), given, arm)
    source = _source(given, wanted, earlier)
    return Cell(resolve({**given, "from_run": SOURCE_PREFIX + source.key}), given, arm, source)


def _source(given: Mapping[str, Any], wanted: Any, earlier: Sequence[Cell]) -> Cell:
    """The cell of the same environment, algorithm, sparsity and seed with the wanted settings and arm."""
    if not isinstance(wanted, Mapping) or "method" not in wanted:
        raise UserError('from: must be a table such as {method = "mast"}')
    settings = {name: value for name, value in wanted.items() if name != "arm"}
    like = resolve({**given, "method": "ss", **settings})  # a ticket is nothing without a run
    names = {"environment", "algorithm", "sparsity", "seed", *settings}
    found = [
        cell
        for cell in earlier
        if all(getattr(cell.config, name) == getattr(like, name) for name in names)
        and cell.arm == wanted.get("arm", "")
    ]
    if len(found) != 1:
        described = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        raise UserError(f"from: {len(found)} cells of the study have {described}, it must be one")
    return found[0]
