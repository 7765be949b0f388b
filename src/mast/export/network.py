"""The acting networks as plain arrays, without the neurons that nothing depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from mast.errors import UserError
from mast.export.feed_forward import FeedForwardNetwork, Matrix, whole_vectors
from mast.networks.feed_forward import FeedForward
from mast.networks.spec import GRU
from mast.policy import Policy, layers_of
from mast.policy_file import FOLDED


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
    neurons: Mapping[str, Bool[np.ndarray, "agents units"]] = field(default_factory=dict)
    """Which neurons of the encoder ("fc1") and units ("gru") each agent has, where some agent lacks any."""
    scaled: bool = False
    """Whether the first layer has taken up a normalisation: columns too unlike in size for 8 bits a row."""

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

    def widths(self) -> dict[str, int]:
        """How many neurons each hidden layer has."""
        return {"encoder": self.encoded, "hidden": self.hidden}

    def layers(self) -> dict[str, Matrix]:
        """Matrix and bias of each layer, by its name in a policy file."""
        return {
            "fc1": (np.hstack([self.observation, self.codes]), self.encoder_bias),
            "gru_input": (self.gru_input, self.gru_input_bias),
            "gru_hidden": (self.gru_hidden, self.gru_hidden_bias),
            "fc2": (self.output, self.output_bias),
        }

    def step(
        self, observation: np.ndarray, last_action: int, agent: int, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Action values and the next hidden state of one agent, in double precision.

        Args:
            observation: [features].
            last_action: -1 for none.
            agent: whose id and neurons; ignored by a network of its own.
            hidden: [hidden].
        """
        code = np.zeros(self.codes.shape[1])
        if last_action >= 0:
            code[last_action] = 1
        if self.codes.shape[1] > self.actions:
            code[self.actions + agent] = 1
        x = self.observation @ observation.astype(float) + self.codes @ code + self.encoder_bias
        code = np.maximum(x, 0) * _owned(self.neurons, "fc1", agent)
        of_input = self.gru_input @ code + self.gru_input_bias
        of_hidden = self.gru_hidden @ hidden + self.gru_hidden_bias
        h = self.hidden
        reset, update = (np.tanh((of_input + of_hidden)[: 2 * h] / 2) / 2 + 0.5).reshape(2, h)
        new = np.tanh(of_input[2 * h :] + reset * of_hidden[2 * h :])
        hidden = ((1 - update) * new + update * hidden) * _owned(self.neurons, GRU, agent)
        return self.output @ hidden + self.output_bias, hidden


AnyNetwork = Network | FeedForwardNetwork
"""A network that can be exported."""


def _owned(neurons: Mapping[str, np.ndarray], name: str, agent: int) -> np.ndarray | float:
    """Which neurons of a layer an agent has; 1 where all have all."""
    return neurons[name][agent] if name in neurons else 1.0


def networks_of(policy: Policy) -> list[AnyNetwork]:
    """The network that all agents share, or that of each agent, every neuron still in it.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    layers: dict[str, Matrix] = {}
    for name, layer in layers_of(policy.agent).items():
        layers[name] = (np.asarray(layer.weight), np.asarray(layer.bias))
        if not all(np.isfinite(part).all() for part in layers[name]):
            raise UserError(f"the policy's layer {name} holds NaN or infinity: nothing to export")
    parts = policy.agent.parts
    neurons = {} if parts is None or parts.neurons is None else parts.neurons
    if neurons and parts is not None and parts.types:
        raise UserError(
            "what an agent lacks goes by the type that an episode draws for it: nothing to export"
        )
    lacking = {
        name: np.asarray(kept) for name, kept in neurons.items() if not np.asarray(kept).all()
    }
    features = policy.description["features"]
    make = _feed_forward if isinstance(policy.agent, FeedForward) else _network
    make = partial(make, scaled=bool(policy.description.get(FOLDED)))
    if next(iter(layers.values()))[0].ndim == 2:
        return [make(layers, features, lacking)]
    if lacking:
        raise UserError("agents with networks of their own that lack neurons: nothing to export")
    return [
        make({name: (w[agent], b[agent]) for name, (w, b) in layers.items()}, features, {})
        for agent in range(policy.description["agents"])
    ]


def _network(
    layers: Mapping[str, Matrix],
    features: int,
    neurons: Mapping[str, np.ndarray],
    scaled: bool,
) -> Network:
    weight, bias = layers["fc1"]
    return Network(
        weight[:, :features],
        weight[:, features:],
        bias,
        *layers["gru_input"],
        *layers["gru_hidden"],
        *layers["fc2"],
        units=np.arange(layers["gru_hidden"][0].shape[1]),
        neurons=neurons,
        scaled=scaled,
    )


def _feed_forward(
    layers: Mapping[str, Matrix],
    features: int,
    neurons: Mapping[str, np.ndarray],
    scaled: bool,
) -> FeedForwardNetwork:
    return FeedForwardNetwork(tuple(layers.values()), features, neurons, scaled)


def small_networks_of(policy: Policy) -> list[AnyNetwork]:
    """The same without the neurons that nothing depends on."""
    return [
        network.without_dead_neurons()
        if isinstance(network, FeedForwardNetwork)
        else without_dead_neurons(network)
        for network in networks_of(policy)
    ]


def without_dead_neurons(network: Network) -> Network:
    """The same function with fewer neurons.

    A hidden unit goes if no chain of weights leads from it to an action value, or no agent has it; a neuron
    of the encoder goes if nothing reads it, or if it reads nothing: then it is a constant, and what it
    contributes is added to the biases behind it, unless some agents only have it.
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
        neurons=_of_neurons(network.neurons, GRU, live),
    )
    owned = network.neurons.get("fc1", np.ones((1, network.encoded), bool))
    reads = network.observation.any(1) | network.codes.any(1)
    varies = (reads & owned.any(0)) | (owned.any(0) & ~owned.all(0))
    constant = np.where(varies | ~owned.any(0), 0, np.maximum(network.encoder_bias, 0))
    kept = np.flatnonzero(varies & network.gru_input.any(0))
    return replace(
        network,
        observation=network.observation[kept],
        codes=network.codes[kept],
        encoder_bias=network.encoder_bias[kept],
        gru_input=network.gru_input[:, kept],
        gru_input_bias=network.gru_input_bias + network.gru_input @ constant,
        neurons=_of_neurons(network.neurons, "fc1", kept),
    )


def _of_neurons(
    neurons: Mapping[str, np.ndarray], name: str, kept: np.ndarray
) -> dict[str, np.ndarray]:
    """Who has which, with some neurons of one layer only."""
    return {each: own[:, kept] if each == name else own for each, own in neurons.items()}


def _reaches_output(network: Network) -> np.ndarray:
    """Which hidden units an action value depends on, now or some steps later."""
    h = network.hidden
    owned = network.neurons.get(GRU, np.ones((1, h), bool)).any(0)
    reads = np.asarray(network.gru_hidden.reshape(3, h, h).any(0))
    live = np.asarray(network.output.any(0)) & owned
    while True:
        grown = (live | reads[live].any(0)) & owned
        if (grown == live).all():
            return live
        live = grown


def padded(network: Network, hidden: int | None = None) -> Network:
    """The network with both widths filled up to whole vectors, at least one, by neurons of zeros.

    Args:
        network: any.
        hidden: the hidden width; the next multiple of `LANES` by default.
    """
    return widened(
        network,
        whole_vectors(network.encoded),
        whole_vectors(network.hidden) if hidden is None else hidden,
    )


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
        neurons={
            name: np.pad(own, ((0, 0), (0, more if name == GRU else extra)), constant_values=True)
            for name, own in network.neurons.items()
        },
    )
