"""OW-QMIX and CW-QMIX: a monotone Q_tot that an unrestricted Q̂* teaches, more where it matters more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mast.algorithms.protocol import LossMetrics, Networks
from mast.algorithms.value.decomposition import (
    episodes_of,
    loss_metrics,
    monotonic_mixer,
    squared_error,
    team_targets,
    utilities,
)
from mast.learning.method import Method
from mast.learning.operators import double_q_value, greedy_action, weighted_backup_value
from mast.learning.replay import Batch
from mast.networks.agent import Agent
from mast.networks.independent import fresh_agent
from mast.networks.linear import torch_layers
from mast.networks.mixers import FeedForwardMixer, QMixer
from mast.networks.spec import Sizes


class WeightedTeam(eqx.Module):
    """The parameters: QMIX's pair, which acts, and an unrestricted pair, which teaches it."""

    agent: Agent
    mixer: QMixer
    unrestricted_agent: Agent
    unrestricted_mixer: FeedForwardMixer


class Evidence(NamedTuple):
    """What is known of a step when its weight is decided; no gradient flows through any of it."""

    q_tot: Float[Array, "time batch 1"]
    target: Float[Array, "time batch 1"]
    """y."""
    is_greedy: Bool[Array, "time batch 1"]
    """Whether every agent took the argmax of its restricted online Q_i, the action û_i."""
    greedy_value: Float[Array, "time batch 1"]
    """Q̂*(s, û) of the unrestricted target networks."""


def is_underestimated(step: Evidence) -> Bool[Array, "time batch 1"]:
    """OW-QMIX: Q_tot < y."""
    return step.q_tot < step.target


def is_best_or_better(step: Evidence) -> Bool[Array, "time batch 1"]:
    """CW-QMIX: u = û, or y > Q̂*(s, û)."""
    return step.is_greedy | (step.target > step.greedy_value)


@dataclass(frozen=True)
class WeightedQmix:
    """Weighted QMIX (Rashid et al., 2020; spec §5).

    Args:
        has_full_weight: which steps weigh 1; the others weigh α. What it does not read costs nothing.
    """

    has_full_weight: Callable[[Evidence], Bool[Array, "time batch 1"]]

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> WeightedTeam:
        """Fresh dense parameters."""
        keys = jax.random.split(key, 4)
        return WeightedTeam(
            agent=fresh_agent(keys[0], networks["agent"], sizes),
            mixer=monotonic_mixer(keys[1], networks),
            unrestricted_agent=fresh_agent(keys[2], networks["unrestricted_agent"], sizes),
            unrestricted_mixer=FeedForwardMixer(
                **torch_layers(keys[3], networks["unrestricted_mixer"])
            ),
        )

    def loss(
        self,
        params: WeightedTeam,
        target: WeightedTeam,
        batch: Batch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """Σ mask w (y − Q_tot)² / Σ mask + Σ mask (y − Q̂*)² / Σ mask, y and w without gradient.

        y is a return over the values of the unrestricted target networks; the restricted target
        networks are not read.

        Args:
            params, target: online and target networks.
            batch: whole episodes, time first.
            method: operator, λ, α and the rest.
            env_steps: of the run so far.
        """
        episodes = episodes_of(batch)
        now = episodes.state[:-1]
        q, taken = utilities(params.agent, episodes)
        q_tot = params.mixer(taken, now)
        unrestricted_taken = utilities(params.unrestricted_agent, episodes).taken
        unrestricted = params.unrestricted_mixer(unrestricted_taken, now)

        held_q, held_q_tot, target = jax.lax.stop_gradient((q, q_tot, target))
        target_q = utilities(target.unrestricted_agent, episodes).q
        backups = weighted_backup_value(
            method.operator,
            target_q,
            held_q,
            jnp.where(method.weights_from_online, held_q, target_q),
            batch.available,
            method.double_q,
            method.soft_mellowmax_alpha,
            method.omega,
            method.softmax_beta,
        )
        value = target.unrestricted_mixer(backups, episodes.state)
        returns = team_targets(batch, value, method, env_steps)

        greedy_q = double_q_value(target_q, held_q, batch.available)[:-1]
        is_greedy = episodes.action == greedy_action(held_q, batch.available)[:-1]
        evidence = Evidence(
            q_tot=held_q_tot,
            target=returns,
            is_greedy=is_greedy.all(-1, keepdims=True),
            greedy_value=target.unrestricted_mixer(greedy_q, now),
        )
        weight = jnp.where(self.has_full_weight(evidence), 1.0, method.weight_alpha)
        loss = squared_error(batch, q_tot, returns, weight)
        loss += squared_error(batch, unrestricted, returns)
        return loss, loss_metrics(batch, q_tot, returns)


OPTIMISTIC = WeightedQmix(is_underestimated)
CENTRAL = WeightedQmix(is_best_or_better)
