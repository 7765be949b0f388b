"""Settings that a run does not read: no mistake, but hardly what was meant. Imports no JAX."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from mast.algorithms.registry import BUILT_IN
from mast.envs.names import family_of

if TYPE_CHECKING:
    from mast.configuration.settings import Config

_NEEDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "double_q": ("operator", ("max",)),
    "softmax_beta": ("operator", ("softmax", "res_softmax")),
    "omega": ("operator", ("mellowmax", "soft_mellowmax")),
    "soft_mellowmax_alpha": ("operator", ("soft_mellowmax",)),
    "td_lambda": ("targets", ("td_lambda", "hybrid")),
    "burn_in_fraction": ("targets", ("hybrid",)),
    "n_step": ("targets", ("n_step", "delayed_n_step")),
    "delay_fraction": ("targets", ("delayed_n_step",)),
    "window_interval": ("replay_window", ("dynamic",)),
    "window_steps": ("replay_window", ("dynamic",)),
    "window_threshold": ("replay_window", ("dynamic",)),
    "window_drop": ("replay_window", ("dynamic",)),
    "window_floor": ("replay_window", ("dynamic",)),
    "prune_begin_fraction": ("pruning", ("cubic",)),
    "prune_end_fraction": ("pruning", ("cubic",)),
    "seps_clusters": ("sharing", ("seps",)),
    "seps_steps": ("sharing", ("seps",)),
    "mixer_embed": ("algorithm", ("qmix", "owqmix", "cwqmix", "res")),
    "hypernet_hidden": ("algorithm", ("qmix", "owqmix", "cwqmix", "qplex", "res")),
    "weight_alpha": ("algorithm", ("owqmix", "cwqmix")),
    "weights_from": ("algorithm", ("owqmix", "cwqmix")),
    "unrestricted_hidden": ("algorithm", ("owqmix", "cwqmix")),
    "res_regulariser": ("algorithm", ("res",)),
    "res_unavailable": ("algorithm", ("res",)),
    "gae_lambda": ("algorithm", ("ippo", "mappo")),
    "ppo_clip": ("algorithm", ("ippo", "mappo")),
    "rms_decay": ("optimizer", ("rmsprop",)),
}
"""What reads a setting: another one, at these values."""

_ON_POLICY = (
    *("rollout_steps", "value_coefficient", "entropy_coefficient", "epochs", "minibatches"),
    "hidden_layers",
)
_REPLAY = (
    *("batch_size", "online_share", "buffer_episodes", "online_episodes", "replay_window"),
    *("warmup_env_steps", "updates_per_episode", "target_interval", "timeout"),
    *("operator", "targets", "replay_dtype"),
    *("epsilon_start", "epsilon_end", "epsilon_steps"),
)
_GROWTH = ("drop_fraction", "drop_schedule", "grown_state")
_SOFT = ("softmax", "soft_mellowmax")
_SPARSE = ("init_scale", "step_exponent", "step_cap")


def idle_settings(config: Config, given: Collection[str]) -> list[str]:
    """What to tell the user about settings that this run does not read, one line for each reason.

    Args:
        config: the resolved settings.
        given: names of the settings that the user gave; those given their usual value go without a word.
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in unread_settings(config):
        usual = type(config).model_fields[name].get_default()
        if name in given and getattr(config, name) != usual:
            reasons.setdefault(reason, []).append(name)
    return [f"no effect of {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def unread_settings(config: Config) -> Iterator[tuple[str, str]]:
    """Each setting that is not read, and why."""
    entry = BUILT_IN.get(config.algorithm)
    if entry is None:
        return  # what an own algorithm reads is not known
    on_policy = entry.loop == "on_policy"
    why = "learns on policy" if on_policy else "replays whole episodes"
    for name in _REPLAY if on_policy else _ON_POLICY:
        yield name, f"algorithm {config.algorithm} {why}"
    for name, (needed, values) in _NEEDS.items():
        if on_policy and needed in _REPLAY:
            yield name, f"algorithm {config.algorithm} {why}"
        elif getattr(config, needed) not in values:
            yield name, f"needs {needed} = {' or '.join(values)}"
    if config.online_share == 0 and not on_policy:
        yield "online_episodes", "needs an online_share above 0"
    if config.final_learning_rate is None and not config.steps_fit_density:
        yield "anneal_begin_fraction", "the learning rate stays (needs final_learning_rate)"
    if config.anneal_begin_fraction == 1:
        yield "final_learning_rate", "needs an anneal_begin_fraction below 1"
    if config.algorithm in ("owqmix", "cwqmix") and config.operator not in _SOFT:
        yield "weights_from", f"needs operator = {' or '.join(_SOFT)}"
    if not config.evolves:
        for name in ("drop", *_GROWTH, "evolve_interval", "evolve_order"):
            yield name, "the mask stays (growth = none)"
    elif config.growth == "none":
        for name in _GROWTH:
            yield name, "nothing grows (growth = none)"
    if config.stays_dense:
        tiny = config.widths == "tiny"  # has the size of a sparse team, whose layers it is like
        for name in _SPARSE if tiny else ("allocation", *_SPARSE):
            yield name, f"method {config.method} stays dense"
    elif config.step_exponent == 0:
        yield "step_cap", "needs a step_exponent above 0"
    if config.sharing == "independent":
        yield "agent_gradient", "under sharing = independent each weight is of one agent"
    yield from _idle_rewards(config)


def _idle_rewards(config: Config) -> Iterator[tuple[str, str]]:
    """Settings of the agents' own rewards that are not read, as far as the environment's name tells."""
    family = family_of(config.environment)
    if family is not None and family.rewards == "team":
        for name in ("rewards", "team_reward"):
            yield name, f"{config.environment} pays the team"
    elif not config.learns_from_team:
        yield "team_reward", "needs rewards = team"
    if family is None or family.prefix != "smax":
        yield "battle", f"{config.environment} is none of SMAX's battles"
