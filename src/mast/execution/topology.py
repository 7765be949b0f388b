"""Which weights of a team's networks exist at first, and how many in the end: spec §2 on its networks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mast.config import Config
from mast.execution.account import densities_per_copy
from mast.sparsity.allocation import (
    LayerShape,
    active_counts,
    active_counts_per_copy,
    allocate,
)
from mast.sparsity.masks import (
    Masks,
    draw_masks,
    largest_mask_per_unit,
    leaf_path,
    random_mask_per_unit,
)


def sparse_layers(params: Any) -> dict[str, list[LayerShape]]:
    """The weight matrices of each network, one network per field of the parameters."""
    layers: dict[str, list[LayerShape]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = leaf_path(path)
        if not name.endswith(".weight"):
            continue
        *copies, outputs, inputs = leaf.shape
        layer = LayerShape(name, inputs, outputs, copies[0] if copies else 1)
        layers.setdefault(name.split(".")[0], []).append(layer)
    return layers


def agent_leaves(params: Any) -> set[str]:
    """The stacked weight matrices of independent agents, by leaf path."""
    return {
        name
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if (name := leaf_path(path)).endswith(".weight") and leaf.ndim == 3
    }


def final_counts(params: Any, config: Config) -> dict[str, Any]:
    """Active weights of each layer by its settings: one budget per network at the same sparsity.

    Where pruning is to come to them they are those of the end. With `density_per_agent`, an agent's
    layer has one count per agent, each agent's matrices having a budget of their own.
    """
    sparsity = 0.0 if config.stays_dense else config.sparsity
    counts: dict[str, Any] = {}
    stacked = agent_leaves(params)
    for layers in sparse_layers(params).values():
        densities = densities_per_copy(config, layers[0].copies)
        if densities and layers[0].name in stacked:
            counts |= active_counts_per_copy(layers, densities, config.allocation)
        else:
            counts |= active_counts(layers, allocate(layers, sparsity, config.allocation))
    return counts


def initial_masks(key: PRNGKeyArray, params: Any, config: Config) -> Masks:
    """A mask for every weight matrix.

    A dense team has masks of ones, so that it is the same program as every other method.
    """
    counts = final_counts(params, config)
    kind = config.initial_mask
    if kind == "run":
        kind = "random"  # only the shapes matter: the masks themselves come with the checkpoint
    whole = {name: count for name, count in counts.items() if isinstance(count, int)}
    masks = draw_masks(key, params, whole, kind)
    weights = {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for index, (name, count) in enumerate(sorted(counts.items())):
        if name in masks:
            continue
        each, weight = jnp.asarray(count, jnp.int32), weights[name]
        if kind == "largest":
            masks[name] = largest_mask_per_unit(weight, each)
        else:
            masks[name] = random_mask_per_unit(jax.random.fold_in(key, index), weight.shape, each)
    return masks
