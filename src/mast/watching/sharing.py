"""How agents that share a network differ: the neurons of each, and what they make of one observation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.diagnosis.sharing_pictures import Features
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.export.recording import record_episodes
from mast.networks.agent import NO_ACTION
from mast.networks.feed_forward import FeedForward
from mast.networks.normaliser import folded
from mast.networks.spec import GRU
from mast.policy import Policy
from mast.training.checkpoint import CheckpointStore
from mast.watching.mixer import filled, shapes_of

LAST_LAYERS = 2
"""Of each network that are drawn: the paper's hidden layers 2 and 3, or encoder and GRU."""
AGENTS = 3
OBSERVATIONS = 200
EPISODES = 4


class Shared(NamedTuple):
    """The networks of a run's agents."""

    policy: Policy
    critic: FeedForward | None
    """That of the checkpoint; None where there is none."""
    central: bool = False
    """Whether the critic reads the state, not an agent's observation."""

    @property
    def networks(self) -> dict[str, Any]:
        """By the name of their field in the parameters."""
        critic = {} if self.critic is None else {"critic": self.critic}
        return {"agent": self.policy.agent} | critic

    @property
    def neurons(self) -> dict[str, Bool[np.ndarray, "agents units"]]:
        """Which neurons each agent has, by network and layer; of layers that some agent has not whole."""
        found = {}
        for name, network in self.networks.items():
            parts = network.parts
            for layer, own in {} if parts is None else (parts.neurons or {}).items():
                if not np.asarray(own).all():
                    found[f"{name}.{layer}"] = np.asarray(own)
        return found


def load_shared(run: Path, config: Config, environment: Environment) -> Shared:
    """The acting network of a run's newest policy, and the critic of its checkpoint.

    Args:
        run: its folder.
        config: of the run.
        environment: of the run.

    Raises:
        UserError: no policy.
    """
    trained = Policy.load(run)
    policy = trained.folded()
    critic = getattr(shapes_of(config, environment.spec), "critic", None)
    if not isinstance(critic, FeedForward):
        return Shared(policy, None)
    try:
        critic = filled(critic, "critic", CheckpointStore(run).state_arrays())
    except (UserError, KeyError):
        return Shared(policy, None)
    central = getattr(algorithm_entry(config.algorithm).algorithm, "central", False)
    if trained.scale is not None and not central:
        critic = folded(critic, trained.scale)
    return Shared(policy, critic, central)


def features_of(shared: Shared, environment: Environment) -> list[Features]:
    """What three agents' hidden layers make of the same observations.

    The observations, with the last actions, are those of all agents in greedy episodes of the team, evenly
    taken; each of the three agents is shown every one of them, in sequence where it has a memory. A critic
    that reads the state is left out.

    Args:
        shared: the networks.
        environment: where they play.
    """
    recorded = record_episodes(shared.policy, environment, EPISODES)
    limit = max(len(episode.action) for episode in recorded)

    def whole(rows: np.ndarray, fill: int) -> np.ndarray:
        ends = ((0, limit - len(rows)), *((0, 0),) * (rows.ndim - 1))
        return np.pad(rows, ends, constant_values=fill)

    seen = np.concatenate([whole(each.observation, 0) for each in recorded], 1)
    last = np.concatenate([whole(each.last_action, NO_ACTION) for each in recorded], 1)
    taken = np.concatenate([whole(np.ones_like(each.action), 0) for each in recorded], 1) > 0
    places = np.flatnonzero(taken)
    places = places[np.linspace(0, len(places) - 1, min(OBSERVATIONS, len(places))).astype(int)]
    agents = shared.policy.description["agents"]
    chosen = np.unique(np.linspace(0, agents - 1, AGENTS).round().astype(int))
    found = []
    for network, each in shared.networks.items():
        if network == "critic" and shared.central:
            continue
        hidden = hidden_features(each, seen, last, agents)
        for layer in list(hidden)[-LAST_LAYERS:]:
            values = np.asarray(hidden[layer])
            rows = values.reshape(-1, agents, values.shape[-1])[places][:, chosen]
            found.append(Features(f"{network}.{layer}", chosen.tolist(), rows.swapaxes(0, 1)))
    return found


def hidden_features(
    network: Any,
    observation: Float[np.ndarray, "time batch features"],
    last_action: Any,
    agents: int,
) -> dict[str, Float[Array, "time batch agents units"]]:
    """The activations of the hidden layers of all agents, each of which is shown the same.

    Args:
        network: acting network or critic of a team.
        observation: of sequences of steps.
        last_action: [time, batch], what was done one step before.
        agents: how many there are.

    Returns:
        by layer, from first to last.
    """
    shape = (*observation.shape[:2], agents)
    seen = jnp.broadcast_to(jnp.asarray(observation)[:, :, None], (*shape, observation.shape[-1]))
    if isinstance(network, FeedForward):
        *hidden, _ = jax.jit(lambda net, x: net.activations(x))(network, seen).items()
        return dict(hidden)
    last = jnp.broadcast_to(jnp.asarray(last_action)[:, :, None], shape)

    @jax.jit
    def along(network: Any, seen: Array, last: Array) -> Array:
        def step(hidden: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            _, hidden = network.step(*now, hidden)
            return hidden, hidden

        return jax.lax.scan(step, network.initial_hidden(*shape[1:]), (seen, last))[1]

    return {"fc1": network.encode(seen, last), GRU: along(network, seen, last)}


def overlap_of_agents(
    neurons: Bool[np.ndarray, "agents units"],
) -> Float[np.ndarray, "agents agents"]:
    """|A_i ∩ A_j| / |A_i|: the share of an agent's neurons that another one has too; 1 without any."""
    own = neurons.astype(float)
    return (own @ own.T + np.where(own.any(1), 0, 1)[:, None]) / np.maximum(own.sum(1), 1)[:, None]


def facts_of(neurons: Mapping[str, Bool[np.ndarray, "agents units"]]) -> dict[str, dict[str, Any]]:
    """By layer the overlaps, and how many neurons all agents have, one alone, or none.

    Args:
        neurons: which each agent has.
    """
    facts = {}
    for layer, own in neurons.items():
        owners = own.sum(0)
        facts[layer] = {
            "neurons": own.shape[1],
            "of_all": int((owners == len(own)).sum()),
            "of_one": int((owners == 1).sum()),
            "of_none": int((owners == 0).sum()),
            "overlap": overlap_of_agents(own).tolist(),
        }
    return facts
