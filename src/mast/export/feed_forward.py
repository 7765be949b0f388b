"""Feed-forward actors as plain arrays, with and without the neurons that nothing depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

LANES = 4
"""Layer widths are kept to multiples of this, the narrowest vector of a processor that has any."""
Matrix = tuple[np.ndarray, np.ndarray]
"""[outputs, inputs] and the bias."""


def whole_vectors(width: int) -> int:
    """A width filled up to whole vectors, at least one."""
    return max(LANES, -(-width // LANES) * LANES)


@dataclass(frozen=True)
class FeedForwardNetwork:
    """One actor: ReLU layers and a linear head. It has no memory and reads no last action."""

    matrices: tuple[Matrix, ...]
    """From first to last; the first one's columns are the observation's and then those of the id, if any."""
    features: int
    neurons: Mapping[str, Bool[np.ndarray, "agents units"]] = field(default_factory=dict)
    """Which neurons of a hidden layer ("layers.0", …) each agent has, where some agent lacks any."""
    scaled: bool = False
    """Whether the first layer has taken up a normalisation: columns too unlike in size for 8 bits a row."""

    @property
    def observation(self) -> Float[np.ndarray, "encoded features"]:
        """The first layer's columns that read the observation."""
        return self.matrices[0][0][:, : self.features]

    @property
    def codes(self) -> Float[np.ndarray, "encoded agents"]:
        """Those that read the one-hot agent id; none where there is no such input."""
        return self.matrices[0][0][:, self.features :]

    @property
    def hidden(self) -> int:
        """The width of the memory: it has none."""
        return 0

    @property
    def units(self) -> Int[np.ndarray, " 0"]:
        """Of the memory."""
        return np.zeros(0, int)

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return len(self.matrices[-1][1])

    @property
    def weights(self) -> int:
        """How many weights are not zero."""
        return sum(int(np.count_nonzero(weight)) for weight, _ in self.matrices)

    def widths(self) -> dict[str, int]:
        """How many neurons each hidden layer has."""
        return {f"layers.{place}": len(bias) for place, (_, bias) in enumerate(self.matrices[:-1])}

    def layers(self) -> dict[str, Matrix]:
        """Matrix and bias of each layer, by its name in a policy file."""
        return {f"layers.{place}": each for place, each in enumerate(self.matrices)}

    def step(
        self, observation: np.ndarray, last_action: int, agent: int, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The logits of one agent, in double precision, and the memory as it was.

        Args:
            observation: [features].
            last_action: not read.
            agent: whose id and neurons.
            hidden: [0].
        """
        x = observation.astype(float)
        for place, (weight, bias) in enumerate(self.matrices):
            product = weight[:, : len(x)] @ x + bias
            if place == 0 and self.codes.shape[1]:
                product = product + self.codes[:, agent]
            if place == len(self.matrices) - 1:
                return product, hidden
            own = self.neurons.get(f"layers.{place}")
            x = np.maximum(product, 0) * (1 if own is None else own[agent])
        raise AssertionError("a network has a head")

    def without_dead_neurons(self) -> "FeedForwardNetwork":
        """The same function with fewer neurons.

        A neuron goes if no chain of weights leads from it to a logit, or no agent has it; and if it reads
        nothing: then it is a constant, and what it contributes is added to the biases behind it, unless some
        agents only have it.
        """
        layers, neurons = list(self.matrices), dict(self.neurons)
        for place, name in enumerate(self.widths()):
            (weight, bias), (behind, bias_behind) = layers[place : place + 2]
            own = neurons.get(name, np.ones((1, len(bias)), bool))
            varies = own.any(0) & (weight.any(1) | ~own.all(0))
            constant = np.where(own.all(0) & ~varies, np.maximum(bias, 0), 0).astype(np.float32)
            layers[place + 1] = np.where(varies, behind, 0), bias_behind + behind @ constant
        for place, name in reversed(list(enumerate(self.widths()))):
            (weight, bias), (behind, bias_behind) = layers[place : place + 2]
            kept = np.flatnonzero(behind.any(0))
            layers[place : place + 2] = (weight[kept], bias[kept]), (behind[:, kept], bias_behind)
            if name in neurons:
                neurons[name] = neurons[name][:, kept]
        return replace(self, matrices=tuple(layers), neurons=neurons)

    def widened(self, widths: Sequence[int]) -> "FeedForwardNetwork":
        """The network with neurons of zeros at the end of its hidden layers.

        Args:
            widths: of the hidden layers, each at least what it is.
        """
        layers, neurons, more = [], {}, 0
        for (weight, bias), width in zip(self.matrices, [*widths, self.actions], strict=True):
            rows = width - len(bias)
            layers.append((np.pad(weight, ((0, rows), (0, more))), np.pad(bias, (0, rows))))
            more = rows
        for name, width in zip(self.widths(), widths, strict=True):
            if name in self.neurons:
                own = self.neurons[name]
                extra = ((0, 0), (0, width - own.shape[1]))
                neurons[name] = np.pad(own, extra, constant_values=True)
        return replace(self, matrices=tuple(layers), neurons=neurons)

    def padded(self) -> "FeedForwardNetwork":
        """The network with its hidden layers filled up to whole vectors."""
        return self.widened([whole_vectors(width) for width in self.widths().values()])
