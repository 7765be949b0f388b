"""Patterns by their names, and the budgets that they can keep. Importable without JAX."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from mast.errors import UserError
from mast.own_code import NAME, import_own, is_own
from mast.sparsity.patterns import UNSTRUCTURED, Blocks, FanIn, Neurons, NOfM, Pattern

NAMES = ("unstructured", "fan-in", "n:M", "N:M", "block-RxC", "neuron")
"""What `pattern_of` knows: N, M, R and C stand for numbers."""
_NUMBER = r"[1-9]\d{0,5}"
_PARTS = (
    "unstructured",
    "fan-in",
    "neuron",
    f"(n|{_NUMBER}):{_NUMBER}",
    f"block-{_NUMBER}x{_NUMBER}",
)
NAME_PATTERN = f"^({'|'.join(_PARTS)}|{NAME})$"
"""As a regular expression."""
ROUNDING = 0.0005 + 1e-9
"""How far a sparsity may be from that of N:M: 0.667 stands for 1:3."""


def pattern_of(pattern: str | Pattern) -> Pattern:
    """The pattern of that name: one of `NAMES`, or a user's own "package.module:OBJECT".

    Raises:
        UserError: there is none, or it cannot be.
    """
    if not isinstance(pattern, str):
        return pattern
    name = pattern
    if found := re.fullmatch(r"(n|\d{1,6}):(\d{1,6})", name):
        n, m = None if found[1] == "n" else int(found[1]), int(found[2])
        if m < 1 or (n is not None and not 1 <= n <= m):
            raise UserError(f"pattern = {name}: N must be from 1 to M")
        return NOfM(m, n)
    if found := re.fullmatch(r"block-(\d{1,6})x(\d{1,6})", name):
        r, c = int(found[1]), int(found[2])
        if r < 1 or c < 1:
            raise UserError(f"pattern = {name}: a block has at least one row and one input")
        return Blocks(r, c)
    if is_own(name):
        return import_own(name, "pattern", lambda found: isinstance(found, Pattern))
    ours: dict[str, Pattern] = {each.name: each for each in (UNSTRUCTURED, FanIn(), Neurons())}
    if name not in ours:
        raise UserError(
            f"pattern = {name}: must be one of {', '.join(NAMES)}, or package.module:OBJECT"
        )
    return ours[name]


def is_pattern_name(value: object) -> bool:
    """Whether a text has the form of a pattern's name."""
    return isinstance(value, str) and re.fullmatch(NAME_PATTERN, value) is not None


def check_sparsity(pattern: str | Pattern, sparsity: float) -> None:
    """Refuses a sparsity that a pattern with a fixed density cannot have.

    Raises:
        UserError: it is another one than that of N:M.
    """
    found = NOfM(1) if isinstance(pattern, str) and is_own(pattern) else pattern_of(pattern)
    if isinstance(found, NOfM) and found.n is not None:
        fixed = 1 - found.n / found.m
        if abs(fixed - sparsity) > ROUNDING:
            raise UserError(
                f"sparsity = {sparsity:g}: pattern {found.name} has {fixed:g}; for N by the sparsity: "
                f"pattern n:{found.m}"
            )


def held_counts(wanted: Mapping[str, int], possible: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Active weights of each layer as its pattern can have them, near a budget.

    Each layer takes the most that does not exceed its budget, at least the least that the pattern can have;
    what is left over goes to the layers that lack the largest part of their next step, as long as that
    brings the sum nearer to the budget.

    Args:
        wanted: budget of each layer, as of `active_counts`.
        possible: of `Pattern.counts`; a layer that is missing here keeps its budget.
    """
    held = dict(wanted)
    steps: dict[str, tuple[float, int]] = {}
    for name, counts in possible.items():
        place = max(0, bisect_right(counts, wanted[name]) - 1)
        held[name] = counts[place]
        if place + 1 < len(counts):
            step = counts[place + 1] - counts[place]
            steps[name] = ((wanted[name] - counts[place]) / step, step)
    left = sum(wanted.values()) - sum(held.values())
    for name, (lacks, step) in sorted(steps.items(), key=lambda each: (-each[1][0], each[0])):
        if lacks > 0 and 2 * left > step:
            held[name] += step
            left -= step
    return held
