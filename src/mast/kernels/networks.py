"""The networks of `mast.networks`, compact: two vectors each, one of numbers and one of places."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mast.kernels.structure import SparseMatrix, from_dense
from mast.networks.agent import RecurrentAgent
from mast.networks.linear import Linear
from mast.networks.mixers import FeedForwardMixer, QMixer
from mast.networks.sharing import Parts
from mast.networks.spec import GRU

Shapes = tuple[tuple[int, int, int], ...]
"""Of each layer: rows (outputs), columns (inputs), active values."""

HIDDEN = ("fc1", GRU)
"""The hidden layers of an agent, by `NetworkSpec.hidden`."""

Network = TypeVar("Network", bound="SparseNetwork")


class SparseLinear(eqx.Module):
    """An affine map with a sparse weight and a dense bias."""

    weight: SparseMatrix
    bias: Float[Any, " outputs"]


class SparseNetwork(eqx.Module):
    """Sparse layers packed into two vectors.

    An update touches a few large arrays instead of dozens of small ones: per array, XLA's overhead is
    larger than the work on a sparse layer. `parameters` is all that has a gradient and optimizer slots.
    """

    parameters: Float[Any, " numbers"]
    """Of each layer in turn: its values, its bias."""
    structure: Int[Any, " places"]
    """Of each layer in turn: its row pointers, its column indices."""
    shapes: Shapes = eqx.field(static=True)

    NAMES: ClassVar[tuple[str, ...]] = ("layer",)
    """The layers in the order in which the kernels take them."""

    def layers(self) -> dict[str, SparseLinear]:
        """Every layer by its name."""
        found, number, place = {}, 0, 0
        for name, (rows, columns, active) in zip(self.NAMES, self.shapes, strict=True):
            middle, end = number + active, number + active + rows
            pointers, last = place + rows + 1, place + rows + 1 + active
            matrix = SparseMatrix(
                values=self.parameters[number:middle],
                row_pointers=self.structure[place:pointers],
                columns=self.structure[pointers:last],
                shape=(rows, columns),
            )
            found[name] = SparseLinear(matrix, self.parameters[middle:end])
            number, place = end, last
        return found

    def part(self, *names: str) -> "SparseNetwork":
        """Layers that follow one another, as a network of their own."""
        sizes = [(active + rows, rows + 1 + active) for rows, _, active in self.shapes]
        first, end = self.NAMES.index(names[0]), self.NAMES.index(names[-1]) + 1
        (number, place), (last_number, last_place) = (
            (sum(size) for size in zip((0, 0), *sizes[:layer], strict=True))
            for layer in (first, end)
        )
        return SparseNetwork(
            parameters=self.parameters[number:last_number],
            structure=self.structure[place:last_place],
            shapes=self.shapes[first:end],
        )

    @classmethod
    def pack(cls: type[Network], layers: Mapping[str, SparseLinear]) -> Network:
        """The inverse of `layers`."""
        ordered = [layers[name] for name in cls.NAMES]
        numbers = [part for layer in ordered for part in (layer.weight.values, layer.bias)]
        places = [
            part for layer in ordered for part in (layer.weight.row_pointers, layer.weight.columns)
        ]
        return cls(
            parameters=jnp.concatenate(numbers),
            structure=jnp.concatenate(places),
            shapes=tuple((*each.weight.shape, each.weight.values.shape[0]) for each in ordered),
        )


class SparseAgent(SparseNetwork):
    """`RecurrentAgent`, compact."""

    NAMES: ClassVar[tuple[str, ...]] = ("fc1", "gru_input", "gru_hidden", "fc2")

    neurons: Bool[Any, "2 agents hidden"] | None = None
    """Which neurons of the first layer and of the state each agent has (SNP-PS); all where None."""

    @property
    def operands(self) -> tuple[Array, ...]:
        """What a native call takes of it."""
        neurons = () if self.neurons is None else (self.neurons,)
        return (self.parameters, self.structure, *neurons)

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.shapes[2][1]

    @property
    def actions(self) -> int:
        """How many actions it values."""
        return self.shapes[3][0]


class SparseQMixer(SparseNetwork):
    """`QMixer`, compact."""

    NAMES: ClassVar[tuple[str, ...]] = (
        "w1_hidden",
        "w1_out",
        "w_final_hidden",
        "w_final_out",
        "b1",
        "v_hidden",
        "v_out",
    )


class SparseFeedForwardMixer(SparseNetwork):
    """`FeedForwardMixer`, compact."""

    NAMES: ClassVar[tuple[str, ...]] = ("fc1", "fc2", "fc3", "fc4", "v_hidden", "v_out")


def sparse_linear(
    linear: Linear, mask: Bool[Any, "outputs inputs"], active: int | None = None
) -> SparseLinear:
    """A dense layer's active entries; `active` as in `from_dense`."""
    return SparseLinear(from_dense(linear.weight, mask, active), linear.bias)


def sparse_agent(
    agent: RecurrentAgent, masks: Mapping[str, Array], active: Mapping[str, int] | None = None
) -> SparseAgent:
    """A dense agent's active entries.

    Args:
      agent: the agent.
      masks: of each layer's weight, by the layer's name ("fc1", …).
      active: how many entries of each mask are active; must be given under jit (`from_dense`).
    """
    packed = SparseAgent.pack(_layers(agent, masks, active))
    neurons = None if agent.parts is None else agent.parts.neurons
    # A second moment has the shape of an agent, but nothing where the agent has what is fixed.
    if neurons is None or any(neurons[name] is None for name in HIDDEN):
        return packed
    both = jnp.stack([jnp.asarray(neurons[name], jnp.bool_) for name in HIDDEN])
    return dataclasses.replace(packed, neurons=both)


def sparse_q_mixer(
    mixer: QMixer, masks: Mapping[str, Array], active: Mapping[str, int] | None = None
) -> SparseQMixer:
    """A dense mixer's active entries; arguments as in `sparse_agent`."""
    return SparseQMixer.pack(_layers(mixer, masks, active))


def sparse_feed_forward_mixer(
    mixer: FeedForwardMixer, masks: Mapping[str, Array], active: Mapping[str, int] | None = None
) -> SparseFeedForwardMixer:
    """A dense unrestricted mixer's active entries; arguments as in `sparse_agent`."""
    return SparseFeedForwardMixer.pack(_layers(mixer, masks, active))


def to_dense(network: SparseNetwork, like: Any) -> Any:
    """The dense network whose active entries these are; `like` is any of its kind and shapes."""
    layers: dict[str, Any] = {
        name: Linear(layer.weight.to_dense(), layer.bias)
        for name, layer in network.layers().items()
    }
    if isinstance(network, SparseAgent) and network.neurons is not None:
        neurons = dict(zip(HIDDEN, network.neurons, strict=True))
        layers["parts"] = Parts(like.parts.network_of, neurons, like.parts.weights)
    return dataclasses.replace(like, **layers)


def _layers(
    network: Any, masks: Mapping[str, Array], active: Mapping[str, int] | None
) -> dict[str, SparseLinear]:
    return {
        name: sparse_linear(getattr(network, name), mask, active[name] if active else None)
        for name, mask in masks.items()
    }
