"""The recurrent agent: (observation, last action, agent id) → Linear → ReLU → GRU → Linear → Q."""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.networks.gru import gru_sequence, gru_step, split_gates
from mast.networks.linear import Linear, torch_layers
from mast.networks.sharing import Parts, keep_neurons
from mast.networks.spec import GRU, NetworkSpec

NO_ACTION = -1
"""The last action at the first step of an episode: its one-hot code is all zeros."""


def last_actions(
    action: Int[Array, "time batch agents"],
) -> Int[Array, "time_and_one batch agents"]:
    """What was done one step before each state of an episode, the state after the last step among them.

    Args:
        action: of each step.

    Returns:
        one row more: `NO_ACTION` at the start, then the actions.
    """
    return jnp.concatenate([jnp.full_like(action[:1], NO_ACTION), action])


@runtime_checkable
class Actor(Protocol):
    """What rollouts need: observations and last actions of a team in, each agent's action values out."""

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        ...

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """The hidden state at the start of an episode."""
        ...

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        ...


@runtime_checkable
class Agent(Actor, Protocol):
    """What learning needs: the same along whole episodes."""

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from their start."""
        ...


class RecurrentAgent(eqx.Module):
    """PyMARL's agent, one set of weights for the whole team (MAST, Appendix B.1; spec §1).

    The input is the agent's own observation, its one-hot last action and its one-hot id. The two codes
    are never laid out beside the observation: the columns of `fc1` that belong to them are used apart.
    A first layer without columns for an id tells no agent from another (`mast.networks.independent`).
    """

    fc1: Linear
    gru_input: Linear
    gru_hidden: Linear
    fc2: Linear
    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    parts: Parts | None = None
    """Which neurons each agent has (SNP-PS); all where None."""

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.gru_hidden.weight.shape[-1]

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """h_0 = 0."""
        return jnp.zeros((*batch, self.hidden_size))

    def encode(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
    ) -> Float[Array, "*batch agents hidden"]:
        """The first layer's activation.

        Args:
            observation: each agent's own.
            last_action: the action each took one step before, `NO_ACTION` at the start.
        """
        by_observation, by_action, by_id = jnp.split(
            self.fc1.weight, [self.features, self.features + self.actions], axis=1
        )
        code = jax.nn.one_hot(last_action, self.actions)
        shift = by_id.T + self.fc1.bias if by_id.size else self.fc1.bias
        x = observation @ by_observation.T + code @ by_action.T + shift
        return keep_neurons(self.parts, "fc1", jax.nn.relu(x), observation)

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        x = self.encode(observation, last_action)
        reset, update, new = (gate(x) for gate in split_gates(self.gru_input))
        hidden = gru_step(self.gru_hidden, (reset, update, new), hidden)
        hidden = keep_neurons(self.parts, GRU, hidden, observation)
        return self.fc2(hidden), hidden

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from h_0 = 0."""
        time, batch, agents, _ = observation.shape
        x = self.encode(observation, last_action).reshape(time, batch * agents, -1)
        reset, update, new = (gate(x) for gate in split_gates(self.gru_input))
        initial = self.initial_hidden(batch * agents)
        keep = None
        if self.parts is not None and self.parts.neurons is not None:
            has = self.parts.kept(GRU, observation).astype(initial.dtype)
            # Types may end along an episode; what an agent lacks by its place does not.
            keep = has.reshape(*x.shape[:2], -1) if self.parts.types else jnp.tile(has, (batch, 1))
        hidden = gru_sequence(self.gru_hidden, (reset, update, new), initial, keep)
        return self.fc2(hidden).reshape(time, batch, agents, self.actions)


def recurrent_agent(
    key: PRNGKeyArray, network: NetworkSpec, features: int, actions: int
) -> RecurrentAgent:
    """A fresh dense agent of these layers, initialised as Torch does, with no parts drawn."""
    layers = torch_layers(key, network)
    fc1, gru_input, gru_hidden, fc2 = (layers[layer.name] for layer in network.layers)
    return RecurrentAgent(fc1, gru_input, gru_hidden, fc2, features, actions)
