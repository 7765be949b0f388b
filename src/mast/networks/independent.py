"""A network for each agent: the same layer of all of them in one stacked tensor."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.networks.agent import Agent, RecurrentAgent, recurrent_agent
from mast.networks.linear import Linear
from mast.networks.sharing import Parts, draw_parts, layer_of_agents
from mast.networks.spec import NetworkSpec, Sizes

LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")


class IndependentAgents(eqx.Module):
    """`RecurrentAgent` without the id input, once for every agent (MAST, agent roles; spec §1).

    Weights are [agents, outputs, inputs] and biases [agents, outputs], so that drop and grow can rank
    the weights of all agents together. With fewer networks than agents, `parts` says whose is whose.
    """

    fc1: Linear
    gru_input: Linear
    gru_hidden: Linear
    fc2: Linear
    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    parts: Parts | None = None

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
        return jax.vmap(alone, in_axes=(0, -3, -2), out_axes=-3)(self.of_each(), *teams)[..., 0, :]

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
        q, after = jax.vmap(alone, in_axes=(0, -3, -2, -3), out_axes=-3)(self.of_each(), *teams)
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
        return jax.vmap(alone, in_axes=(0, -3, -2), out_axes=-3)(self.of_each(), *teams)[..., 0, :]

    def of_each(self) -> "IndependentAgents":
        """One network for each agent, whatever the agents share."""
        if self.parts is None:
            return self
        fc1, gru_input, gru_hidden, fc2 = (
            layer_of_agents(self.parts, name, getattr(self, name)) for name in LAYERS
        )
        return IndependentAgents(fc1, gru_input, gru_hidden, fc2, self.features, self.actions)

    def network_of(self, agent: int) -> RecurrentAgent:
        """The network of one agent by itself."""
        return jax.tree.map(lambda leaf: leaf[agent], self.of_each())._one_network()

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
    parts = draw_parts(key, network)
    return IndependentAgents(
        stacked.fc1, stacked.gru_input, stacked.gru_hidden, stacked.fc2, features, actions, parts
    )


class PrunedWeights(RecurrentAgent):
    """One network of which each agent lacks some weights by chance (USNP; SNP-PS §5.3)."""

    def encode(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
    ) -> Float[Array, "*batch agents hidden"]:
        """The first layer's activation of each agent."""
        return self.of_each().encode(observation, last_action)

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        return self.of_each().step(observation, last_action, hidden)

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from h_0 = 0."""
        return self.of_each().sequence(observation, last_action)

    def of_each(self) -> IndependentAgents:
        """Each agent's own network: the root's weights, and zeros where it lacks them."""
        fc1, gru_input, gru_hidden = (
            layer_of_agents(self.parts, name, getattr(self, name)) for name in LAYERS[:3]
        )
        agents = fc1.weight.shape[0]
        fc2 = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (agents, *leaf.shape)), self.fc2)
        return IndependentAgents(fc1, gru_input, gru_hidden, fc2, self.features, self.actions)


def fresh_agent(key: PRNGKeyArray, network: NetworkSpec, sizes: Sizes) -> Agent:
    """A dense recurrent agent, shared as its declaration says: one network, several, or parts of one."""
    if network.per_agent:
        return independent_agents(key, network, sizes.observation, sizes.actions)
    if network.lacks is None:
        return recurrent_agent(key, network, sizes.observation, sizes.actions)
    weights_key, parts_key = jax.random.split(key)
    agent = recurrent_agent(weights_key, network, sizes.observation, sizes.actions)
    parts = draw_parts(parts_key, network)
    kind = PrunedWeights if network.lacks.of == "weights" else RecurrentAgent
    return kind(
        agent.fc1,
        agent.gru_input,
        agent.gru_hidden,
        agent.fc2,
        sizes.observation,
        sizes.actions,
        parts,
    )
