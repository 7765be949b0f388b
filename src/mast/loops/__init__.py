"""Loops: when a trainer plays, what it learns from, and what follows an update."""

from collections.abc import Callable

from mast.loops.on_policy import OnPolicyLoop
from mast.loops.protocol import Loop
from mast.loops.replay import ReplayLoop

LOOPS: dict[str, Callable[..., Loop]] = {"replay": ReplayLoop, "on_policy": OnPolicyLoop}
"""By the name that an algorithm's entry gives."""

__all__ = ["LOOPS", "Loop", "OnPolicyLoop", "ReplayLoop"]
