"""Feed-forward actors and critics: (observation, agent id) → ReLU layers → linear head."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.networks.linear import Linear
from mast.networks.sharing import (
    Parts,
    apply_layer,
    draw_parts,
    keep_neurons,
    layer_of_agents,
)
from mast.networks.spec import NetworkSpec


class FeedForward(eqx.Module):
    """Hidden ReLU layers and a linear head, for all agents of a team at once.

    As an actor its outputs are logits, from which actions are drawn; it has no memory and reads no last
    action.
    """

    stochastic: ClassVar[bool] = True
    """To explore is to draw from the policy, not to act at random."""

    layers: tuple[Linear, ...]
    """[outputs, inputs], or [copies, outputs, inputs] where agents have networks of their own."""
    parts: Parts | None
    features: int = eqx.field(static=True)

    @property
    def hidden_size(self) -> int:
        """The width of the memory: it has none."""
        return 0

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch 0"]:
        """The memory at the start of an episode."""
        return jnp.zeros((*batch, 0))

    def __call__(
        self, observation: Float[Array, "*batch agents features"]
    ) -> Float[Array, "*batch agents outputs"]:
        """Logits or values of each agent's own observation."""
        return list(self.activations(observation).values())[-1]

    def activations(
        self, observation: Float[Array, "*batch agents features"]
    ) -> dict[str, Float[Array, "*batch agents units"]]:
        """The activation of every layer by its name, from first to last; that of the last are the outputs."""
        x, found = observation, {}
        for index, layer in enumerate(self.layers):
            name = f"layers.{index}"
            used = layer_of_agents(self.parts, name, layer)
            x = self._first(used, x) if index == 0 else apply_layer(used, x)
            if index < len(self.layers) - 1:
                x = keep_neurons(self.parts, name, jax.nn.relu(x), observation)
            found[name] = x
        return found

    def of_each(self) -> "FeedForward":
        """One network for each agent, whatever the agents share; neurons that one lacks stay marked."""
        named = {f"layers.{index}": layer for index, layer in enumerate(self.layers)}
        used = [layer_of_agents(self.parts, name, layer) for name, layer in named.items()]
        agents = max(layer.weight.shape[0] if layer.weight.ndim == 3 else 0 for layer in used)
        stacked = tuple(
            layer
            if layer.weight.ndim == 3 or not agents
            else jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (agents, *leaf.shape)), layer)
            for layer in used
        )
        neurons = None if self.parts is None else self.parts.neurons
        parts = Parts(neurons=neurons, types=self.parts.types) if self.parts and neurons else None
        return FeedForward(stacked, parts, self.features)

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents 0"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents 0"]]:
        """One step of acting, as a recurrent agent takes it."""
        return self(jnp.asarray(observation, jnp.float32)), hidden

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The logits along whole episodes."""
        return self(jnp.asarray(observation, jnp.float32))

    def _first(self, layer: Linear, observation: Array) -> Array:
        """The first layer; the one-hot id is never laid out: its columns are added where there are any."""
        width = layer.weight.shape[-1]
        if width == self.features:
            return apply_layer(layer, observation)
        by_observation, by_id = jnp.split(layer.weight, [self.features], axis=-1)
        shift = by_id.T if by_id.ndim == 2 else jnp.einsum("aoa->ao", by_id)
        return apply_layer(Linear(by_observation, layer.bias), observation) + shift


def feed_forward(
    key: PRNGKeyArray, network: NetworkSpec, features: int, head_gain: float = 2**0.5
) -> FeedForward:
    """A fresh dense actor or critic.

    The first layer is drawn as Torch does, the others orthogonally (gain √2, biases 0), as the A2C of SePS
    and EPyMARL; each of several networks by itself.

    Args:
        key: random key.
        network: its layers.
        features: of an observation; the columns behind them belong to the id.
        head_gain: of the last layer; 0.01 for an actor.
    """
    weights_key, parts_key = jax.random.split(key)

    def one(key: PRNGKeyArray) -> tuple[Linear, ...]:
        keys = jax.random.split(key, len(network.layers))
        return tuple(
            _fresh_layer(each, index, network, head_gain) for index, each in enumerate(keys)
        )

    if network.per_agent:
        layers = jax.vmap(one)(jax.random.split(weights_key, network.copies))
    else:
        layers = one(weights_key)
    return FeedForward(layers, draw_parts(parts_key, network), features)


def _fresh_layer(key: PRNGKeyArray, index: int, network: NetworkSpec, head_gain: float) -> Linear:
    shape = network.layers[index]
    if index == 0:
        bound = 1.0 / jnp.sqrt(shape.inputs)
        weight_key, bias_key = jax.random.split(key)
        return Linear(
            jax.random.uniform(
                weight_key, (shape.outputs, shape.inputs), minval=-bound, maxval=bound
            ),
            jax.random.uniform(bias_key, (shape.outputs,), minval=-bound, maxval=bound),
        )
    gain = head_gain if index == len(network.layers) - 1 else 2**0.5
    orthogonal = jax.nn.initializers.orthogonal(gain)
    return Linear(orthogonal(key, (shape.outputs, shape.inputs)), jnp.zeros(shape.outputs))
