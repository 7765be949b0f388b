"""Fresh dense networks of given sizes, drawn from their declarations."""

import jax

from mast.networks import agent, independent
from mast.networks.agent import RecurrentAgent
from mast.networks.independent import IndependentAgents
from mast.networks.linear import torch_layers
from mast.networks.mixers import FeedForwardMixer, QMixer
from mast.networks.spec import (
    Sizes,
    feed_forward_mixer_spec,
    monotonic_mixer_spec,
    recurrent_agent_spec,
)


def recurrent_agent(
    key: jax.Array, features: int, actions: int, agents: int, hidden_size: int = 64
) -> RecurrentAgent:
    """With 0 agents: without an id among its inputs."""
    sizes = Sizes(features, 0, actions, agents, hidden_size)
    return agent.recurrent_agent(key, recurrent_agent_spec(sizes), features, actions)


def independent_agents(
    key: jax.Array, features: int, actions: int, agents: int, hidden_size: int = 64
) -> IndependentAgents:
    sizes = Sizes(features, 0, actions, agents, hidden_size, independent=True)
    return independent.independent_agents(key, recurrent_agent_spec(sizes), features, actions)


def q_mixer(
    key: jax.Array, state: int, agents: int, embed: int = 32, hypernet_hidden: int = 64
) -> QMixer:
    sizes = Sizes(1, state, 1, agents, mixer_embed=embed, hypernet_hidden=hypernet_hidden)
    return QMixer(**torch_layers(key, monotonic_mixer_spec(sizes)))


def feed_forward_mixer(
    key: jax.Array, state: int, agents: int, hidden: int = 256
) -> FeedForwardMixer:
    sizes = Sizes(1, state, 1, agents, unrestricted_hidden=hidden)
    return FeedForwardMixer(**torch_layers(key, feed_forward_mixer_spec(sizes)))
