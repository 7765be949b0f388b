"""Algorithms by name: ours, and a user's own as "package.module:ENTRY". Imports no JAX.

An algorithm is one file with its loss and one `AlgorithmEntry`.
"""

from __future__ import annotations

from functools import cache

from mast.algorithms.actor_critic import entries as actor_critic
from mast.algorithms.entry import AlgorithmEntry
from mast.algorithms.value import entries as value
from mast.errors import UserError
from mast.networks.spec import Sizes
from mast.own_code import import_own, is_own, told_of

BUILT_IN: dict[str, AlgorithmEntry] = {
    entry.name: entry for entry in (*value.ENTRIES, *actor_critic.ENTRIES)
}
NAMES = tuple(BUILT_IN)
VALUE_BASED = tuple(entry.name for entry in value.ENTRIES)
"""Those that learn action values, from replayed episodes."""


@cache
def algorithm_entry(name: str) -> AlgorithmEntry:
    """The entry of that name; a user's own is imported.

    Raises:
        UserError: no such algorithm, or "package.module:NAME" is no `AlgorithmEntry` that can be trained.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if not is_own(name):
        raise UserError(f"algorithm {name!r} is unknown: one of {', '.join(NAMES)}")
    own = import_own(name, "AlgorithmEntry", lambda found: isinstance(found, AlgorithmEntry))
    assert isinstance(own, AlgorithmEntry)
    check_entry(own, name)
    if own.defaults or own.mast_defaults:
        raise UserError(f"{name}: defaults: an own algorithm's settings are given like any others")
    return own


def check_entry(entry: AlgorithmEntry, name: str) -> None:
    """Refuses an entry that could not be trained.

    Raises:
        UserError: what is wrong, in one line.
    """
    from mast.algorithms.protocol import OnPolicyAlgorithm
    from mast.loops import LOOPS
    from mast.training.logging import AFTER, BEFORE

    taken = {*BEFORE, *AFTER}
    for metric in entry.columns:
        if not metric.isidentifier() or metric in taken or entry.columns.count(metric) > 1:
            raise UserError(
                f"{name}: metrics: {metric!r} must be an identifier, once, and no common column of "
                "metrics.csv"
            )
    if entry.loop not in LOOPS:
        raise UserError(f"{name}: loop = {entry.loop}: must be one of {', '.join(LOOPS)}")
    with told_of(name, "implementation"):
        implementation = entry.algorithm
    if entry.loop == "on_policy" and not isinstance(implementation, OnPolicyAlgorithm):
        raise UserError(f"{name}: loop = on_policy: the implementation has no act and targets")
    sizes = Sizes(observation=1, state=1, actions=1, agents=1)
    with told_of(name, "networks"):
        networks = entry.networks(sizes)
    if "agent" not in networks:
        raise UserError(f"{name}: networks: the acting one must be called agent")
    with told_of(name, "uses"):
        uses = entry.uses(sizes, "max")
    if networks.keys() - uses.keys():
        raise UserError(f"{name}: uses: lacks {', '.join(sorted(networks.keys() - uses.keys()))}")
    if entry.compact_speedup is not None and any(net.kernel is None for net in networks.values()):
        raise UserError(f"{name}: compact_speedup: not every network has kernels")
