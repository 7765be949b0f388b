"""RES: QMIX with a softmax over joint actions as its target, and a pull towards the real return."""

import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mast.algorithms.protocol import LossMetrics, Networks
from mast.algorithms.value.decomposition import (
    backup,
    episodes_of,
    loss_metrics,
    monotonic_mixer,
    squared_error,
    team_targets,
    utilities,
)
from mast.learning.method import Method
from mast.learning.operators import (
    Operator,
    double_q_value,
    weighted_softmax_value,
)
from mast.learning.replay import Batch
from mast.learning.returns import discounted_returns
from mast.networks.agent import Agent
from mast.networks.independent import fresh_agent
from mast.networks.mixers import MixingWeights, QMixer, mix, mix_deviations
from mast.networks.spec import Sizes

UNAVAILABLE = -9_999_999.0
"""The utility of an unavailable action where such joint actions count: PyMARL's number."""


class MonotonicTeam(eqx.Module):
    """The parameters: QMIX's."""

    agent: Agent
    mixer: QMixer


@dataclass(frozen=True)
class RegularizedSoftmax:
    """Regularized softmax deep multi-agent Q-learning (Pan et al., 2021; spec §5)."""

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> MonotonicTeam:
        """Fresh dense parameters: QMIX's."""
        agent_key, mixer_key = jax.random.split(key)
        agent = fresh_agent(agent_key, networks["agent"], sizes)
        return MonotonicTeam(agent, monotonic_mixer(mixer_key, networks))

    def loss(
        self,
        params: MonotonicTeam,
        target: MonotonicTeam,
        batch: Batch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """Σ mask (y − Q_tot)² / Σ mask + λ_res Σ mask (R − Q_tot)² / Σ mask, y without gradient.

        y is a return over `res_softmax_value`, or under another operator over QMIX's values; R is the
        discounted return that followed, without bootstrap.

        Args:
            params, target: online and target networks.
            batch: whole episodes, time first.
            method: operator, β, λ_res and the rest.
            env_steps: of the run so far.
        """
        episodes = episodes_of(batch)
        q, taken = utilities(params.agent, episodes)
        weights = params.mixer.weights(episodes.state)
        q_tot = mix_states(weights, taken)

        held_q, held_weights, target = jax.lax.stop_gradient((q, weights, target))
        target_q = utilities(target.agent, episodes).q
        target_weights = target.mixer.weights(episodes.state)
        # Of several runs in one program both branches are computed: the operator has the run axis.
        value = jax.lax.cond(
            method.operator == Operator.RES_SOFTMAX,
            lambda: res_softmax_value(
                held_weights,
                target_weights,
                held_q,
                target_q,
                batch.available,
                method.softmax_beta,
                method.res_unavailable,
            )[..., None],
            lambda: mix_states(target_weights, backup(method, target_q, held_q, batch)),
        )
        returns = team_targets(batch, value, method, env_steps)
        followed = discounted_returns(batch.reward, batch.mask, method.discount)[..., None]
        loss = squared_error(batch, q_tot, returns)
        loss += method.res_regulariser * squared_error(batch, q_tot, followed)
        return loss, loss_metrics(batch, q_tot, returns)


@functools.singledispatch
def mix_states(
    weights: Any, utilities: Float[Array, "time batch agents"]
) -> Float[Array, "time batch 1"]:
    """`mix` of the first states, as many as there are utilities of.

    Args:
        weights: what a mixer's `weights` made of the states; compact mixers have a form of their own.
        utilities: of one joint action per state.
    """
    return mix(jax.tree.map(lambda each: each[: len(utilities)], weights), utilities)


@functools.singledispatch
def res_softmax_value(
    weights: Any,
    target_weights: Any,
    q: Float[Array, "*batch agents actions"],
    target_q: Float[Array, "*batch agents actions"],
    available: Bool[Array, "*batch agents actions"],
    beta: Float[ArrayLike, ""],
    with_unavailable: Bool[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """V = Σ_u softmax(β Q_tot(s, u)) Q̄_tot(s, u) over all one-agent deviations from the greedy one.

    The joint actions are the n·m choices (agent i, action j), with the others at the argmax of their
    online utility; i's own argmax among them, so that the greedy joint action is counted n times.

    Args:
        weights, target_weights: what the online and the target mixer's `weights` make of the states.
        q, target_q: utilities of the online and the target agent [..., agents, actions].
        available: which actions may be taken [..., agents, actions].
        beta: inverse temperature >= 0, in units of 1/Q_tot.
        with_unavailable: whether joint actions with an unavailable action count too, at utility
            `UNAVAILABLE`: in the mixer its ELU saturates, and they leak in (the authors' code).

    Source: Pan et al., 2021; MAST eq. 24; spec §5.
    """

    def of_deviations(weights: MixingWeights, utilities: Array) -> Array:
        base = double_q_value(utilities, q, available)
        joint = mix_deviations(weights, base, jnp.where(available, utilities, UNAVAILABLE))
        return joint.reshape(*joint.shape[:-2], -1)

    counts = (available | with_unavailable).reshape(*available.shape[:-2], -1)
    return weighted_softmax_value(
        of_deviations(target_weights, target_q), of_deviations(weights, q), counts, beta
    )


RES = RegularizedSoftmax()
