"""Loops: when a trainer collects, what it learns from, and what follows an update."""

from mast.loops.protocol import Loop
from mast.loops.replay import ReplayLoop

LOOPS: dict[str, type[ReplayLoop]] = {"replay": ReplayLoop}
"""By the name that an algorithm's entry gives."""

__all__ = ["LOOPS", "Loop", "ReplayLoop"]
