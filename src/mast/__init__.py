"""Mast: sparse multi-agent reinforcement learning, empty from the first step to the last.

Names are loaded when first used, so that importing `mast` imports no JAX.
"""

TYPE_CHECKING = (
    False  # that of `typing`, whose import takes so long that Ctrl-C often falls into it
)
if TYPE_CHECKING:
    from typing import Any

_HOMES = {
    "Config": "mast.config",
    "Policy": "mast.policy",
    "Trainer": "mast.runs.trainer",
    "make": "mast.envs.registry",
    "resolve": "mast.config",
}
__all__ = ["Config", "Policy", "Trainer", "make", "resolve"]


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module 'mast' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
