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
from mast.policy import as_saved, layers_of
from mast.sparsity.masks import leaf_path
from mast.training.checkpoint import CheckpointStore
from mast.training.exploration import is_stochastic


def mixer_without_weights(config: Config, spec: EnvironmentSpec) -> Mixer | None:
    """The mixer of IQL and VDN, which have nothing to learn; None for the others and for actor–critics.

    Args:
        config: of the run.
        spec: of its environment.
    """
    mixer = _mixer(shapes_of(config, spec))
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
        None where the run does not have it, or there is none: an actor has no action values.
    """
    networks = shapes_of(config, spec)
    shapes = _mixer(networks)
    if not jax.tree.leaves(shapes):
        return shapes
    try:
        arrays = CheckpointStore(run).state_arrays()
    except UserError:
        return None  # no checkpoint, or no whole one: the policy can be watched nevertheless
    try:
        there = as_saved(filled(networks.agent, "agent", arrays), {})[0]
        return filled(shapes, "mixer", arrays) if _same(there, agent) else None
    except KeyError:
        return None


def shapes_of(config: Config, spec: EnvironmentSpec) -> Any:
    """An algorithm's networks, whose arrays are only shapes.

    Args:
        config: of the run.
        spec: of its environment.
    """
    sizes = sizes_of(config, spec)
    init = algorithm_entry(config.algorithm).init
    return jax.eval_shape(lambda key: init(key, sizes), jax.random.key(0))


def _mixer(networks: Any) -> Any:
    if is_stochastic(networks.agent):
        return None
    return getattr(networks, "mixer", IndependentMixer())


def filled(shapes: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A network of a checkpoint.

    Args:
        shapes: of the network.
        name: of its field in the parameters.
        arrays: of the checkpoint.

    Raises:
        KeyError: the checkpoint does not have it.
    """

    def fill(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.asarray(arrays[f"params.{name}.{leaf_path(path)}"])

    return jax.tree_util.tree_map_with_path(fill, shapes)


def _same(there: Any, agent: Any) -> bool:
    """Whether a checkpoint's agents are those of a policy."""
    layers, others = layers_of(there), layers_of(agent)
    return all(
        np.array_equal(getattr(layers[name], part), getattr(others[name], part))
        for name in layers
        for part in ("weight", "bias")
    )
