"""The mixer that was trained with a policy, from the run's checkpoint."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.learning.observed import Observed, nothing_observed
from mast.networks.mixers import IndependentMixer, Mixer, joint_value
from mast.networks.normaliser import Scale
from mast.policy import as_saved, layers_of
from mast.sparsity.masks import leaf_path
from mast.training.checkpoint import CheckpointStore
from mast.training.exploration import is_stochastic
from mast.training.saved_state import fill_template


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
        if not _same(there, agent):
            return None
        mixer = filled(shapes, "mixer", arrays)
        if not config.normalise_observations:
            return mixer
        return NormalisedMixer(mixer, observed_of(arrays, spec).state.scale())
    except KeyError:
        return None


class NormalisedMixer(eqx.Module):
    """A mixer that is given states as they come, and reads them normalised."""

    mixer: Mixer
    scale: Scale

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch heads"]:
        """Q_tot."""
        return self.mixer(utilities, self.scale(state))


@joint_value.register(NormalisedMixer)
def normalised_joint_value(
    mixer: NormalisedMixer,
    q: Float[Array, "*batch agents actions"],
    action: Int[Array, "*batch agents"],
    available: Bool[Array, "*batch agents actions"],
    state: Float[Array, "*batch state"],
) -> Float[Array, "*batch heads"]:
    """`joint_value` of the mixer within."""
    return joint_value(mixer.mixer, q, action, available, mixer.scale(state))


def observed_of(arrays: dict[str, np.ndarray], spec: EnvironmentSpec) -> Observed:
    """What the run of a checkpoint had observed.

    Raises:
        KeyError: the checkpoint does not have it.
    """
    own = {
        name.removeprefix("observed."): array
        for name, array in arrays.items()
        if name.startswith("observed.")
    }
    if not own:
        raise KeyError("observed")
    return fill_template(nothing_observed(spec), own)


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
