"""Methods, and what environments, algorithms and sources want, as records of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mast.algorithms.registry import BUILT_IN
from mast.envs.names import FAMILIES
from mast.own_code import is_own
from mast.sparsity.pattern_names import is_pattern_name, pattern_of
from mast.sparsity.patterns import Blocks, FanIn, NOfM


@dataclass(frozen=True)
class MethodPreset:
    """A sparse-training method: a record of settings on top of an algorithm (spec §6)."""

    description: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


_MAST_TARGETS = {"operator": "soft_mellowmax", "targets": "hybrid", "online_share": 0.375}

METHODS: dict[str, MethodPreset] = {
    "dense": MethodPreset(
        "no sparsity: every weight exists", {"sparsity": 0.0, "initial_mask": "ones"}
    ),
    "tiny": MethodPreset(
        "dense, but narrower: as many parameters as the sparse team has",
        {"initial_mask": "ones", "widths": "tiny"},
    ),
    "ss": MethodPreset("static sparse: one random mask, kept"),
    "set": MethodPreset(
        "SET (Mocanu 2018): drop the smallest weights, grow random ones", {"growth": "random"}
    ),
    "rigl": MethodPreset(
        "RigL (Evci 2020): drop the smallest weights, grow where the gradient is largest",
        {"growth": "gradient"},
    ),
    "rlx2": MethodPreset(
        "RLx2 (Tan 2023): as rigl, with delayed 3-step targets and a dynamic replay window",
        {"growth": "gradient", "targets": "delayed_n_step", "replay_window": "dynamic"},
    ),
    "mast": MethodPreset(
        "MAST: as rigl, with hybrid TD(λ) targets, Soft Mellowmax and a second buffer",
        {"growth": "gradient", **_MAST_TARGETS},
    ),
    "random-ticket": MethodPreset(
        "MAST's targets and buffers on one random mask, kept", _MAST_TARGETS
    ),
    "winning-ticket": MethodPreset(
        "the same on the final mask of an earlier run (--from), fresh weights or --rewind",
        {"initial_mask": "run", **_MAST_TARGETS},
    ),
    "magnitude": MethodPreset(
        "gradual magnitude pruning (Zhu & Gupta 2017): starts dense",
        {"initial_mask": "ones", "pruning": "cubic"},
    ),
    "one-shot": MethodPreset(
        "prune a trained dense run (--from) to its largest weights and train on",
        {"initial_mask": "largest", "initial_weights": "final"},
    ),
}

ALGORITHM_DEFAULTS = {name: known.defaults for name, known in BUILT_IN.items() if known.defaults}
"""Settings that an algorithm wants with every method (spec §5)."""

MAST_DEFAULTS = {
    name: known.mast_defaults for name, known in BUILT_IN.items() if known.mast_defaults
}
"""What MAST's targets, of whichever method, are on an algorithm other than QMIX (spec §5, §6)."""

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "paper": {},
    "res-mast": {"softmax_beta": 5.0, "res_regulariser": 0.05},
    "res-authors": {
        "softmax_beta": 0.05,
        "res_regulariser": 0.05,
        "res_unavailable": "include",
    },
    "wqmix-authors": {"weight_alpha": 0.5},
    "mast-later": {"online_episodes": 100, "online_share": 0.25},
}
"""Named numbers of a source, on top of the method (spec §4, §5)."""

SOURCE_DEFAULTS: dict[str, Any] = {"step_exponent": 0.0}
"""What every preset sets: sources take the same steps at every density. Their ε ignores a run's length."""

ENVIRONMENT_DEFAULTS: dict[str, Mapping[str, Any]] = {
    f"{prefix}/": family.defaults for prefix, family in FAMILIES.items() if family.defaults
}
"""Settings that a family of environments wants for all methods alike, by id prefix."""

SHORT_RUN = 500_000
"""Steps below which ε falls over a share of a run: that which its source's number is of this many."""

PRESET_ALGORITHMS = {
    "res-mast": ("res",),
    "res-authors": ("res",),
    "wqmix-authors": ("owqmix", "cwqmix"),
}
"""The algorithms that read a preset's numbers; the others concern all."""


def exploration_steps(longest: int, steps: Any) -> int:
    """Over how many steps ε falls in a run of so many; a source's number where that is no number."""
    try:
        return max(1, longest * int(min(float(steps), SHORT_RUN)) // SHORT_RUN)
    except (TypeError, ValueError, OverflowError):
        return longest


def default_method(algorithm: Any, given: Mapping[str, Any]) -> str:
    """The method of a run that names none: MAST; of an actor–critic dense, or RigL at a given sparsity."""
    usual = ALGORITHM_DEFAULTS.get(algorithm, {}) if isinstance(algorithm, str) else {}
    if usual.get("method") == "dense" and "sparsity" in given:
        return "rigl"
    return str(usual.get("method", "mast"))


def warm_start(layered: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run that is given an earlier one of which nothing asks for anything: it takes all of it.

    What the user states stays.

    Args:
        layered: with their layers of defaults; "from_run" among them.
        given: what the user states.
    """
    known = dict(layered)
    weights, mask = known.get("initial_weights", "fresh"), known.get("initial_mask", "random")
    if weights != "fresh" or mask == "run":
        return known
    if "initial_weights" not in given:
        known["initial_weights"] = "final"
    if "initial_mask" not in given and mask != "ones":
        known["initial_mask"] = "run"
    return known


def growth_within(pattern: Any, growth: Any) -> Any:
    """What a method grows by where rows, groups of N:M or blocks cannot all have the best weights.

    A batch's gradient is nearly an outer product, so by its size all rows choose the same inputs.

    Args:
        pattern: as a user may give it; what is wrong with it is said elsewhere.
        growth: of the method.
    """
    if growth != "gradient" or not is_pattern_name(pattern) or is_own(pattern):
        return growth
    return "relative_gradient" if isinstance(pattern_of(pattern), FanIn | NOfM | Blocks) else growth


def layered_defaults(environment: Any, algorithm: Any, method: Any, preset: Any) -> dict[str, Any]:
    """What these set on top of the fields' defaults, the later one over the earlier; nothing if unknown."""
    layered: dict[str, Any] = {}
    for prefix, defaults in ENVIRONMENT_DEFAULTS.items():
        if isinstance(environment, str) and environment.startswith(prefix):
            layered |= defaults
    if isinstance(algorithm, str):
        layered |= ALGORITHM_DEFAULTS.get(algorithm, {})
    if isinstance(method, str) and method in METHODS:
        overrides = METHODS[method].overrides
        layered |= overrides
        if overrides.get("targets") == "hybrid" and isinstance(algorithm, str):
            layered |= MAST_DEFAULTS.get(algorithm, {})
    if isinstance(preset, str):
        numbers = dict(PRESETS.get(preset, {}))
        if preset in PRESETS and preset != "none":
            numbers = SOURCE_DEFAULTS | numbers
        if "online_share" not in layered:
            numbers.pop("online_share", None)  # no second buffer for methods that have none
        layered |= numbers
    return layered
