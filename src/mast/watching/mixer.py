"""The mixer that was trained with a policy, from the run's checkpoint."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.networks.mixers import IndependentMixer, Mixer
from mast.policy import LAYERS
from mast.sparsity.masks import leaf_path
from mast.training.checkpoint import CheckpointStore


def mixer_without_weights(config: Config, spec: EnvironmentSpec) -> Mixer | None:
    """The mixer of IQL and VDN, which have nothing to learn; None for the others.

    Args:
        config: of the run.
        spec: of its environment.
    """
    mixer = _shapes(config, spec)
    return None if jax.tree.leaves(mixer) else mixer


def mixer_of(run: Path, agent: Any, config: Config, spec: EnvironmentSpec) -> Mixer | None:
    """The mixer that belongs to the agents of a policy.

    A policy file holds the agents only. The checkpoint has the mixer of the newest ones; that of any other
    policy, as of the best one, was not kept.

    Args:
        run: its folder.
        agent: the network of the policy.
        config: of the run.
        spec: of its environment.

    Returns:
        None where the run does not have it.
    """
    shapes = _shapes(config, spec)
    if not jax.tree.leaves(shapes):
        return shapes
    try:
        arrays = CheckpointStore(run).state_arrays()
    except UserError:
        return None  # no checkpoint, or no whole one: the policy can be watched nevertheless
    if not _same_agent(arrays, agent):
        return None

    def fill(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.asarray(arrays[f"params.mixer.{leaf_path(path)}"])

    try:
        return jax.tree_util.tree_map_with_path(fill, shapes)
    except KeyError:
        return None


def _shapes(config: Config, spec: EnvironmentSpec) -> Any:
    """A mixer whose arrays are only shapes."""
    sizes = sizes_of(config, spec)
    init = algorithm_entry(config.algorithm).init
    shapes = jax.eval_shape(lambda key: init(key, sizes), jax.random.key(0))
    return getattr(shapes, "mixer", IndependentMixer())


def _same_agent(arrays: dict[str, np.ndarray], agent: Any) -> bool:
    """Whether a checkpoint's agents are those of a policy."""
    return all(
        np.array_equal(
            arrays.get(f"params.agent.{name}.{part}", np.zeros(0)),
            np.asarray(getattr(getattr(agent, name), part)),
        )
        for name in LAYERS
        for part in ("weight", "bias")
    )
