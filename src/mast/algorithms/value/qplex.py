"""QPLEX: duplex dueling multi-agent Q-learning (Wang et al. 2021)."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mast.algorithms.protocol import LossMetrics, Networks
from mast.algorithms.value.decomposition import (
    backup,
    episodes_of,
    loss_metrics,
    squared_error,
    team_targets,
    utilities,
)
from mast.learning.method import Method
from mast.learning.operators import greedy_action
from mast.learning.replay import Batch
from mast.networks.agent import Agent
from mast.networks.duplex import DuplexMixer, largest
from mast.networks.independent import fresh_agent
from mast.networks.linear import torch_layers
from mast.networks.spec import Sizes


class DuplexTeam(eqx.Module):
    """The parameters."""

    agent: Agent
    mixer: DuplexMixer


@dataclass(frozen=True)
class Qplex:
    """The squared error of a duplex dueling Q_tot to its target."""

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> DuplexTeam:
        """Fresh dense parameters."""
        agent_key, mixer_key = jax.random.split(key)
        return DuplexTeam(
            fresh_agent(agent_key, networks["agent"], sizes),
            DuplexMixer(**torch_layers(mixer_key, networks["mixer"])),
        )

    def loss(
        self,
        params: DuplexTeam,
        target: DuplexTeam,
        batch: Batch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """Σ mask (y − Q_tot)² / Σ mask, y without gradient.

        The target's utilities are those of the method's operator, at the joint action that the online
        utilities prefer: with `max` and double-Q that is the authors' target. Another operator's value lies
        below the largest utility, and is mixed as the utility of that action.

        Args:
            params, target: online and target networks.
            batch: whole episodes, time first.
            method: operator, λ and the rest.
            env_steps: of the run so far.
        """
        episodes = episodes_of(batch)
        available = jnp.asarray(batch.available)
        q, taken = utilities(params.agent, episodes)
        held_q, target = jax.lax.stop_gradient((q, target))
        actions = q.shape[-1]
        q_tot = params.mixer(
            taken,
            largest(held_q, available)[:-1],
            jax.nn.one_hot(episodes.action, actions),
            episodes.state[:-1],
        )
        target_q = utilities(target.agent, episodes).q
        value = target.mixer(
            backup(method, target_q, held_q, batch),
            largest(target_q, available),
            jax.nn.one_hot(greedy_action(held_q, available), actions),
            episodes.state,
        )
        returns = team_targets(batch, value, method, env_steps)
        return squared_error(batch, q_tot, returns), loss_metrics(batch, q_tot, returns)


QPLEX = Qplex()
