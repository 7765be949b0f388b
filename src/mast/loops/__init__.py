"""Loops: when a trainer plays, what it learns from, and what follows an update."""

from collections.abc import Callable

from mast.loops.host_on_policy import HostOnPolicyLoop
from mast.loops.on_policy import OnPolicyLoop
from mast.loops.protocol import Loop
from mast.loops.replay import ReplayLoop

LOOPS: dict[str, Callable[..., Loop]] = {"replay": ReplayLoop, "on_policy": OnPolicyLoop}
"""By the name that an algorithm's entry gives."""


def loop_of(name: str, is_jax: bool) -> Callable[..., Loop]:
    """What makes a loop.

    Args:
        name: that an algorithm's entry gives.
        is_jax: whether the environment is a JAX one.
    """
    return HostOnPolicyLoop if name == "on_policy" and not is_jax else LOOPS[name]


__all__ = ["LOOPS", "HostOnPolicyLoop", "Loop", "OnPolicyLoop", "ReplayLoop", "loop_of"]
