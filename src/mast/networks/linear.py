"""The one layer that every weight matrix of every network is made of."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mast.draws import uniforms
from mast.networks.spec import GRU, NetworkSpec


class Linear(eqx.Module):
    """An affine map y = W x + b whose weight may be sparse and whose bias is dense.

    The forward pass uses the plain weight. Inactive entries are zero because nothing writes them
    (`mast.sparsity.topology`), so the gradient of `weight` is the *dense* gradient that growth needs.
    """

    weight: Float[Array, "*copies outputs inputs"]
    """Of one layer; those of all agents stacked where each has its own (`mast.networks.independent`)."""
    bias: Float[Array, "*copies outputs"]

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """The map, over any leading axes."""
        return x @ self.weight.T + self.bias


def torch_linear(key: PRNGKeyArray, inputs: int, outputs: int, fan_in: int | None = None) -> Linear:
    """A fresh layer as Torch initialises it: weight and bias uniform in ±1/√fan_in.

    Args:
        key: random key.
        inputs, outputs: sizes.
        fan_in: the fan-in that sets the bound; `inputs` where None (a GRU passes its hidden size).
    """
    bound = 1.0 / jnp.sqrt(inputs if fan_in is None else fan_in)
    weight_key, bias_key = jax.random.split(key)
    return Linear(
        weight=jax.random.uniform(weight_key, (outputs, inputs), minval=-bound, maxval=bound),
        bias=jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound),
    )


def torch_layers(key: PRNGKeyArray, network: NetworkSpec) -> dict[str, Linear]:
    """Fresh dense layers of a network, by name, each the `torch_linear` of a key of its own.

    A layer of a GRU has the fan-in h that Torch gives both of its matrices.
    """
    layers = network.layers
    fans = [layer.units if layer.group == GRU else layer.inputs for layer in layers]
    keys = jax.vmap(jax.random.split)(jax.random.split(key, len(layers)))
    shapes = [shape for each in layers for shape in ((each.outputs, each.inputs), (each.outputs,))]
    drawn = uniforms(
        keys.reshape(-1, *key.shape),
        [math.prod(shape) for shape in shapes],
        np.repeat(1 / np.sqrt(np.array(fans, np.float32)), 2),
    )
    arrays = [each.reshape(shape) for each, shape in zip(drawn, shapes, strict=True)]
    return {
        layer.name: Linear(*arrays[2 * place : 2 * place + 2]) for place, layer in enumerate(layers)
    }
