"""Architectures, declared once: the layers of each network, what they read, and what a pass costs. No JAX.

From a `NetworkSpec` follow the shapes at the start, the Erdős–Rényi densities, size and FLOPs, and
tiny widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from mast.errors import UserError
from mast.sparsity.allocation import LayerShape
from mast.sparsity.patterns import Matrix

GATES = 3
"""Of a GRU, stacked in each of its matrices as in Torch: reset, update, new."""
GRU = "gru"
HEADS = 4
"""Of the attention with which QPLEX weighs advantages (its authors' setting for StarCraft)."""


@runtime_checkable
class TeamSizes(Protocol):
    """What must be known of an environment; `EnvironmentSpec` has all of it."""

    @property
    def observation(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def actions(self) -> int: ...
    @property
    def agents(self) -> int: ...


class Lacks(NamedTuple):
    """What each agent lacks of a network that several agents use (SNP-PS §4)."""

    ratio: tuple[float, ...] | None
    """The share of each hidden layer's neurons, or of its incoming weights; None = what the network defaults
    to."""
    of: Literal["neurons", "weights"] = "neurons"
    alike: bool = False
    """Whether all agents lack the same."""
    types: tuple[int, ...] = ()
    """Where it goes by the agent's type: the features of an observation that say, one-hot, which."""
    setting: str = "prune_ratio"
    """What gives the ratio, for messages."""

    def by_default(self, ratio: tuple[float, ...]) -> Lacks:
        """With a network's own ratio where none is given, and one for each of its hidden layers.

        Raises:
            UserError: another number of ratios than hidden layers.
        """
        given = ratio if self.ratio is None else self.ratio
        if len(given) != len(ratio):
            shown = "-".join(f"{each:g}" for each in given)
            raise UserError(
                f"{self.setting} = {shown}: must be {len(ratio)} numbers, one per hidden layer"
            )
        return self._replace(ratio=given)


@dataclass(frozen=True)
class Sizes:
    """What fixes the shapes of a team's networks: sizes of the environment, widths of the settings.

    The widths have the names of their settings; their defaults are PyMARL's and the paper's.
    """

    observation: int
    """Features of an observation."""
    state: int
    actions: int
    agents: int
    hidden_size: int = 64
    mixer_embed: int = 32
    hypernet_hidden: int = 64
    unrestricted_hidden: int = 256
    hidden_layers: int = 3
    """Of feed-forward actors and critics."""
    independent: bool = False
    """Whether each agent has a network of its own, without an id among its inputs."""
    agent_id: bool = True
    """Whether a network that several agents use reads a one-hot id."""
    clusters: int | None = None
    """How many networks the agents share out among them (SePS); None where that is 1, or one each."""
    lacks: Lacks | None = None
    """What each agent lacks of the acting network."""
    critic_lacks: Lacks | None = None
    """What each agent lacks of its critic."""

    @property
    def copies(self) -> int:
        """How many networks the agents have."""
        return self.agents if self.independent else self.clusters or 1

    @property
    def stacked(self) -> bool:
        """Whether networks are stacked in their tensors."""
        return self.independent or self.clusters is not None

    @property
    def id_input(self) -> int:
        """The width of the one-hot agent id."""
        return self.agents if self.agent_id and not self.stacked else 0

    @property
    def agent_input(self) -> int:
        """Observation ⊕ one-hot last action ⊕ one-hot agent id."""
        return self.observation + self.actions + self.id_input


class LayerSpec(NamedTuple):
    """A weight matrix [outputs, inputs] and its bias."""

    name: str
    inputs: int
    outputs: int
    reads: tuple[str, ...] = ()
    """The layers, or groups, whose neurons are its inputs; empty where it reads the network's own inputs."""
    group: str = ""
    """Layers of one group make the same neurons together, as the two matrices of a GRU do."""

    @property
    def makes(self) -> str:
        """What its neurons are called: its group, or its own name."""
        return self.group or self.name

    @property
    def units(self) -> int:
        """How many neurons it makes."""
        return self.outputs // GATES if self.group == GRU else self.outputs

    def rows(self, neurons: Sequence[int]) -> list[int]:
        """Which rows of its matrix make these of its neurons; of a GRU's, those of all three gates."""
        return [first + each for first in range(0, self.outputs, self.units) for each in neurons]


class NetworkSpec(NamedTuple):
    """One network: its layers, in the order in which they are drawn and packed."""

    layers: tuple[LayerSpec, ...]
    copies: int = 1
    """How many networks are stacked in its tensors."""
    per_agent: bool = False
    """Whether they are stacked, one per agent (of which there may be only one)."""
    passes: float = 1
    """How often a team runs all copies in one step, on the average where agents share out some."""
    generated_flops: int = 0
    """Of a pass whose weights are outputs of the layers: dense, without parameters."""
    widths: tuple[str, ...] = ()
    """The fields of `Sizes` that make it wider."""
    kernel: str | None = None
    """Which native kernels compute it; None where none do."""
    users: int = 1
    """How many agents use it; those of `copies` where that is more than one."""
    clustered: bool = False
    """Whether agents are shared out among the copies (SePS)."""
    lacks: Lacks | None = None
    """What each of them lacks of it."""

    @property
    def shapes(self) -> tuple[LayerShape, ...]:
        """The matrices as `mast.sparsity.allocation` takes them."""
        return tuple(
            LayerShape(layer.name, layer.inputs, layer.outputs, self.copies)
            for layer in self.layers
        )

    @property
    def matrices(self) -> dict[str, Matrix]:
        """The matrices as a pattern sees them, by layer."""
        read = {name for layer in self.layers for name in layer.reads}
        return {
            layer.name: Matrix(
                self.copies * layer.outputs,
                layer.inputs,
                self.copies,
                layer.outputs // layer.units,
                not read & {layer.makes, layer.name},
            )
            for layer in self.layers
        }

    def summands(self, layer: LayerSpec) -> int:
        """How many products one of a layer's outputs adds up, with those of its group."""
        together = [each for each in self.layers if each.makes == layer.makes]
        return sum(each.inputs for each in together)

    @property
    def hidden(self) -> dict[str, int]:
        """The hidden layers: what their neurons are called, and how many there are, from first to last."""
        read = {name for layer in self.layers for name in layer.reads}
        return {layer.makes: layer.units for layer in self.layers if layer.makes in read}

    @property
    def pruned(self) -> dict[str, int]:
        """How many neurons of each hidden layer an agent lacks: round(ratio · width); of weights none."""
        if self.lacks is None or self.lacks.of == "weights":
            return {}
        ratios = self.ratios
        pruned = {name: round(ratios[name] * units) for name, units in self.hidden.items()}
        for name, units in self.hidden.items():
            if pruned[name] == units:
                raise UserError(
                    f"{self.lacks.setting} = {ratios[name]:g} of {name}: none of its {units} neurons is left"
                )
        return pruned

    @property
    def draws(self) -> int:
        """How many subnetworks are drawn: one per agent, or per type of agent."""
        types = () if self.lacks is None else self.lacks.types
        return len(types) or self.users

    @property
    def ratios(self) -> dict[str, float]:
        """What share an agent lacks, by hidden layer."""
        given = () if self.lacks is None or self.lacks.ratio is None else self.lacks.ratio
        return dict(zip(self.hidden, given, strict=True))

    def used(self, layer: LayerSpec) -> float:
        """The share of a layer's weights that an agent uses."""
        if self.lacks is not None and self.lacks.of == "weights":
            return 1 - self.ratios.get(layer.makes, 0.0)
        share, hidden = 1.0, self.hidden
        for name in (layer.makes, *layer.reads):
            if name in self.pruned:
                share *= 1 - self.pruned[name] / hidden[name]
        return share

    def makers(self, neurons: str) -> tuple[LayerSpec, ...]:
        """The layers that make these neurons."""
        return tuple(layer for layer in self.layers if layer.makes == neurons)


def recurrent_agent_spec(sizes: Sizes) -> NetworkSpec:
    """PyMARL's agent: Linear → ReLU → GRU → Linear (MAST, Appendix B.1)."""
    h = sizes.hidden_size
    return NetworkSpec(
        (
            LayerSpec("fc1", sizes.agent_input, h),
            LayerSpec("gru_input", h, GATES * h, ("fc1",), GRU),
            LayerSpec("gru_hidden", h, GATES * h, (GRU,), GRU),
            LayerSpec("fc2", h, sizes.actions, (GRU,)),
        ),
        copies=sizes.copies,
        per_agent=sizes.stacked,
        passes=sizes.agents / sizes.copies,
        widths=("hidden_size",),
        kernel=None if _has_own_matrices(sizes) else "agent",
        users=sizes.agents,
        clustered=sizes.clusters is not None,
        lacks=sizes.lacks and sizes.lacks.by_default((0.0, 0.1)),
    )


def _has_own_matrices(sizes: Sizes) -> bool:
    """Whether agents that share a network have each another matrix, or masks that an observation names."""
    lacks = sizes.lacks
    return lacks is not None and (lacks.of == "weights" or bool(lacks.types))


def actor_spec(sizes: Sizes) -> NetworkSpec:
    """An actor: an agent's own observation in, logits out; under SNP-PS 0-0.1-0.1 is missing (§5.1)."""
    usual = (0.0, *(0.1,) * (sizes.hidden_layers - 1))
    lacks = sizes.lacks and sizes.lacks.by_default(usual)
    return feed_forward_spec(sizes, sizes.actions, lacks, sizes.observation)


def critic_spec(sizes: Sizes, central: bool = False) -> NetworkSpec:
    """A critic of an agent's own observation, or of the state; under SNP-PS 0-0.1-0.9 is missing (§5.1)."""
    usual = (0.0, *(0.1,) * (sizes.hidden_layers - 2), 0.9)[-sizes.hidden_layers :]
    lacks = sizes.critic_lacks and sizes.critic_lacks.by_default(usual)
    if lacks and central:  # a state does not say whose critic reads it
        lacks = lacks._replace(types=())
    return feed_forward_spec(sizes, 1, lacks, sizes.state if central else sizes.observation)


def feed_forward_spec(sizes: Sizes, outputs: int, lacks: Lacks | None, inputs: int) -> NetworkSpec:
    """An actor or a critic: hidden ReLU layers of one width, and a linear head.

    Args:
        sizes: of the environment, and width and number of the hidden layers.
        outputs: of the head.
        lacks: what each agent lacks of it.
        inputs: what it reads beside the agent's id.
    """
    h, inputs, layers = sizes.hidden_size, inputs + sizes.id_input, []
    for index in range(sizes.hidden_layers + 1):
        layers.append(
            LayerSpec(
                f"layers.{index}",
                inputs if index == 0 else h,
                outputs if index == sizes.hidden_layers else h,
                (f"layers.{index - 1}",) if index else (),
            )
        )
    return NetworkSpec(
        tuple(layers),
        copies=sizes.copies,
        per_agent=sizes.stacked,
        passes=sizes.agents / sizes.copies,
        widths=("hidden_size",),
        users=sizes.agents,
        clustered=sizes.clusters is not None,
        lacks=lacks,
    )


def sum_mixer_spec(sizes: Sizes) -> NetworkSpec:
    """VDN's mixer: no weights, n − 1 additions."""
    return NetworkSpec((), generated_flops=sizes.agents - 1, kernel="sum")


def monotonic_mixer_spec(sizes: Sizes) -> NetworkSpec:
    """QMIX's mixer: hypernetworks of the state make w1, w_final, b1 and V (Rashid et al. 2018).

    SMAC's state already holds the last joint action (3m: 12 ally + 9 enemy + 27 action features = 48), so
    nothing is added to it.
    """
    state, embed, hidden = sizes.state, sizes.mixer_embed, sizes.hypernet_hidden
    return NetworkSpec(
        (
            LayerSpec("w1_hidden", state, hidden),
            LayerSpec("w1_out", hidden, sizes.agents * embed, ("w1_hidden",)),
            LayerSpec("w_final_hidden", state, hidden),
            LayerSpec("w_final_out", hidden, embed, ("w_final_hidden",)),
            LayerSpec("b1", state, embed),
            LayerSpec("v_hidden", state, embed),
            LayerSpec("v_out", embed, 1, ("v_hidden",)),
        ),
        generated_flops=(2 * sizes.agents - 1) * embed + (2 * embed - 1),
        widths=("mixer_embed", "hypernet_hidden"),
        kernel="monotonic",
    )


def feed_forward_mixer_spec(sizes: Sizes) -> NetworkSpec:
    """The unrestricted mixer of OW-QMIX and CW-QMIX: [q_1..q_n, state] → 1, plus V(state)."""
    state, hidden = sizes.state, sizes.unrestricted_hidden
    return NetworkSpec(
        (
            LayerSpec("fc1", sizes.agents + state, hidden),
            LayerSpec("fc2", hidden, hidden, ("fc1",)),
            LayerSpec("fc3", hidden, hidden, ("fc2",)),
            LayerSpec("fc4", hidden, 1, ("fc3",)),
            LayerSpec("v_hidden", state, hidden),
            LayerSpec("v_out", hidden, 1, ("v_hidden",)),
        ),
        widths=("unrestricted_hidden",),
        kernel="feed_forward",
    )


def duplex_mixer_spec(sizes: Sizes) -> NetworkSpec:
    """Two hypernetworks for w and b, and one layer each for the heads' keys and gates."""
    state, hidden, agents = sizes.state, sizes.hypernet_hidden, sizes.agents
    return NetworkSpec(
        (
            LayerSpec("w_hidden", state, hidden),
            LayerSpec("w_out", hidden, agents, ("w_hidden",)),
            LayerSpec("b_hidden", state, hidden),
            LayerSpec("b_out", hidden, agents, ("b_hidden",)),
            LayerSpec("key", state, HEADS),
            LayerSpec("agents", state, HEADS * agents),
            LayerSpec("actions", state + agents * sizes.actions, HEADS * agents),
        ),
        widths=("hypernet_hidden",),
    )
