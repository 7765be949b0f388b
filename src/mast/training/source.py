"""What a run takes over from an earlier one: a mask, trained weights, or both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mast.config import Config, load_run_config, recorded_team
from mast.configuration.checks import PRUNING
from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.files import write_atomically, writing
from mast.sparsity.masks import Masks, leaf_path
from mast.training.checkpoint import CheckpointStore

INITIAL_FILE = "snapshots/initial.safetensors"
"""A run's first dense weights, before its mask (in its folder)."""

SHARED = (
    "environment",
    "algorithm",
    "hidden_size",
    "mixer_embed",
    "hypernet_hidden",
    "unrestricted_hidden",
    "sharing",
    "hidden_layers",
)
"""The settings that a run and its source must have in common: they are the shapes of the networks."""

OF_WARM_STARTS = (
    *SHARED[1:],
    "widths",
    "sparsity",
    "allocation",
    "pattern",
    "density_per_agent",
    "prune_ratio",
    "critic_prune_ratio",
    "normalise_observations",
)
"""Those of a warm start, whose environment may be another one of the same shapes."""


Weights = dict[str, np.ndarray]
"""Parameters by leaf path (`agent.fc1.weight`)."""


class Source(NamedTuple):
    """Arrays of an earlier run by leaf path; None where the run makes its own."""

    weights: Weights | None
    masks: Weights | None
    observed: Weights | None = None
    """Of a warm start: the statistics of its observations, where they are normalised."""


def with_source(config: Config) -> tuple[Config, list[str]]:
    """The settings of a run that begins with an earlier one, and what to say about them.

    A ticket has the sparsity and the allocation of the mask that it takes.

    Args:
        config: resolved settings.

    Raises:
        UserError: `from_run` is no run, or one that does not fit.
    """
    if config.from_run is None:
        return config, []
    run = Path(config.from_run).resolve()
    source = load_run_config(run)
    if source.seeds > 1:
        raise UserError(f"--from {run}: holds {source.seeds} runs, choose one: seed-{source.seed}")
    if config.sharing in (*PRUNING, "seps") and (
        config.sharing == "seps" or not config.starts_warm
    ):
        raise UserError(
            f"--from {run}: sharing = {config.sharing} draws anew which part of a network an agent uses"
        )
    if config.starts_warm:
        return _warm(config, source, run)
    if source.widths != "full":
        raise UserError(f"--from {run}: a run of method {source.method} has other networks")
    for name in SHARED:
        if getattr(source, name) != getattr(config, name):
            there, here = getattr(source, name), getattr(config, name)
            raise UserError(f"--from {run}: its {name} is {there}, this run's is {here}")
    update: dict[str, Any] = {"from_run": str(run)}
    notices = []
    if source.density_per_agent is not None and config.initial_mask == "run":
        raise UserError(f"--from {run}: masks with density_per_agent cannot be taken over")
    notices += _unfinished(run, source)
    if config.initial_weights == "initial":
        update["init_scale"] = source.init_scale
    if config.initial_mask == "run":
        if source.stays_dense:
            raise UserError(f"--from {run}: a run of method {source.method} has no mask")
        update |= {"sparsity": source.sparsity, "allocation": source.allocation}
        update |= {"pattern": source.pattern}
        if source.sparsity != config.sparsity:
            notices.append(f"sparsity {source.sparsity}: that of the mask of {run}")
    elif config.initial_weights == "final" and not source.stays_dense:
        raise UserError(f"--from {run}: must be a dense run, it is of method {source.method}")
    return config.model_copy(update=update), notices


def _warm(config: Config, source: Config, run: Path) -> tuple[Config, list[str]]:
    """As `with_source`, of a warm start."""
    names = [name for name in OF_WARM_STARTS if name != "sparsity" or config.pruning == "none"]
    differ = [
        f"{name} {getattr(source, name)} there, {getattr(config, name)} here"
        for name in names
        if getattr(source, name) != getattr(config, name)
    ]
    if differ:
        raise UserError(f"--from {run}: other networks: {'; '.join(differ)}")
    if config.initial_mask == "ones" and not source.stays_dense:
        raise UserError(
            f"--from {run}: method {config.method} begins dense, a run of method {source.method} is sparse"
        )
    if config.initial_mask == "run" and source.stays_dense:
        raise UserError(f"--from {run}: a run of method {source.method} has no mask")
    if source.density_per_agent is not None:
        raise UserError(f"--from {run}: masks with density_per_agent cannot be taken over")
    taken = "weights" if config.initial_mask == "ones" else "weights and masks"
    said = [
        f"begins with the {taken} of {run} (trained on {source.environment}), with a fresh optimizer"
    ]
    return config.model_copy(update={"from_run": str(run)}), said + _unfinished(run, source)


def _unfinished(run: Path, source: Config) -> list[str]:
    """What to say where a run is not finished."""
    newest = CheckpointStore(run).peek()
    if newest is None or newest[1]["run"]["done"]:
        return []
    at = f"{newest[1]['run']['env_steps']:,} of {source.steps:,} env steps"
    return [f"{run} is not finished: what it has at {at} is taken"]


def load_source(config: Config) -> Source | None:
    """The arrays that the run begins with; None where it begins with nothing but its seed.

    Raises:
        UserError: the earlier run has no checkpoint, or lacks its initial weights.
    """
    if config.from_run is None:
        return None
    run = Path(config.from_run)
    arrays = CheckpointStore(run).state_arrays()
    masks = _below(arrays, "optimizer.masks.") if config.initial_mask == "run" else None
    weights = {
        "fresh": lambda: None,
        "final": lambda: _below(arrays, "params."),
        "initial": lambda: _initial_weights(run),
    }[config.initial_weights]()
    observed = _below(arrays, "observed.") if config.starts_warm else None
    return Source(weights, masks, observed)


def check_sizes(config: Config, spec: EnvironmentSpec) -> None:
    """Makes sure that an earlier run's environment has the sizes of this one's.

    Args:
        config: of the run that begins with the earlier one.
        spec: of its environment.

    Raises:
        UserError: it has others, which are named.
    """
    there = None if config.from_run is None else recorded_team(Path(config.from_run))
    if there is None:
        return
    differ = [
        f"{name} {getattr(there, name)} there, {getattr(spec, name)} here"
        for name in ("agents", "observation", "actions", "state")
        if getattr(there, name) != getattr(spec, name)
    ]
    if differ:
        raise UserError(f"--from {config.from_run}: other shapes: {'; '.join(differ)}")


def by_path(params: Any) -> Weights:
    """The parameters as host arrays."""
    return {
        leaf_path(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def take_over(
    params: Any, source: Source, counts: Mapping[str, Any], run: str
) -> tuple[Any, Masks | None]:
    """The source's weights in place of these, and its masks.

    Args:
        params: fresh parameters.
        source: arrays of an earlier run of the same algorithm.
        counts: active weights that each layer has by the settings, as its masks must have.
        run: its folder, for messages.

    Raises:
        UserError: shapes differ, as those of another environment do, or counts, as those of a run that is
            still being pruned do.
    """
    fresh = by_path(params)
    for name, array in ((source.weights or {}) | (source.masks or {})).items():
        if name not in fresh or fresh[name].shape != array.shape:
            here = fresh[name].shape if name in fresh else "nothing of that name"
            raise UserError(f"--from {run}: its {name} is {array.shape}, this run has {here}")
    for name, mask in (source.masks or {}).items():
        if int(mask.sum()) != int(counts[name]):
            raise UserError(
                f"--from {run}: its {name} has {int(mask.sum())} active weights, not {counts[name]}"
            )
    weights = fresh | (source.weights or {})
    taken = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(weights[leaf_path(path)]), params
    )
    masks = source.masks
    return taken, None if masks is None else {n: jnp.asarray(m) for n, m in masks.items()}


def save_initial_weights(run: Path, weights: Weights) -> None:
    """Keep a run's first dense weights, so that a ticket can begin with them (`--rewind`)."""
    path = run / INITIAL_FILE
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_atomically(path, save(weights))


def _initial_weights(run: Path) -> Weights:
    try:
        return dict(load_file(run / INITIAL_FILE))
    except (OSError, SafetensorError):
        raise UserError(f"--from {run}: {INITIAL_FILE} is missing or damaged") from None


def _below(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
