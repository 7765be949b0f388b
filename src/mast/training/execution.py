"""Which execution a run gets: XLA, or native code where there is some; of learning and of battles."""

import csv
import functools
import itertools
import math
import os
from importlib import resources

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.configuration.checks import PRUNING
from mast.envs.names import draws_types
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.networks.spec import TeamSizes

SEVERAL_NETWORKS = 0.7
"""What several networks gain as a share of what one gains: the least that was measured, that of eight
independent agents on 3s5z (`results/neuron_masks.csv`)."""


def obstacle(config: Config, vmapped: bool) -> str | None:
    """Why a run cannot be compact, in a few words; None where it can.

    Args:
        config: resolved settings.
        vmapped: whether several runs are one program.
    """
    return _obstacle_by_design(config, vmapped) or _missing_kernels()


def _obstacle_by_design(config: Config, vmapped: bool) -> str | None:
    """Why there are no kernels for such a run on such a device; None where there are."""
    from mast.runtime import platform_of_jax  # imports JAX

    if vmapped:
        return "several runs in one program have none"
    if (platform := platform_of_jax()) != "cpu":
        return f"there are none for a {platform}"
    return settings_obstacle(config)


def _missing_kernels() -> str | None:
    """Why this machine lacks the kernels; None where it has them."""
    from mast import kernels

    return kernels.unavailable_reason()


def settings_obstacle(config: Config) -> str | None:
    """What among the settings keeps a run from being compact on any machine; None where nothing does."""
    if algorithm_entry(config.algorithm).compact_speedup is None:
        return f"algorithm {config.algorithm} has none"
    if config.optimizer != "rmsprop":
        return f"optimizer = {config.optimizer} has none"
    if config.sharing == "usnp":  # each agent has another matrix
        return f"sharing = {config.sharing} has none"
    if config.sharing in PRUNING and draws_types(config.environment):
        return f"sharing = {config.sharing} has none where episodes draw the agents' types"
    if config.agent_gradient != "sum":
        return f"agent_gradient = {config.agent_gradient} has none"
    if config.initial_weights == "final" and config.initial_mask != "run":
        return f"method {config.method} starts dense and is masked only"
    if config.grown_state == "keep" and config.growth != "none":
        return "grown_state = keep needs the slots of inactive weights"
    if config.pruning != "none":
        return f"method {config.method} changes the number of active weights"
    return None


def choose_execution(config: Config, vmapped: bool) -> tuple[Config, list[str]]:
    """The settings with `execution` decided, and what to say about it.

    Raises:
        UserError: compact is asked for and cannot be had.
    """
    if config.execution == "masked":
        return config, []
    if config.execution == "compact":
        reason = obstacle(config, vmapped)
        if reason is not None:
            raise UserError(f"execution = compact: no native kernels: {reason}; use masked")
        return config, []
    is_sparse = config.initial_mask != "ones" and config.sparsity > 0
    may_gain = is_sparse or config.widths == "tiny"
    if not may_gain or _obstacle_by_design(config, vmapped) is not None:
        return config.model_copy(update={"execution": "masked"}), []
    notices: list[str] = []
    missing = _missing_kernels()
    if missing is not None and os.environ.get("MAST_KERNELS") != "off":
        notices.append(f"no native kernels, so zeros are computed too: {missing}")
    chosen = "compact" if missing is None and compact_is_faster(config) else "masked"
    return config.model_copy(update={"execution": chosen}), notices


def execution_in(config: Config, spec: TeamSizes) -> Config:
    """The settings with an execution that was chosen, masked where the environment's types have no kernels.

    Args:
        config: of `choose_execution`, which knows an environment by its name only.
        spec: of the environment.
    """
    lacks = sizes_of(config, spec).lacks
    if config.execution == "compact" and lacks and lacks.types:
        return config.model_copy(update={"execution": "masked"})
    return config


def choose_battle(config: Config, is_given: bool) -> Config:
    """The settings with `battle` decided.

    Args:
        config: resolved settings.
        is_given: whether the environment is an object, which computes as it does.

    Raises:
        UserError: native is asked for and cannot be had.
    """
    if config.battle == "jax":
        return config
    reason = "the environment is given" if is_given else _battle_obstacle(config)
    if reason is not None and config.battle == "native":
        raise UserError(f"battle = native: {reason}; use jax")
    return config.model_copy(update={"battle": "jax" if reason else "native"})


def battle_on_resume(config: Config, recorded: str) -> tuple[Config, list[str]]:
    """The settings with the battles that a run was recorded with, or jaxmarl's where those are not to be had.

    Args:
        config: the run's settings.
        recorded: what its config.json says; runs from before there was a choice are jaxmarl's.
    """
    reason = _battle_obstacle(config) if recorded == "native" else None
    if reason is None:
        return config.model_copy(update={"battle": recorded}), []
    notice = (
        f"no native battles here ({reason}): it goes on with jaxmarl's, which round differently"
    )
    return config.model_copy(update={"battle": "jax"}), [notice]


def _battle_obstacle(config: Config) -> str | None:
    from mast.envs.registry import native_obstacle  # imports JAX

    return native_obstacle(config.environment)


def compact_is_faster(config: Config) -> bool:
    """Whether compact is faster with these kernels, by what was measured at this width and density."""
    from mast.kernels import library

    instruction_set = library.active().instruction_set.name
    width, density = config.hidden_size, 1 - config.sparsity
    if config.widths == "tiny":  # dense, and narrower by about the root of its share of weights
        width, density = max(1, round(width * math.sqrt(density))), 1.0
    of_qmix = compact_speedup(instruction_set, width, density)
    if config.sharing in ("seps", "independent"):
        of_qmix *= SEVERAL_NETWORKS
    return of_qmix * (algorithm_entry(config.algorithm).compact_speedup or 0) >= 1


def compact_speedup(instruction_set: str, width: int, density: float) -> float:
    """How many times as fast as masked a compact QMIX update was on one core, the worst of the maps measured.

    Args:
        instruction_set: of the kernels.
        width: of the agent's hidden layers; the measured width nearest to it counts.
        density: share of active weights, in (0, 1]; between two measured ones by interpolation over its
            logarithm, beyond them that of the nearest one.
    """
    measured = _measured_speedups()[instruction_set]
    nearest = min(measured, key=lambda each: abs(math.log(each / width)))
    points = sorted(measured[nearest].items())
    if density <= points[0][0]:
        return points[0][1]
    for (low, at_low), (high, at_high) in itertools.pairwise(points):
        if density <= high:
            share = math.log(density / low) / math.log(high / low)
            return at_low + share * (at_high - at_low)
    return points[-1][1]


@functools.cache
def _measured_speedups() -> dict[str, dict[int, dict[float, float]]]:
    """By instruction set, width and density; `benchmarks/compact_speed.py` writes the table."""
    text = resources.files("mast").joinpath("data/compact_speed.csv").read_text(encoding="utf-8")
    found: dict[str, dict[int, dict[float, float]]] = {}
    for row in csv.DictReader(text.splitlines()):
        by_density = found.setdefault(row["instruction_set"], {}).setdefault(int(row["width"]), {})
        by_density[float(row["density"])] = float(row["speedup"])
    return found


def execution_on_resume(config: Config, recorded: str, vmapped: bool) -> tuple[Config, list[str]]:
    """The settings with the execution that a run was recorded with, or masked where that is not to be had.

    Args:
        config: the run's settings.
        recorded: what its config.json says; runs from before there was a choice are masked.
        vmapped: whether several runs are one program.
    """
    if recorded != "compact":
        return config.model_copy(update={"execution": "masked"}), []
    config = config.model_copy(update={"execution": "compact"})
    reason = obstacle(config, vmapped)
    if reason is None:
        return config, []
    notice = f"no native kernels here ({reason}): it goes on masked, which rounds differently"
    return config.model_copy(update={"execution": "masked"}), [notice]
