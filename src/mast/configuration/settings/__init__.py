"""Every setting of a run: its meaning, default, source and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, model_validator

from mast.algorithms.registry import algorithm_entry
from mast.configuration.checks import check_together
from mast.configuration.presets import (
    default_method,
    exploration_steps,
    growth_within,
    layered_defaults,
    warm_start,
)
from mast.configuration.settings.learning import (
    OptimizerSettings,
    ReplaySettings,
    RolloutSettings,
)
from mast.configuration.settings.networks import NetworkSettings, TopologySettings
from mast.configuration.settings.playing import EvaluationSettings, ExplorationSettings
from mast.configuration.settings.run import EnvironmentSettings, RunSettings
from mast.configuration.settings.targets import ResSettings, TargetSettings, WeightedSettings
from mast.configuration.text import read_text
from mast.sparsity.pattern_names import is_pattern_name


class Config(
    EvaluationSettings,
    ExplorationSettings,
    OptimizerSettings,
    RolloutSettings,
    ReplaySettings,
    ResSettings,
    WeightedSettings,
    TargetSettings,
    TopologySettings,
    NetworkSettings,
    EnvironmentSettings,
    RunSettings,
):
    """All settings of one run, resolved and checked; building one fills in the layered defaults.

    A class's fields follow those of its bases from the last to the first: the run's settings lead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = {
            name: read_text(cls.model_fields.get(name), name, value) for name, value in data.items()
        }
        if "method" not in given:
            given["method"] = default_method(given.get("algorithm", "qmix"), given)
        method = given["method"]
        layered = (
            layered_defaults(
                given.get("environment"),
                given.get("algorithm", "qmix"),
                method,
                given.get("preset", "none"),
            )
            | given
        )
        ours = layered.get("preset", "none") == "none"
        if ours and "growth" in layered and "growth" not in given:
            layered["growth"] = growth_within(layered.get("pattern"), layered["growth"])
        if ours and "epsilon_steps" not in given:
            longest = layered.get("epsilon_steps", cls.model_fields["epsilon_steps"].default)
            steps = layered.get("steps", cls.model_fields["steps"].default)
            layered["epsilon_steps"] = exploration_steps(longest, steps)
        if layered.get("from_run") is not None:
            layered = warm_start(layered, given)
        if method == "dense" and _is_sparsity(layered["sparsity"]):
            layered["sparsity"] = 0.0  # ignored, and `notices` says so
        stays_dense = _stays_dense(layered.get("initial_mask"), layered.get("pruning", "none"))
        if stays_dense and is_pattern_name(layered.get("pattern")):
            layered["pattern"] = "unstructured"  # the same
        return layered

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        check_together(self)
        return self

    @property
    def online_batch(self) -> int:
        """How many episodes of a batch come from the newest ones."""
        return round(self.online_share * self.batch_size)

    @property
    def needs_run(self) -> bool:
        """Whether something of an earlier run is needed to begin."""
        return self.initial_mask == "run" or self.initial_weights != "fresh"

    @property
    def starts_warm(self) -> bool:
        """Whether the run goes on with an earlier one's trained weights and, where it has any, masks."""
        return self.initial_weights == "final" and self.initial_mask in ("run", "ones")

    @property
    def learns_from_team(self) -> bool:
        """Whether agents that have a reward each learn from one that is made of them."""
        return "team" in (algorithm_entry(self.algorithm).rewards, self.rewards)

    @property
    def stays_dense(self) -> bool:
        """Whether every weight is active from the first step to the last."""
        return _stays_dense(self.initial_mask, self.pruning)

    @property
    def steps_fit_density(self) -> bool:
        """Whether the learning rate is multiplied by something because weights are missing."""
        is_dense = self.stays_dense or (self.sparsity == 0 and self.density_per_agent is None)
        return self.step_exponent != 0 and not is_dense

    @property
    def anneals(self) -> bool:
        """Whether the learning rate changes while training."""
        goes = self.steps_fit_density or self.final_learning_rate is not None
        return goes and self.anneal_begin_fraction < 1

    @property
    def evolves(self) -> bool:
        """Whether the masks change while training."""
        return self.growth != "none" or self.pruning != "none"


def _stays_dense(initial_mask: Any, pruning: Any) -> bool:
    return initial_mask == "ones" and pruning == "none"


def _is_sparsity(value: Any) -> bool:
    try:
        return 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False
