"""Which weights of a team's networks exist at first, and how many in the end: spec §2 on its networks."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mast.config import Config
from mast.execution.account import counts_per_copy, densities_per_copy
from mast.networks.spec import NetworkSpec
from mast.sparsity.allocation import (
    LayerShape,
    active_counts,
    allocate,
)
from mast.sparsity.layout import Layout, LeafPattern
from mast.sparsity.masks import (
    Masks,
    draw_masks,
    first_score,
    largest_mask_per_unit,
    leaf_path,
    random_mask_per_unit,
)
from mast.sparsity.pattern_names import held_counts, pattern_of
from mast.sparsity.patterns import UNSTRUCTURED

Networks = Mapping[str, NetworkSpec]
"""The declarations of a team's networks, by the fields of its parameters."""


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


def team_patterns(config: Config, networks: Networks) -> dict[str, LeafPattern]:
    """The pattern of every weight matrix, by leaf path; none of an unstructured or a dense team.

    Args:
        config: the settings.
        networks: the declarations of the networks, by the fields of the parameters.
    """
    pattern = pattern_of(config.pattern)
    if pattern == UNSTRUCTURED or config.stays_dense:
        return {}
    return {
        f"{name}.{layer}.weight": LeafPattern(
            pattern,
            Layout(stacked=network.per_agent, gates=matrix.gates, is_output=matrix.is_output),
        )
        for name, network in networks.items()
        for layer, matrix in network.matrices.items()
    }


def final_counts(params: Any, config: Config, networks: Networks) -> dict[str, Any]:
    """Active weights of each layer by its settings: one budget per network at the same sparsity.

    Where pruning is to come to them they are those of the end. With `density_per_agent`, an agent's
    layer has one count per agent, each agent's matrices having a budget of their own. Each is one that the
    pattern can have.

    Args:
        params: the networks.
        config: the settings.
        networks: their declarations.
    """
    patterns = team_patterns(config, networks)
    shapes = {
        leaf_path(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    sparsity = 0.0 if config.stays_dense else config.sparsity
    counts: dict[str, Any] = {}
    stacked = agent_leaves(params)
    for layers in sparse_layers(params).values():
        densities = densities_per_copy(config, layers[0].copies)
        if densities and layers[0].name in stacked:
            network = layers[0].name.split(".")[0]
            counts |= {
                f"{network}.{layer}.weight": each
                for layer, each in counts_per_copy(networks[network], densities, config).items()
            }
        else:
            wanted = active_counts(layers, allocate(layers, sparsity, config.allocation))
            counts |= held_counts(
                wanted,
                {
                    name: patterns[name].possible(shapes[name])
                    for name in wanted
                    if name in patterns
                },
            )
    return counts


def initial_masks(key: PRNGKeyArray, params: Any, config: Config, networks: Networks) -> Masks:
    """A mask for every weight matrix.

    A dense team has masks of ones, so that it is the same program as every other method.
    """
    counts, patterns = final_counts(params, config, networks), team_patterns(config, networks)
    kind = config.initial_mask
    if kind == "run":
        kind = "random"  # only the shapes matter: the masks themselves come with the checkpoint
    whole = {name: count for name, count in counts.items() if isinstance(count, int)}
    masks = draw_masks(key, params, whole, kind, patterns)
    weights = {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for index, (name, count) in enumerate(sorted(counts.items())):
        if name in masks:
            continue
        each, weight = jnp.asarray(count, jnp.int32), weights[name]
        if name in patterns:
            score = first_score(jax.random.fold_in(key, index), weight, kind)
            masks[name] = jax.vmap(patterns[name].of_unit().best)(score, each)
        elif kind == "largest":
            masks[name] = largest_mask_per_unit(weight, each)
        else:
            masks[name] = random_mask_per_unit(jax.random.fold_in(key, index), weight.shape, each)
    return masks
