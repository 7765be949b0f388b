"""Algorithms by name: ours, and a user's own as "package.module:ENTRY". Imports no JAX.

An algorithm is one file with an `AlgorithmEntry` and one line here. What the command line must know before
JAX is imported (the names, and settings with other defaults) stands in that line; a test holds both together.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from mast.errors import UserError
from mast.own_code import import_own, is_own

if TYPE_CHECKING:
    from mast.algorithms.entry import AlgorithmEntry


class BuiltIn(NamedTuple):
    """Where an algorithm of ours stands, and its defaults, as in `AlgorithmEntry`."""

    entry: str
    defaults: Mapping[str, Any] = {}
    mast_defaults: Mapping[str, Any] = {}


_SLOWLY = {"epsilon_steps": 100_000, "td_lambda": 0.6}
_JOINTLY = {"operator": "res_softmax"}

BUILT_IN: dict[str, BuiltIn] = {
    "iql": BuiltIn("mast.algorithms.value.iql:ENTRY"),
    "vdn": BuiltIn("mast.algorithms.value.vdn:ENTRY"),
    "qmix": BuiltIn("mast.algorithms.value.qmix:ENTRY"),
    "owqmix": BuiltIn("mast.algorithms.value.weighted:OPTIMISTIC", _SLOWLY),
    "cwqmix": BuiltIn("mast.algorithms.value.weighted:CENTRAL", _SLOWLY),
    "qplex": BuiltIn("mast.algorithms.value.qplex:ENTRY"),
    "res": BuiltIn("mast.algorithms.value.res:ENTRY", _JOINTLY, _JOINTLY),
}
NAMES = tuple(BUILT_IN)


@cache
def algorithm_entry(name: str) -> AlgorithmEntry:
    """The entry of that name; imports JAX.

    Raises:
        UserError: no such algorithm, or "package.module:NAME" is no `AlgorithmEntry`.
    """
    from mast.algorithms.entry import AlgorithmEntry

    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].entry.split(":")
        entry = getattr(importlib.import_module(module), attribute)
        assert isinstance(entry, AlgorithmEntry)
        return entry
    if not is_own(name):
        raise UserError(f"algorithm {name!r} is unknown: one of {', '.join(NAMES)}")
    own = import_own(name, "AlgorithmEntry", lambda found: isinstance(found, AlgorithmEntry))
    assert isinstance(own, AlgorithmEntry)
    return own
