"""What a run needs in memory, estimated from its settings and the environment's sizes."""

from typing import Protocol, runtime_checkable

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.envs.names import EnvironmentEntry, entry_of, steps_of
from mast.errors import UserError
from mast.execution.account import account_of, full_sizes
from mast.learning.ring_memory import EpisodeSizes, expected_bytes, machine_memory

FLOAT = 4
BYTES_PER_PARAMETER = 3 * FLOAT + 1 + FLOAT + 3 * FLOAT
"""Online, target, second moment; mask; gradient; and the three anew while the old ones are still there."""
USUAL_LENGTH = 0.75
"""Of the limit: an episode's length, about what SMAX's longer battles have."""


@runtime_checkable
class Sizes(EpisodeSizes, Protocol):
    """What must be known of an environment; `EnvironmentSpec` has all of it."""


class KnownSizes:
    """The sizes of an environment that comes with Mast, by its name, under a run's settings."""

    def __init__(self, config: Config, entry: EnvironmentEntry) -> None:
        self.agents, self.actions, self.observation = entry.agents, entry.actions, entry.observation
        self.state = entry.state
        if config.state_last_action:
            self.state += entry.agents * entry.actions
        self.episode_limit = steps_of(entry.id, config.episode_limit) or entry.episode_limit


def known_sizes(config: Config) -> KnownSizes | None:
    """The sizes of a run's environment without making it; None where it is a user's own."""
    entry = entry_of(config.environment)
    return None if entry is None else KnownSizes(config, entry)


def needed_bytes(config: Config, sizes: Sizes, runs: int) -> dict[str, float]:
    """About how many bytes each part of a training takes.

    The environment's own state and compiled programs are not among them.

    Args:
        config: the settings.
        sizes: of the environment.
        runs: how many of them are one program.
    """
    counted = config.model_copy(
        update={"density_per_agent": None}
    )  # does not change the dense size
    parameters = account_of(counted, sizes).costs.parameters
    count = parameters.sparse if config.widths == "tiny" else parameters.dense
    if algorithm_entry(config.algorithm).loop != "replay":
        rows = config.rollout_steps * config.parallel_envs
        rollout = rows * (2 * _step_bytes(config, sizes) + _activation_bytes(config, sizes))
        return {
            "networks and optimizer": float(runs * count * BYTES_PER_PARAMETER),
            "rollout": float(runs * rollout),
        }
    ring = expected_bytes(
        sizes,
        config.buffer_episodes,
        config.replay_dtype,
        USUAL_LENGTH * sizes.episode_limit,
        config.replay_window == "dynamic",
    )
    steps = sizes.episode_limit + 1
    recorded = config.parallel_envs * steps * _step_bytes(config, sizes)
    batch = config.batch_size * steps
    of_one = {
        "networks and optimizer": count * BYTES_PER_PARAMETER,
        "replay ring": ring,
        "batch": batch * (_step_bytes(config, sizes) + _activation_bytes(config, sizes)),
        "parallel environments": recorded,
    }
    return {name: float(runs * size) for name, size in of_one.items()}


def check_needed_memory(config: Config, sizes: Sizes, runs: int) -> str | None:
    """What the replay ring will take, in a line to be said before training; None where there is none.

    Args:
        config, sizes, runs: as for `needed_bytes`.

    Raises:
        UserError: the run needs more memory than the machine has; what takes how much, the largest first.
    """
    needed, available = needed_bytes(config, sizes, runs), machine_memory()
    whole = sum(needed.values())
    if available is not None and whole > available:
        parts = sorted(needed.items(), key=lambda part: -part[1])
        shown = ", ".join(f"{name} {size / 1e9:,.1f}" for name, size in parts)
        raise UserError(
            f"this run is expected to need {whole / 1e9:,.1f} GB of memory, this machine has "
            f"{available / 1e9:,.1f} GB: {shown}"
        )
    if "replay ring" not in needed:
        return None
    dynamic = config.replay_window == "dynamic"
    bound = runs * expected_bytes(sizes, config.buffer_episodes, config.replay_dtype, None, dynamic)
    return (
        f"replay ring: about {needed['replay ring'] / 1e9:.2f} GB when full (episodes of 3/4 of the limit), "
        f"{bound / 1e9:.2f} GB at most"
    )


def _step_bytes(config: Config, sizes: Sizes) -> int:
    """What is stored of one step of one episode."""
    replays = algorithm_entry(config.algorithm).loop == "replay"
    number = 2 if replays and config.replay_dtype == "float16" else FLOAT
    seen = (sizes.agents * sizes.observation + sizes.state) * number
    return seen + sizes.agents * (sizes.actions + FLOAT) + FLOAT + 2


def _activation_bytes(config: Config, sizes: Sizes) -> int:
    """What an update makes of one step of one episode: the forward pass, kept, and its gradient."""
    hidden = config.hidden_size
    if config.execution != "masked":  # everything but the hidden state stays in the cache
        return FLOAT * sizes.agents * (hidden + 4 * sizes.actions)
    agent = sizes.observation + sizes.actions + 11 * hidden + 2 * sizes.actions
    networks = algorithm_entry(config.algorithm).networks(full_sizes(config, sizes))
    others = [network for name, network in networks.items() if name != "agent"]
    mixer = sizes.state + sum(layer.outputs for network in others for layer in network.layers)
    return 2 * FLOAT * (sizes.agents * agent + mixer)
