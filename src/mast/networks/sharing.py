"""Whose parameters an agent uses: those of one network, of one of several, or of a part of one.

Parameter sharing by structured pruning (SNP-PS) gives each agent a subnetwork of one root network: fixed
masks, drawn once, over the hidden neurons. Nothing is added to the parameters and nothing is learned of the
masks: they are arrays without gradient beside the weights.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.networks.linear import Linear
from mast.networks.spec import NetworkSpec


class Parts(eqx.Module):
    """What of the networks each agent uses. None stands for everything; none of it is ever trained."""

    network_of: Int[Array, " agents"] | None = None
    """Which of the stacked networks."""
    neurons: dict[str, Bool[Array, "agents units"]] | None = None
    """Which neurons of each hidden layer, by `NetworkSpec.hidden`."""
    weights: dict[str, Bool[Array, "agents outputs inputs"]] | None = None
    """Which weights of each layer, by its name; of a layer that is missing all."""


def draw_parts(key: PRNGKeyArray, network: NetworkSpec) -> Parts | None:
    """What each agent uses of a network, drawn once; None where each uses all of its own.

    Every agent lacks the same number of neurons of a hidden layer, round(ratio · width), chosen uniformly
    and independently of the others; or, of weights, of each matrix that leads to one.

    Args:
        key: random key.
        network: whose `lacks`, `copies` and `users` say what is to be drawn.

    Source: SNP-PS, Algorithm 1; the baselines USNP and SNP-NPS of its §5.4.
    """
    clustered = network.clustered
    # Until the agents are clustered (`mast.learning.seps`) all use the first network.
    network_of = jnp.zeros(network.users, jnp.int32) if clustered else None
    lacks = network.lacks
    if lacks is None:
        return Parts(network_of) if clustered else None
    # Agents that lack the same share one draw.
    draws = 1 if lacks.alike else network.users

    def without(key: PRNGKeyArray, size: int, missing: int) -> Bool[Array, "agents size"]:
        chance = jax.random.uniform(key, (draws, size))
        rank = jnp.argsort(jnp.argsort(chance, axis=1), axis=1)
        return jnp.broadcast_to(rank >= missing, (network.users, size))

    if lacks.of == "neurons":
        keys = jax.random.split(key, len(network.hidden))
        neurons = {
            name: without(each, units, network.pruned[name])
            for each, (name, units) in zip(keys, network.hidden.items(), strict=True)
        }
        return Parts(network_of, neurons)
    ratios = network.ratios
    layers = [layer for layer in network.layers if layer.makes in ratios]
    weights = {}
    for each, layer in zip(jax.random.split(key, len(layers)), layers, strict=True):
        size = layer.outputs * layer.inputs
        left = without(each, size, round(ratios[layer.makes] * size))
        weights[layer.name] = left.reshape(network.users, layer.outputs, layer.inputs)
    return Parts(network_of, None, weights)


def assigned(networks: Any, network_of: Int[Array, "*runs agents"]) -> Any:
    """The networks with the agents shared out among them anew.

    Args:
        networks: any tree of networks.
        network_of: which network each agent uses.
    """

    def anew(node: Any) -> Any:
        if isinstance(node, Parts) and node.network_of is not None:
            # A copy each: buffers that are given away may not be shared.
            return Parts(jnp.array(network_of), node.neurons, node.weights)
        return node

    return jax.tree.map(anew, networks, is_leaf=lambda node: isinstance(node, Parts))


def layer_of_agents(parts: Parts | None, name: str, layer: Linear) -> Linear:
    """A layer as the agents use it: itself where all use all of it, else one matrix for each, stacked.

    Args:
        parts: what each agent uses.
        name: of the layer.
        layer: [outputs, inputs], or [copies, outputs, inputs] of several networks.
    """
    if parts is None:
        return layer
    if parts.network_of is not None:
        layer = Linear(layer.weight[parts.network_of], layer.bias[parts.network_of])
    mask = None if parts.weights is None else parts.weights.get(name)
    if mask is not None:
        agents = mask.shape[0]
        layer = Linear(
            layer.weight * mask, jnp.broadcast_to(layer.bias, (agents, *layer.bias.shape[-1:]))
        )
    return layer


def apply_layer(
    layer: Linear, x: Float[Array, "*batch agents inputs"]
) -> Float[Array, "*batch agents outputs"]:
    """One layer for all agents, or one for each where they are stacked."""
    if layer.weight.ndim == 2:
        return layer(x)
    return jnp.einsum("...ai,aoi->...ao", x, layer.weight) + layer.bias


def keep_neurons(
    parts: Parts | None, name: str, x: Float[Array, "*batch agents units"]
) -> Float[Array, "*batch agents units"]:
    """The neurons that each agent has; the others are 0. Survivors are not rescaled.

    Args:
        parts: what each agent uses.
        name: of the hidden layer.
        x: its activation.
    """
    if parts is None or parts.neurons is None:
        return x
    return x * parts.neurons[name]
