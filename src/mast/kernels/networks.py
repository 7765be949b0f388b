"""The networks of `mast.networks`, compact: two vectors each, one of numbers and one of places."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from mast.kernels.structure import SparseMatrix, from_dense, scattered
from mast.networks.agent import RecurrentAgent
from mast.networks.independent import IndependentAgents
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


class LayerPlaces(NamedTuple):
    """Where a layer is in the two vectors of its network."""

    shape: tuple[int, int]
    """Of its weight: rows (outputs) and columns (inputs)."""
    values: slice
    bias: slice
    row_pointers: slice
    columns: slice


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

    def places(self) -> dict[str, LayerPlaces]:
        """Where every layer is, by its name."""
        found, number, place = {}, 0, 0
        for name, (rows, columns, active) in zip(self.NAMES, self.shapes, strict=True):
            middle, end = number + active, number + active + rows
            pointers, last = place + rows + 1, place + rows + 1 + active
            found[name] = LayerPlaces(
                shape=(rows, columns),
                values=slice(number, middle),
                bias=slice(middle, end),
                row_pointers=slice(place, pointers),
                columns=slice(pointers, last),
            )
            number, place = end, last
        return found

    def layers(self) -> dict[str, SparseLinear]:
        """Every layer by its name."""
        return {
            name: SparseLinear(
                SparseMatrix(
                    values=self.parameters[at.values],
                    row_pointers=self.structure[at.row_pointers],
                    columns=self.structure[at.columns],
                    shape=at.shape,
                ),
                self.parameters[at.bias],
            )
            for name, at in self.places().items()
        }

    def masks(self) -> dict[str, Bool[np.ndarray, "outputs inputs"]]:
        """Which weights are active, by layer; on the host."""
        structure = np.asarray(self.structure)
        return {
            name: scattered(at.shape, structure[at.row_pointers], structure[at.columns], True)
            for name, at in self.places().items()
        }

    def part(self, *names: str) -> "SparseNetwork":
        """Layers that follow one another, as a network of their own."""
        places = self.places()
        first, last = places[names[0]], places[names[-1]]
        return SparseNetwork(
            parameters=self.parameters[first.values.start : last.bias.stop],
            structure=self.structure[first.row_pointers.start : last.columns.stop],
            shapes=self.shapes[self.NAMES.index(names[0]) : self.NAMES.index(names[-1]) + 1],
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
            parameters=_joined(numbers),
            structure=_joined(places),
            shapes=tuple((*each.weight.shape, each.weight.values.shape[0]) for each in ordered),
        )


class SparseAgent(SparseNetwork):
    """`RecurrentAgent`, compact."""

    NAMES: ClassVar[tuple[str, ...]] = ("fc1", "gru_input", "gru_hidden", "fc2")

    neurons: Bool[Any, "2 agents hidden"] | None = None
    """Which neurons of the first layer and of the state each agent has (SNP-PS); all where None."""

    @property
    def copies(self) -> int:
        """How many networks there are: a layer has the rows of each in turn, as kernels check."""
        return max(1, self.shapes[0][0] // max(1, self.hidden_size))

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
        return self.shapes[3][0] // self.copies


class SparseAgents(SparseAgent):
    """`IndependentAgents`, compact: several networks of which each agent uses one."""

    parts: Parts | None = None
    """Which network each agent uses; each its own where None."""

    @property
    def operands(self) -> tuple[Array, ...]:
        """What a native call takes of it."""
        own = jnp.arange(self.copies, dtype=jnp.int32)
        network_of: Any = own if self.parts is None else self.parts.network_of
        return (self.parameters, self.structure, network_of)

    def masks(self) -> dict[str, Bool[np.ndarray, "copies outputs inputs"]]:
        """Which weights are active, by layer, of each network; on the host."""
        return {
            name: mask.reshape(self.copies, -1, mask.shape[-1])
            for name, mask in super().masks().items()
        }


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


def sparse_linear(linear: Linear, mask: Bool[Any, "outputs inputs"]) -> SparseLinear:
    """A dense layer's active entries."""
    return SparseLinear(from_dense(linear.weight, mask), np.asarray(linear.bias))


def sparse_agent(agent: RecurrentAgent, masks: Mapping[str, Array]) -> SparseAgent:
    """A dense agent's active entries.

    Args:
      agent: the agent.
      masks: of each layer's weight, by the layer's name ("fc1", …).
    """
    packed = SparseAgent.pack(_layers(agent, masks))
    neurons = None if agent.parts is None else agent.parts.neurons
    # A second moment has the shape of an agent, but nothing where the agent has what is fixed.
    if neurons is None or any(neurons[name] is None for name in HIDDEN):
        return packed
    both = np.stack([np.asarray(neurons[name], bool) for name in HIDDEN])
    return dataclasses.replace(packed, neurons=jnp.asarray(both))


def sparse_agents(agents: IndependentAgents, masks: Mapping[str, Array]) -> SparseAgents:
    """The active entries of several dense networks; arguments as in `sparse_agent`."""
    layers = {}
    for name, mask in masks.items():
        weight, bias = np.asarray(getattr(agents, name).weight), getattr(agents, name).bias
        rows = (each.reshape(-1, weight.shape[-1]) for each in (weight, np.asarray(mask)))
        layers[name] = SparseLinear(from_dense(*rows), np.asarray(bias).ravel())
    # A copy: buffers that are given away may not be shared.
    parts = jax.tree.map(jnp.array, agents.parts)
    return dataclasses.replace(SparseAgents.pack(layers), parts=parts)


def sparse_q_mixer(mixer: QMixer, masks: Mapping[str, Array]) -> SparseQMixer:
    """A dense mixer's active entries; arguments as in `sparse_agent`."""
    return SparseQMixer.pack(_layers(mixer, masks))


def sparse_feed_forward_mixer(
    mixer: FeedForwardMixer, masks: Mapping[str, Array]
) -> SparseFeedForwardMixer:
    """A dense unrestricted mixer's active entries; arguments as in `sparse_agent`."""
    return SparseFeedForwardMixer.pack(_layers(mixer, masks))


def to_dense(network: SparseNetwork, like: Any) -> Any:
    """The dense network whose active entries these are; `like` is any of its kind and shapes."""
    numbers, structure = np.asarray(network.parameters), np.asarray(network.structure)
    layers: dict[str, Any] = {}
    for name, at in network.places().items():
        where = structure[at.row_pointers], structure[at.columns]
        weight, shapes = scattered(at.shape, *where, numbers[at.values]), getattr(like, name)
        layers[name] = Linear(
            jnp.asarray(weight.reshape(shapes.weight.shape)),
            jnp.array(numbers[at.bias].reshape(shapes.bias.shape)),
        )
    if isinstance(network, SparseAgent) and network.neurons is not None:
        neurons = dict(zip(HIDDEN, map(jnp.array, np.asarray(network.neurons)), strict=True))
        layers["parts"] = Parts(like.parts.network_of, neurons, like.parts.weights)
    if isinstance(network, SparseAgents):
        layers["parts"] = jax.tree.map(jnp.array, network.parts)
    return dataclasses.replace(like, **layers)


def _joined(parts: Sequence[Shaped[Any, "..."]]) -> Shaped[Array, " all"]:
    """The parts end to end; on the host where they are there, so that nothing is compiled."""
    on_the_host = all(isinstance(part, np.ndarray) for part in parts)
    return jnp.asarray((np if on_the_host else jnp).concatenate(parts))


def _layers(network: Any, masks: Mapping[str, Array]) -> dict[str, SparseLinear]:
    return {name: sparse_linear(getattr(network, name), mask) for name, mask in masks.items()}
