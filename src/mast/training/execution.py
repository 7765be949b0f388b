"""Which execution a run gets: dense arrays with zeros in XLA, or active values in native kernels."""

from mast.config import Config
from mast.errors import UserError

COMPACT_ALGORITHMS = ("iql", "vdn", "qmix")
"""Those whose networks have kernels."""
LARGEST_DENSITY = 0.2
"""Up to which density auto takes compact (docs/kernels.md has what was measured)."""


def obstacle(config: Config, vmapped: bool) -> str | None:
    """Why a run cannot be compact, in a few words; None where it can.

    Args:
        config: resolved settings.
        vmapped: whether several runs are one program.
    """
    import jax

    if vmapped:
        return "several runs in one program have none"
    if jax.default_backend() != "cpu":
        return f"there are none for a {jax.default_backend()}"
    if config.algorithm not in COMPACT_ALGORITHMS:
        return f"algorithm {config.algorithm} has none yet"
    if config.sharing != "shared":
        return f"sharing = {config.sharing} has none yet"
    if config.initial_weights == "final":
        return f"method {config.method} starts dense and is masked only"
    if config.grown_state == "keep" and config.growth != "none":
        return "grown_state = keep needs the slots of inactive weights"
    if config.pruning != "none":
        return f"method {config.method} changes the number of active weights"
    from mast import kernels

    return kernels.unavailable_reason()


def choose_execution(config: Config, vmapped: bool) -> tuple[Config, list[str]]:
    """The settings with `execution` decided, and what to say about it.

    Raises:
        UserError: compact is asked for and cannot be had.
    """
    if config.execution == "masked":
        return config, []
    notices: list[str] = []
    if config.execution == "compact":
        reason = obstacle(config, vmapped)
        if reason is not None:
            raise UserError(f"execution = compact: no native kernels: {reason}; use masked")
        return config, []
    is_sparse = config.initial_mask != "ones" and 1 - config.sparsity <= LARGEST_DENSITY
    reason = obstacle(config, vmapped) if is_sparse else None
    chosen = "compact" if is_sparse and reason is None else "masked"
    if reason is not None and "compiler" in reason:
        notices.append(f"no native kernels, so zeros are computed too: {reason}")
    return config.model_copy(update={"execution": chosen}), notices


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
