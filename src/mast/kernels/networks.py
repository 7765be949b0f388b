"""The networks of `mast.networks` with compact layers: the same fields, values where weights were."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float

from mast.kernels.structure import SparseMatrix, from_dense
from mast.networks.agent import RecurrentAgent
from mast.networks.linear import Linear


class SparseLinear(eqx.Module):
    """An affine map with a sparse weight and a dense bias."""

    weight: SparseMatrix
    bias: Float[Any, " outputs"]


class SparseAgent(eqx.Module):
    """`RecurrentAgent`, compact."""

    fc1: SparseLinear
    gru_input: SparseLinear
    gru_hidden: SparseLinear
    fc2: SparseLinear
    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.gru_hidden.weight.shape[1]

    def layers(self) -> tuple[SparseLinear, ...]:
        """The layers in the order in which kernels take them."""
        return (self.fc1, self.gru_input, self.gru_hidden, self.fc2)


def sparse_linear(linear: Linear, mask: Bool[Any, "outputs inputs"]) -> SparseLinear:
    """A dense layer's active entries."""
    return SparseLinear(from_dense(linear.weight, mask), linear.bias)


def sparse_agent(agent: RecurrentAgent, masks: dict[str, Array]) -> SparseAgent:
    """A dense agent's active entries.

    Args:
      agent: the agent.
      masks: of each layer's weight, by the layer's name ("fc1", …).
    """
    layers = {
        name: sparse_linear(getattr(agent, name), masks[name])
        for name in ("fc1", "gru_input", "gru_hidden", "fc2")
    }
    return SparseAgent(**layers, features=agent.features, actions=agent.actions)
