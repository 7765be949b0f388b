"""The networks of `mast.networks` with compact layers: the same fields, values where weights were."""

import dataclasses
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float

from mast.kernels.structure import SparseMatrix, from_dense
from mast.networks.agent import RecurrentAgent
from mast.networks.linear import Linear
from mast.networks.mixers import QMixer


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


class SparseQMixer(eqx.Module):
    """`QMixer`, compact."""

    w1_hidden: SparseLinear
    w1_out: SparseLinear
    w_final_hidden: SparseLinear
    w_final_out: SparseLinear
    b1: SparseLinear
    v_hidden: SparseLinear
    v_out: SparseLinear

    def layers(self) -> tuple[SparseLinear, ...]:
        """The layers in the order in which kernels take them."""
        return (
            self.w1_hidden,
            self.w1_out,
            self.w_final_hidden,
            self.w_final_out,
            self.b1,
            self.v_hidden,
            self.v_out,
        )


def sparse_linear(linear: Linear, mask: Bool[Any, "outputs inputs"]) -> SparseLinear:
    """A dense layer's active entries."""
    return SparseLinear(from_dense(linear.weight, mask), linear.bias)


def sparse_agent(agent: RecurrentAgent, masks: dict[str, Array]) -> SparseAgent:
    """A dense agent's active entries.

    Args:
      agent: the agent.
      masks: of each layer's weight, by the layer's name ("fc1", …).
    """
    return SparseAgent(
        **_compact(agent, SparseAgent, masks), features=agent.features, actions=agent.actions
    )


def sparse_q_mixer(mixer: QMixer, masks: dict[str, Array]) -> SparseQMixer:
    """A dense mixer's active entries; arguments as in `sparse_agent`."""
    return SparseQMixer(**_compact(mixer, SparseQMixer, masks))


def _compact(network: Any, kind: type, masks: dict[str, Array]) -> dict[str, SparseLinear]:
    """The layers of `network` that are a sparse layer in `kind`, by name."""
    return {
        field.name: sparse_linear(getattr(network, field.name), masks[field.name])
        for field in dataclasses.fields(kind)
        if field.type is SparseLinear
    }
