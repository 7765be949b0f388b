"""Whose parameters an agent uses: those of one network, of one of several, or of a part of one.

Parameter sharing by structured pruning (SNP-PS) gives each agent a subnetwork of one root network: fixed
masks, drawn once, over the hidden neurons. Nothing is added to the parameters and nothing is learned of the
masks: they are arrays without gradient beside the weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.networks.linear import Linear
from mast.networks.spec import LayerSpec, NetworkSpec


class Parts(eqx.Module):
    """What of the networks each agent uses. None stands for everything; none of it is ever trained."""

    network_of: Int[Array, " agents"] | None = None
    """Which of the stacked networks."""
    neurons: dict[str, Bool[Array, "agents units"]] | None = None
    """Which neurons of each hidden layer, by `NetworkSpec.hidden`; of each type where there are `types`."""
    weights: dict[str, Bool[Array, "agents outputs inputs"]] | None = None
    """Which weights of each layer, by its name; of a layer that is missing all."""
    types: tuple[int, ...] = eqx.field(static=True, default=())
    """The features of an observation that say which type its agent has, where episodes draw types anew."""

    def kept(
        self, name: str, observation: Float[Array, "*batch agents features"]
    ) -> Float[Array, "*rows units"]:
        """1 for the neurons of a hidden layer that each agent has now and 0 for the others.

        With `types` the observation decides; of no type, as that of a unit that died, it has none.
        """
        assert self.neurons is not None
        has = self.neurons[name].astype(jnp.float32)
        return observation[..., jnp.asarray(self.types)] @ has if self.types else has


def draw_parts(key: PRNGKeyArray, network: NetworkSpec) -> Parts | None:
    """What each agent uses of a network, drawn once; None where each uses all of its own.

    Every agent lacks the same number of neurons of a hidden layer, round(ratio · width), chosen uniformly
    and independently of the others; or, of weights, of each matrix that leads to one.

    Args:
        key: random key.
        network: whose `lacks`, `copies` and `users` say what is to be drawn.

    Source: SNP-PS, Algorithm 1; the baselines USNP and SNP-NPS of its §5.3.
    """
    clustered = network.clustered
    # Until the agents are clustered (`mast.learning.seps`) all use the first network.
    network_of = jnp.zeros(network.users, jnp.int32) if clustered else None
    lacks = network.lacks
    if lacks is None:
        return Parts(network_of) if clustered else None
    # Agents that lack the same share one draw.
    draws = 1 if lacks.alike else network.draws

    def without(key: PRNGKeyArray, size: int, missing: int) -> Bool[Array, "agents size"]:
        chance = jax.random.uniform(key, (draws, size))
        rank = jnp.argsort(jnp.argsort(chance, axis=1), axis=1)
        return jnp.broadcast_to(rank >= missing, (network.draws, size))

    if lacks.of == "neurons":
        keys = jax.random.split(key, len(network.hidden))
        neurons = {
            name: without(each, units, network.pruned[name])
            for each, (name, units) in zip(keys, network.hidden.items(), strict=True)
        }
        return Parts(network_of, neurons, types=lacks.types)
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
            return dataclasses.replace(node, network_of=jnp.array(network_of))
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
    parts: Parts | None,
    name: str,
    x: Float[Array, "*batch agents units"],
    observation: Float[Array, "*batch agents features"],
) -> Float[Array, "*batch agents units"]:
    """The neurons that each agent has; the others are 0. Survivors are not rescaled.

    Args:
        parts: what each agent uses.
        name: of the hidden layer.
        x: its activation.
        observation: what it is of.
    """
    if parts is None or parts.neurons is None:
        return x
    return x * parts.kept(name, observation)


class Users(NamedTuple):
    """How many agents use each weight and each bias of a layer."""

    weight: Float[Array, "*copies outputs inputs"]
    bias: Float[Array, "*copies outputs"]


def users_of(network: NetworkSpec, layer: LayerSpec, parts: Parts | None) -> Users:
    """How many agents use each weight of a layer, and its biases: those that have the neurons at both ends.

    Args:
        network: that the layer is of.
        layer: one of its own.
        parts: what each agent uses.
    """
    if network.per_agent:
        counts = jnp.ones(network.copies)
        if parts is not None and parts.network_of is not None:
            counts = jnp.bincount(parts.network_of, length=network.copies).astype(jnp.float32)
        return Users(counts[:, None, None], counts[:, None])
    if parts is not None and parts.weights is not None and layer.name in parts.weights:
        used = parts.weights[layer.name].sum(0)
        return Users(used.astype(jnp.float32), jnp.full(layer.outputs, float(network.users)))
    neurons = None if parts is None else parts.neurons

    def ends(size: int, units: int, *names: str) -> Float[Array, "agents size"]:
        """Which outputs or inputs an agent has, or a type of agent, 1 or 0."""
        if neurons is None or not names or names[0] not in neurons:
            return jnp.ones((network.draws, size))
        has = jnp.concatenate([neurons[name] for name in names], axis=1).astype(jnp.float32)
        return jnp.tile(has, (1, size // units))

    rows = ends(layer.outputs, layer.units, layer.makes)
    columns = ends(layer.inputs, layer.inputs, *layer.reads)
    agents = network.users / network.draws  # of a type, on the average
    return Users(agents * (rows.T @ columns), agents * rows.sum(0))


def mean_over_users(gradient: Any, params: Any, networks: Mapping[str, NetworkSpec]) -> Any:
    """The mean over the agents that use a weight of its gradient, in the place of their sum.

    Args:
        gradient: summed over the agents, like the trainable part of `params`.
        params: the networks by their names.
        networks: their declarations; what no agent uses by itself (a mixer) stays as it is.

    Source: SNP-PS §4.3, "averaged over multiple agents".
    """
    divisors: dict[str, Array] = {}
    for name, network in networks.items():
        parts = getattr(getattr(params, name, None), "parts", None)
        for layer in network.layers if network.users > 1 else ():
            users = users_of(network, layer, parts)
            divisors |= {
                f"{name}.{layer.name}.{each}": jnp.maximum(count, 1)
                for each, count in users._asdict().items()
            }

    def averaged(path: Any, leaf: Array) -> Array:
        divisor = divisors.get(jax.tree_util.keystr(path, simple=True, separator="."))
        return leaf if divisor is None else leaf / divisor

    return jax.tree_util.tree_map_with_path(averaged, gradient)
