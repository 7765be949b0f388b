"""The sparse-training methods and the environments' own defaults, as records of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MethodPreset:
    """A sparse-training method: a record of settings on top of an algorithm (spec §6)."""

    description: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


METHODS: dict[str, MethodPreset] = {
    "dense": MethodPreset("no sparsity: every weight exists", {"sparsity": 0.0}),
    "ss": MethodPreset("static sparse: one random mask, kept"),
    "set": MethodPreset(
        "SET (Mocanu 2018): drop the smallest weights, grow random ones", {"growth": "random"}
    ),
    "rigl": MethodPreset(
        "RigL (Evci 2020): drop the smallest weights, grow where the gradient is largest",
        {"growth": "gradient"},
    ),
    "mast": MethodPreset(
        "MAST: as rigl, with hybrid TD(λ) targets, Soft Mellowmax and a second buffer",
        {
            "growth": "gradient",
            "operator": "soft_mellowmax",
            "td_lambda": 0.8,
            "online_batch": 12,
        },
    ),
}

ENVIRONMENT_DEFAULTS: dict[str, dict[str, Any]] = {
    # PyMARL's 200 is too slow for SMAX's battles of 60 to 100 steps (docs/experiments.md).
    "smax/": {"target_interval": 50},
}
"""Settings that a family of environments wants for all methods alike, by id prefix."""


def layered_defaults(environment: Any, method: Any) -> dict[str, Any]:
    """What environment and method set on top of the fields' defaults; nothing if unknown."""
    layered: dict[str, Any] = {}
    for prefix, defaults in ENVIRONMENT_DEFAULTS.items():
        if isinstance(environment, str) and environment.startswith(prefix):
            layered |= defaults
    if isinstance(method, str) and method in METHODS:
        layered |= METHODS[method].overrides
    return layered
