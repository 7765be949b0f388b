"""The weight matrices of each algorithm's networks: their shapes, before anything is allocated or counted.

Two facts about the dimensions that the paper's Table 1 rests on: the agent's input is the observation,
the one-hot last action and the one-hot agent id, while SMAC's state *already* holds the last joint
action (3m: 12 ally + 9 enemy + 27 action features = 48), so nothing is added to the mixer's input.
"""

from dataclasses import dataclass

from mast.errors import UserError
from mast.sparsity.allocation import LayerShape

ALGORITHMS = ("iql", "vdn", "qmix", "owqmix", "cwqmix", "res")
WEIGHTED = ("owqmix", "cwqmix")  # beside the QMIX pair they train an unrestricted one


@dataclass(frozen=True)
class Dimensions:
    """Sizes that the environment sets: features per observation and state, actions, agents."""

    observation: int
    state: int
    actions: int
    agents: int

    def agent_input(self, independent: bool) -> int:
        """Observation ⊕ one-hot last action ⊕ one-hot agent id; independent networks need no id."""
        return self.observation + self.actions + (0 if independent else self.agents)


@dataclass(frozen=True)
class Widths:
    """Sizes that the user sets; the defaults are PyMARL's and the paper's."""

    hidden: int = 64
    mixer_embed: int = 32
    hyper_hidden: int = 64
    unrestricted_hidden: int = 256


PYMARL_WIDTHS = Widths()


@dataclass(frozen=True)
class WeightMatrix:
    """A weight matrix with a bias; `summands` is how many products one of its outputs adds up.

    That is its inputs for a linear layer, and for each matrix of a GRU the inputs of the pair.
    """

    shape: LayerShape
    summands: int


@dataclass(frozen=True)
class Network:
    """One network: its matrices, and how often a team runs it in one step.

    `generated_flops` are of a pass whose weights are outputs of the layers: dense, no parameters.
    """

    name: str
    layers: tuple[WeightMatrix, ...]
    passes: int = 1
    generated_flops: int = 0

    @property
    def shapes(self) -> tuple[LayerShape, ...]:
        """The matrices as `allocation` takes them."""
        return tuple(layer.shape for layer in self.layers)


def linear(name: str, inputs: int, outputs: int, copies: int = 1) -> WeightMatrix:
    """A fully-connected layer."""
    return WeightMatrix(LayerShape(name, inputs, outputs, copies), summands=inputs)


def gru(inputs: int, hidden: int, copies: int = 1) -> tuple[WeightMatrix, WeightMatrix]:
    """A GRU cell: input and hidden matrix, each with its three gates stacked, as in Torch."""
    summands = inputs + hidden
    return (
        WeightMatrix(LayerShape("gru_input", inputs, 3 * hidden, copies), summands),
        WeightMatrix(LayerShape("gru_hidden", hidden, 3 * hidden, copies), summands),
    )


def generated_mixing_flops(agents: int, embed: int) -> int:
    """FLOPs of QMIX's mixing pass, agents → embed → 1, with weights made by the hypernetworks."""
    return (2 * agents - 1) * embed + (2 * embed - 1)


def agent_layers(
    inputs: int, hidden: int, actions: int, copies: int = 1
) -> tuple[WeightMatrix, ...]:
    """The recurrent agent: fc1 → GRU → fc2."""
    return (
        linear("fc1", inputs, hidden, copies),
        *gru(hidden, hidden, copies),
        linear("fc2", hidden, actions, copies),
    )


def qmix_mixer_layers(
    state: int, agents: int, embed: int, hyper_hidden: int
) -> tuple[WeightMatrix, ...]:
    """QMIX's hypernetworks of the state: w1, w_final, b1 and V."""
    return (
        linear("w1_hidden", state, hyper_hidden),
        linear("w1_out", hyper_hidden, agents * embed),
        linear("w_final_hidden", state, hyper_hidden),
        linear("w_final_out", hyper_hidden, embed),
        linear("b1", state, embed),
        linear("v_hidden", state, embed),
        linear("v_out", embed, 1),
    )


def unrestricted_mixer_layers(state: int, agents: int, hidden: int) -> tuple[WeightMatrix, ...]:
    """The feed-forward mixer of OW-QMIX and CW-QMIX: [q_1..q_n, state] → 1, plus V(state)."""
    return (
        linear("fc1", agents + state, hidden),
        linear("fc2", hidden, hidden),
        linear("fc3", hidden, hidden),
        linear("fc4", hidden, 1),
        linear("v_hidden", state, hidden),
        linear("v_out", hidden, 1),
    )


def algorithm_networks(
    dimensions: Dimensions,
    algorithm: str,
    widths: Widths = PYMARL_WIDTHS,
    independent: bool = False,
) -> tuple[Network, ...]:
    """The online networks of an algorithm; each has a sparsity budget of its own.

    Independent agents' networks are one network of stacked matrices, with one budget.

    VDN's mixer has no weights, only its n − 1 additions; IQL has none.

    Raises:
        UserError: the algorithm is unknown.
    """
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm {algorithm!r} is unknown: one of {', '.join(ALGORITHMS)}")
    state, agents = dimensions.state, dimensions.agents
    copies, passes = (agents, 1) if independent else (1, agents)
    inputs = dimensions.agent_input(independent)
    agent = agent_layers(inputs, widths.hidden, dimensions.actions, copies)
    networks = [Network("agent", agent, passes=passes)]
    if algorithm == "vdn":
        networks.append(Network("mixer", (), generated_flops=agents - 1))
    elif algorithm != "iql":
        mixer = qmix_mixer_layers(state, agents, widths.mixer_embed, widths.hyper_hidden)
        generated = generated_mixing_flops(agents, widths.mixer_embed)
        networks.append(Network("mixer", mixer, generated_flops=generated))
    if algorithm in WEIGHTED:
        mixer = unrestricted_mixer_layers(state, agents, widths.unrestricted_hidden)
        networks.append(Network("unrestricted_agent", agent, passes=passes))
        networks.append(Network("unrestricted_mixer", mixer))
    return tuple(networks)
