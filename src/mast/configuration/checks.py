"""What a setting may be depends on others: the checks of a whole configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mast.algorithms.registry import BUILT_IN
from mast.envs.names import steps_of
from mast.errors import UserError
from mast.sparsity.pattern_names import check_sparsity

if TYPE_CHECKING:
    from mast.configuration.settings import Config


PRUNING = ("snp", "snp+id", "usnp", "snp-nps")
"""The ways of sharing in which each agent lacks a part of one network."""


def check_together(config: Config) -> None:
    """Refuses settings that do not fit together.

    Raises:
        ValueError: the first that does not, its value and what is allowed, in one line.
    """

    def at_most(small: str, large: str) -> None:
        if getattr(config, small) > getattr(config, large):
            bound = f"{large} = {getattr(config, large)}"
            raise ValueError(f"{small} = {getattr(config, small)}: must be at most {bound}")

    def only_with(name: str, needed: str, value: Any) -> None:
        if getattr(config, needed) != value:
            shown = getattr(config, name)
            if isinstance(shown, tuple):
                shown = ",".join(str(part) for part in shown)
            raise ValueError(f"{name} = {shown}: needs {needed} = {value}")

    try:
        steps_of(config.environment, config.episode_limit)
    except UserError as error:
        raise ValueError(str(error)) from None
    known = BUILT_IN.get(config.algorithm)
    if known is None or known.loop == "replay":
        at_most("batch_size", "buffer_episodes")
        at_most("online_episodes", "buffer_episodes")
        at_most("parallel_envs", "buffer_episodes")
    at_most("prune_begin_fraction", "prune_end_fraction")
    if config.online_batch > config.online_episodes:
        bound = f"{config.online_episodes} online_episodes"
        raise ValueError(
            f"online_share = {config.online_share}: {config.online_batch} episodes of the batch, "
            f"more than the {bound}"
        )
    if config.operator == "res_softmax":
        only_with("operator", "algorithm", "res")
    if known is not None:
        check_loop(config, known.loop)
    if config.density_per_agent is not None:
        only_with("density_per_agent", "sharing", "independent")
        if config.initial_mask in ("ones", "run"):
            raise ValueError(
                f"density_per_agent: method {config.method} does not draw the first mask"
            )
        if not all(0 < density <= 1 for density in config.density_per_agent):
            shown = ",".join(str(density) for density in config.density_per_agent)
            raise ValueError(f"density_per_agent = {shown}: each must be above 0 and at most 1")
    for name in ("prune_ratio", "critic_prune_ratio"):
        ratios = getattr(config, name)
        if ratios is None:
            continue
        shown = "-".join(f"{ratio:g}" for ratio in ratios)
        if config.sharing not in PRUNING:
            raise ValueError(f"{name} = {shown}: needs sharing = {', '.join(PRUNING)}")
        if not all(0 <= ratio < 1 for ratio in ratios):
            raise ValueError(f"{name} = {shown}: each must be at least 0 and below 1")
    if not all(0 <= share <= 1 for share in config.snapshots or ()):
        shown = ",".join(f"{share:g}" for share in config.snapshots or ())
        raise ValueError(f"snapshots = {shown}: each must be at least 0 and at most 1")
    if config.needs_run and config.from_run is None:
        wanted = "method" if config.method in ("winning-ticket", "one-shot") else "initial_weights"
        raise ValueError(f"{wanted} = {getattr(config, wanted)}: needs --from RUN")
    if config.from_run is not None and not config.needs_run:
        raise ValueError(
            f"from_run = {config.from_run}: initial_weights = fresh and initial_mask = "
            f"{config.initial_mask} take nothing from it"
        )
    if not config.stays_dense:
        _check_pattern(config)
    if config.pruning != "none" and config.initial_mask != "ones":
        only_with("pruning", "initial_mask", "ones")
    if config.widths == "tiny" and not config.stays_dense:
        raise ValueError("widths = tiny: needs method = tiny")
    if config.replay_window == "dynamic":
        at_most("batch_size", "window_floor")
        if config.window_floor >= config.buffer_episodes:
            bound = f"buffer_episodes = {config.buffer_episodes}"
            raise ValueError(f"window_floor = {config.window_floor}: must be below {bound}")
    if config.warmup_env_steps >= config.steps:
        bound = f"steps = {config.steps}"
        raise ValueError(f"warmup_env_steps = {config.warmup_env_steps}: must be below {bound}")
    rows = config.rollout_steps * config.parallel_envs
    if (known is None or known.loop == "on_policy") and rows % config.minibatches:
        raise ValueError(
            f"minibatches = {config.minibatches}: must divide rollout_steps · parallel_envs = {rows}"
        )
    if config.sharing == "seps" and config.seps_steps >= config.steps:
        bound = f"steps = {config.steps}"
        raise ValueError(f"seps_steps = {config.seps_steps}: must be below {bound}")
    if config.seed + config.seeds > 2**31:
        raise ValueError(f"seeds = {config.seeds}: the last seed would pass {2**31 - 1}")
    if config.initial_mask == "ones" and config.growth != "none":
        raise ValueError(f"growth = {config.growth}: method {config.method} has no mask to evolve")


def check_loop(config: Config, loop: str) -> None:
    """Refuses settings that do not fit the loop of an algorithm; of an own one when it has been imported.

    Args:
        config: the settings.
        loop: that the algorithm's entry gives.

    Raises:
        ValueError: the first that does not fit.
    """
    if loop == "replay" and config.critic_prune_ratio is not None:
        raise ValueError(f"critic_prune_ratio: algorithm {config.algorithm} has no critic")
    if loop == "on_policy" and config.diagnostics:
        raise ValueError("diagnostics = true: needs an algorithm that learns action values")
    if loop == "on_policy" and config.pipeline:
        raise ValueError(
            f"pipeline = true: {config.algorithm} learns from what it has just played; must be false"
        )


def _check_pattern(config: Config) -> None:
    """Refuses a pattern with a fixed density and another sparsity, densities per agent or gradual pruning."""
    fixed = re.fullmatch(r"\d+:(\d+)", config.pattern)
    try:
        check_sparsity(config.pattern, config.sparsity)
    except UserError as error:
        raise ValueError(str(error)) from None
    if fixed and config.density_per_agent is not None:
        shown = ",".join(f"{density:g}" for density in config.density_per_agent)
        raise ValueError(
            f"density_per_agent = {shown}: pattern {config.pattern} has one density for all; for N by the "
            f"agent's density: pattern n:{fixed[1]}"
        )
    if fixed and config.pruning != "none":
        raise ValueError(
            f"pattern = {config.pattern}: method {config.method} prunes gradually, so N must be by the "
            f"sparsity: n:{fixed[1]}"
        )
