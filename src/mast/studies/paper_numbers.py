"""The numbers that the paper prints, beside a study's: from the tables in `mast/data`. Imports no JAX.

They are facts of MAST's tables on SMAC (StarCraft II); ours are of SMAX. `data/README.md` says which of them
contradict each other.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import median

from mast.studies.groups import Group

ALGORITHMS = {"qmix": "qmix", "owqmix": "wqmix", "res": "res"}
FILES = {
    "table1": "table1",
    "table2": "table2_td_lambda",
    "table3": "table3_buffers_operator",
    "table8": "table8_mask_interval",
}
TITLES = {
    "table1": "MAST Table 1 (SMAC)",
    "table2": "MAST Table 2 (SMAC 3s5z)",
    "table3": "MAST Table 3 (SMAC 3s5z)",
    "table8": "MAST Table 8 (SMAC 3s5z)",
}
METHODS = ("tiny", "ss", "set", "rigl", "rlx2", "mast")
STEPS = 2_000_000
"""Training steps of the paper, that its T_0 is a part of."""


@dataclass(frozen=True)
class PaperNumber:
    """What the paper has for a group.

    Attributes:
        of_dense: score in % of dense.
        raw: win rate in %, mean over its seeds; None where the table prints none.
        raw_std: its standard deviation.
    """

    of_dense: float
    raw: float | None = None
    raw_std: float | None = None


def paper_number(table: str, group: Group, *, any_arm: bool = False) -> PaperNumber | None:
    """The paper's number for a group of a study; None where the table has none.

    Args:
        table: as in `FILES`; "" for none.
        group: whose settings are looked up: for Table 1 map, algorithm, method and sparsity must be the
            paper's; the others are of 3s5z only, and looked up by algorithm and knob.
        any_arm: whether Table 1's number of the method stands for each arm of it too.
    """
    config = group.config
    algorithm = ALGORITHMS.get(config.algorithm)
    if algorithm is None or not table:
        return None
    if table == "table1":
        return _of_table1(group, algorithm) if any_arm or not group.arm else None
    if config.method != "mast":
        return None
    for row in _rows(FILES[table]):
        if row["algorithm"] == algorithm and _is_row(table, row, group):
            return PaperNumber(float(row["score"]))
    return None


def _of_table1(group: Group, algorithm: str) -> PaperNumber | None:
    map_ = group.cells[0].map
    for row, raw in zip(_rows("table1"), _rows("table7"), strict=True):
        if (row["algorithm"], row["map"]) != (algorithm, map_):
            continue
        if group.method == "dense":
            return PaperNumber(100.0, _dense_raw(row, raw))
        method = group.method
        if method in METHODS and group.sparsity == float(row["sparsity"]):
            numbers = (row[method], raw[f"{method}_mean"], raw[f"{method}_std"])
            return PaperNumber(*map(float, numbers))
    return None


def _dense_raw(row: dict[str, str], raw: dict[str, str]) -> float:
    """Dense's raw win rate in %, which the paper does not print: Table 7 over Table 1.

    The median over the methods, since one cell of Table 7 is impossible.
    """
    return median(100 * float(raw[f"{name}_mean"]) / float(row[name]) for name in METHODS)


def _is_row(table: str, row: dict[str, str], group: Group) -> bool:
    """Whether a row of Tables 2, 3 or 8 is what a group varies."""
    config, value = group.config, row.get("value", "")
    if table == "table8":
        return config.evolve_interval == int(row["interval_episodes"]) and bool(group.arm)
    knob = row["knob"]
    if knob == "lambda":
        return "td_lambda" in group.cells[0].given and config.td_lambda == float(value)
    if knob == "burn_in_env_steps":
        given = "burn_in_fraction" in group.cells[0].given
        return given and config.burn_in_fraction == float(value) / STEPS
    first, second = (float(part) for part in value.split(":"))
    if knob == "offline:online":
        given = "online_share" in group.cells[0].given
        return given and config.online_share == second / (first + second)
    given = "omega" in group.cells[0].given
    return given and (config.soft_mellowmax_alpha, config.omega) == (first, second)


@cache
def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("mast").joinpath(f"data/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
