"""A network for each agent: the same layer of all of them in one stacked tensor."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.networks.agent import RecurrentAgent, recurrent_agent
from mast.networks.linear import Linear
from mast.networks.spec import NetworkSpec


class IndependentAgents(eqx.Module):
    """`RecurrentAgent` without the id input, once for every agent (MAST, agent roles; spec §1).

    Weights are [agents, outputs, inputs] and biases [agents, outputs], so that drop and grow can rank
    the weights of all agents together.
    """

    fc1: Linear
    gru_input: Linear
    gru_hidden: Linear
    fc2: Linear
    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)

    @property
    def hidden_size(self) -> int:
        """The width of each agent's hidden state."""
        return self.gru_hidden.weight.shape[-1]

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """h_0 = 0."""
        return jnp.zeros((*batch, self.hidden_size))

    def encode(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
    ) -> Float[Array, "*batch agents hidden"]:
        """The first layer's activation of each network."""

        def alone(network: IndependentAgents, *inputs: Array) -> Array:
            return network._one_network().encode(*inputs)

        teams = (observation[..., None, :], last_action[..., None])
        return jax.vmap(alone, in_axes=(0, -3, -2), out_axes=-3)(self, *teams)[..., 0, :]

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""

        def alone(network: IndependentAgents, *inputs: Array) -> tuple[Array, Array]:
            return network._one_network().step(*inputs)

        # Each network sees a team of one: its inputs keep an agent axis, of length 1.
        teams = (observation[..., None, :], last_action[..., None], hidden[..., None, :])
        q, after = jax.vmap(alone, in_axes=(0, -3, -2, -3), out_axes=-3)(self, *teams)
        return q[..., 0, :], after[..., 0, :]

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from h_0 = 0."""

        def alone(network: IndependentAgents, *inputs: Array) -> Array:
            return network._one_network().sequence(*inputs)

        teams = (observation[..., None, :], last_action[..., None])
        return jax.vmap(alone, in_axes=(0, -3, -2), out_axes=-3)(self, *teams)[..., 0, :]

    def _one_network(self) -> RecurrentAgent:
        """Under a `vmap` over agents, where the layers are those of one: its network."""
        return RecurrentAgent(
            self.fc1, self.gru_input, self.gru_hidden, self.fc2, self.features, self.actions
        )


def independent_agents(
    key: PRNGKeyArray, network: NetworkSpec, features: int, actions: int
) -> IndependentAgents:
    """Fresh dense networks, `network.copies` of them, each initialised as `recurrent_agent` does."""

    def one(key: PRNGKeyArray) -> RecurrentAgent:
        return recurrent_agent(key, network, features, actions)

    stacked = jax.vmap(one)(jax.random.split(key, network.copies))
    return IndependentAgents(
        stacked.fc1, stacked.gru_input, stacked.gru_hidden, stacked.fc2, features, actions
    )
