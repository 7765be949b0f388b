"""What a paper says of its results in words, as a study's file has it. Imports no JAX."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mast.configuration.suggestions import did_you_mean
from mast.errors import UserError

MEASURES = ("score", "return", "speed", "time", "parameters")
"""The final number; the final greedy return, where battles are too hard to be won; the mean of the curve's
first half; seconds of a run; parameters. The last two are better when they are smaller."""
WITHIN = 0.1
"""By how much of the larger mean arms that are alike may differ, where a statement does not say."""
_KEYS = ("section", "text", "better", "than", "rising", "alike", "within", "by", "on", "elsewhere")


@dataclass(frozen=True)
class Statement:
    """One statement of a paper.

    Attributes:
        section: where it stands.
        text: what it says.
        arms: of each pair the arm that is better, and the one that it is better than; or that are alike.
        by: one of `MEASURES`.
        alike: whether the two of a pair are the same instead.
        within: by how much of the larger mean two that are alike may differ.
        on: the map that it is about; "" for every map.
        elsewhere: where it is judged, if rows cannot tell; then it has no arms.
    """

    section: str
    text: str
    arms: tuple[tuple[str, str], ...]
    by: str = "score"
    alike: bool = False
    on: str = ""
    within: float = WITHIN
    elsewhere: str = ""


def read_statements(content: Any, where: str) -> tuple[Statement, ...]:
    """The `[[statements]]` of a study's file.

    A statement has a section and a text, and says of arms that one is `better` than each of `than`, that each
    of a list is better than the one before it (`rising`), or that some are `alike`, pair by pair (`within` a
    share of the larger mean). One that no row can tell says where it is judged (`elsewhere`).

    Raises:
        UserError: the first thing that is wrong, in one line.
    """
    if not isinstance(content, list):
        raise UserError(f"{where}: statements: must be [[statements]] blocks")
    return tuple(
        _statement(block, f"{where}: statements {number}")
        for number, block in enumerate(content, 1)
    )


def _statement(block: Any, where: str) -> Statement:
    if not isinstance(block, Mapping):
        raise UserError(f"{where}: must be a table")
    for key in block:
        if key not in _KEYS:
            raise UserError(f"{where}: unknown entry {key!r}{did_you_mean(key, _KEYS)}")
    for key in ("section", "text", "better", "by", "on", "elsewhere"):
        if not isinstance(block.get(key, ""), str):
            raise UserError(f"{where}: {key}: must be a text")
    for key in ("than", "rising", "alike"):
        names = block.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{where}: {key}: must be a list of arms")
    by = block.get("by", "score")
    if by not in MEASURES:
        raise UserError(f"{where}: by = {by}: must be one of {', '.join(MEASURES)}")
    said = [key for key in ("better", "rising", "alike", "elsewhere") if key in block]
    if len(said) > 1:
        raise UserError(f"{where}: {' and '.join(said)}: must be one of them")
    within = block.get("within", WITHIN)
    if type(within) not in (int, float) or not 0 < within < 1:
        raise UserError(f"{where}: within = {within}: must be above 0 and below 1")
    if "within" in block and "alike" not in block:
        raise UserError(f"{where}: within: belongs to alike")
    if "than" in block and "better" not in block:
        raise UserError(f"{where}: than: belongs to better")
    pairs = (
        [(block["better"], other) for other in block.get("than", [])] if "better" in block else []
    )
    pairs += [(after, before) for before, after in itertools.pairwise(block.get("rising", []))]
    pairs += [
        (after, before) for before, after in itertools.combinations(block.get("alike", []), 2)
    ]
    elsewhere = block.get("elsewhere", "")
    if not pairs and not elsewhere:
        raise UserError(f"{where}: must say what is better than what, rising, alike, or elsewhere")
    text = " ".join(block.get("text", "").split())
    return Statement(
        block.get("section", ""),
        text,
        tuple(pairs),
        by,
        "alike" in block,
        block.get("on", ""),
        float(within),
        elsewhere,
    )
