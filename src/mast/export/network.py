"""The acting networks as plain arrays, without the neurons that nothing depends on."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mast.errors import UserError
from mast.policy import LAYERS, Policy

LANES = 4
"""Layer widths are kept to multiples of this, the narrowest vector of a processor that has any."""


@dataclass(frozen=True)
class Network:
    """One recurrent agent: encoder, GRU (rows in the order reset, update, new) and output layer.

    The encoder's columns are kept apart by what they read: `codes` holds those of the one-hot last action
    and then, where a team shares the network, those of the one-hot agent id.
    """

    observation: Float[np.ndarray, "encoded features"]
    codes: Float[np.ndarray, "encoded codes"]
    encoder_bias: Float[np.ndarray, " encoded"]
    gru_input: Float[np.ndarray, "gates encoded"]
    gru_input_bias: Float[np.ndarray, " gates"]
    gru_hidden: Float[np.ndarray, "gates hidden"]
    gru_hidden_bias: Float[np.ndarray, " gates"]
    output: Float[np.ndarray, "actions hidden"]
    output_bias: Float[np.ndarray, " actions"]
    units: Int[np.ndarray, " hidden"]
    """Which unit of the trained network each hidden unit is; -1 for padding, which stays 0."""

    @property
    def encoded(self) -> int:
        """The width of the encoder's output."""
        return len(self.encoder_bias)

    @property
    def hidden(self) -> int:
        """The width of the hidden state."""
        return len(self.units)

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return len(self.output_bias)

    @property
    def features(self) -> int:
        """The width of an observation."""
        return self.observation.shape[1]

    @property
    def weights(self) -> int:
        """How many weights are not zero."""
        return sum(int(np.count_nonzero(matrix)) for matrix in self.matrices().values())

    def matrices(self) -> dict[str, np.ndarray]:
        """Every weight matrix by name."""
        names = ("observation", "codes", "gru_input", "gru_hidden", "output")
        return {name: getattr(self, name) for name in names}

    def step(
        self, observation: np.ndarray, last_action: int, agent: int, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Action values and the next hidden state of one agent, in double precision.

        Args:
            observation: [features].
            last_action: -1 for none.
            agent: whose id; ignored by a network of its own.
            hidden: [hidden].
        """
        code = np.zeros(self.codes.shape[1])
        if last_action >= 0:
            code[last_action] = 1
        if self.codes.shape[1] > self.actions:
            code[self.actions + agent] = 1
        x = self.observation @ observation.astype(float) + self.codes @ code + self.encoder_bias
        of_input = self.gru_input @ np.maximum(x, 0) + self.gru_input_bias
        of_hidden = self.gru_hidden @ hidden + self.gru_hidden_bias
        h = self.hidden
        reset, update = (np.tanh((of_input + of_hidden)[: 2 * h] / 2) / 2 + 0.5).reshape(2, h)
        new = np.tanh(of_input[2 * h :] + reset * of_hidden[2 * h :])
        hidden = (1 - update) * new + update * hidden
        return self.output @ hidden + self.output_bias, hidden


def networks_of(policy: Policy) -> list[Network]:
    """The network that all agents share, or that of each agent, every neuron still in it.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    layers = {}
    for name in LAYERS:
        layer = getattr(policy.agent, name)
        layers[name] = (np.asarray(layer.weight), np.asarray(layer.bias))
        if not all(np.isfinite(part).all() for part in layers[name]):
            raise UserError(f"the policy's layer {name} holds NaN or infinity: nothing to export")
    features = policy.description["features"]
    if layers["fc1"][0].ndim == 2:
        return [_network(layers, features)]
    return [
        _network({name: (w[agent], b[agent]) for name, (w, b) in layers.items()}, features)
        for agent in range(policy.description["agents"])
    ]


def _network(layers: dict[str, tuple[np.ndarray, np.ndarray]], features: int) -> Network:
    weight, bias = layers["fc1"]
    return Network(
        weight[:, :features],
        weight[:, features:],
        bias,
        *layers["gru_input"],
        *layers["gru_hidden"],
        *layers["fc2"],
        units=np.arange(layers["gru_hidden"][0].shape[1]),
    )


def without_dead_neurons(network: Network) -> Network:
    """The same function with fewer neurons.

    A hidden unit goes if no chain of weights leads from it to an action value; a neuron of the encoder
    goes if nothing reads it, or if it reads nothing: then it is a constant, and what it contributes is
    added to the biases behind it.
    """
    live = np.flatnonzero(_reaches_output(network))
    gates = np.concatenate([live + gate * network.hidden for gate in range(3)])
    network = replace(
        network,
        gru_input=network.gru_input[gates],
        gru_input_bias=network.gru_input_bias[gates],
        gru_hidden=network.gru_hidden[np.ix_(gates, live)],
        gru_hidden_bias=network.gru_hidden_bias[gates],
        output=network.output[:, live],
        units=network.units[live],
    )
    reads = network.observation.any(1) | network.codes.any(1)
    constant = np.where(reads, 0, np.maximum(network.encoder_bias, 0))
    kept = np.flatnonzero(reads & network.gru_input.any(0))
    return replace(
        network,
        observation=network.observation[kept],
        codes=network.codes[kept],
        encoder_bias=network.encoder_bias[kept],
        gru_input=network.gru_input[:, kept],
        gru_input_bias=network.gru_input_bias + network.gru_input @ constant,
    )


def _reaches_output(network: Network) -> np.ndarray:
    """Which hidden units an action value depends on, now or some steps later."""
    h = network.hidden
    reads = np.asarray(network.gru_hidden.reshape(3, h, h).any(0))
    live = np.asarray(network.output.any(0))
    while True:
        grown = live | reads[live].any(0)
        if (grown == live).all():
            return live
        live = grown


def padded(network: Network, hidden: int | None = None) -> Network:
    """The network with both widths filled up to whole vectors, at least one, by neurons of zeros.

    Args:
        network: any.
        hidden: the hidden width; the next multiple of `LANES` by default.
    """

    def up(width: int) -> int:
        return max(LANES, -(-width // LANES) * LANES)

    return widened(network, up(network.encoded), up(network.hidden) if hidden is None else hidden)


def widened(network: Network, encoded: int, hidden: int) -> Network:
    """The network with neurons of zeros at the end of both layers.

    Args:
        network: any.
        encoded: the width of the encoder's output, at least what it is.
        hidden: that of the hidden state, at least what it is.
    """
    h, more, extra = network.hidden, hidden - network.hidden, encoded - network.encoded

    def gates(array: np.ndarray, columns: int) -> np.ndarray:
        blocks = array.reshape(3, h, array.shape[1])
        filled = np.pad(blocks, ((0, 0), (0, more), (0, columns)))
        return filled.reshape(3 * (h + more), filled.shape[-1])

    return replace(
        network,
        observation=np.pad(network.observation, ((0, extra), (0, 0))),
        codes=np.pad(network.codes, ((0, extra), (0, 0))),
        encoder_bias=np.pad(network.encoder_bias, (0, extra)),
        gru_input=gates(network.gru_input, extra),
        gru_input_bias=gates(network.gru_input_bias[:, None], 0)[:, 0],
        gru_hidden=gates(network.gru_hidden, more),
        gru_hidden_bias=gates(network.gru_hidden_bias[:, None], 0)[:, 0],
        output=np.pad(network.output, ((0, 0), (0, more))),
        units=np.pad(network.units, (0, more), constant_values=-1),
    )
