"""Value decomposition: the loss of IQL, VDN and QMIX; and the steps of it that other algorithms share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.algorithms.protocol import LossMetrics, Networks
from mast.learning.method import Method
from mast.learning.operators import backup_value
from mast.learning.replay import Batch
from mast.learning.returns import (
    hybrid_lambda,
    n_step_returns,
    td_lambda_returns,
    treat_cuts_as_terminal,
)
from mast.networks.agent import Agent, last_actions
from mast.networks.independent import fresh_agent
from mast.networks.linear import torch_layers
from mast.networks.mixers import IndependentMixer, Mixer, QMixer, SumMixer
from mast.networks.spec import Sizes


class Team(eqx.Module):
    """The parameters of a value-decomposition learner."""

    agent: Agent
    mixer: Mixer


@dataclass(frozen=True)
class ValueDecomposition:
    """Q_tot = f_s(Q_1, …, Q_n) learned by the squared error to its target (spec §3).

    Args:
        make_mixer: a fresh mixer, from the declarations of the team's networks.
    """

    make_mixer: Callable[[PRNGKeyArray, Networks], Mixer]

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> Team:
        """Fresh dense parameters."""
        agent_key, mixer_key = jax.random.split(key)
        agent = fresh_agent(agent_key, networks["agent"], sizes)
        return Team(agent, self.make_mixer(mixer_key, networks))

    def loss(
        self, params: Team, target: Team, batch: Batch, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """Σ mask (y − Q_tot)² / Σ mask, y without gradient.

        Args:
            params: online networks.
            target: target networks.
            batch: whole episodes, time first; observations and states also after the last step.
            method: operator, λ and the rest.
            env_steps: of the run so far; decides between one-step and λ-return.
        """
        episodes = episodes_of(batch)
        q, taken = utilities(params.agent, episodes)
        q_tot = params.mixer(taken, episodes.state[:-1])

        held_q, target = jax.lax.stop_gradient((q, target))
        target_q = utilities(target.agent, episodes).q
        value = target.mixer(backup(method, target_q, held_q, batch), episodes.state)
        returns = team_targets(batch, value, method, env_steps)
        return squared_error(batch, q_tot, returns), loss_metrics(batch, q_tot, returns)


class Episodes(NamedTuple):
    """A batch as networks read it; the rows after the last step belong to the state that it led to."""

    observation: Float[Array, "time_and_one batch agents features"]
    """As it is stored; all else in single precision and int32."""
    last_action: Int[Array, "time_and_one batch agents"]
    state: Float[Array, "time_and_one batch state"]
    action: Int[Array, "time batch agents"]
    steps: Int[Array, " batch"]
    """How many steps of each episode were really taken."""


class Utilities(NamedTuple):
    """An agent's action values along episodes."""

    q: Float[Array, "time_and_one batch agents actions"]
    """Q_i of every action."""
    taken: Float[Array, "time batch agents"]
    """Q_i of the actions that were taken."""


def episodes_of(batch: Batch) -> Episodes:
    """What networks read of a batch, the small stored numbers widened, and each step's last action."""
    action = jnp.asarray(batch.action, jnp.int32)
    return Episodes(
        observation=jnp.asarray(batch.observation),
        last_action=last_actions(action),
        state=jnp.asarray(batch.state, jnp.float32),
        action=action,
        steps=batch.mask.sum(0, dtype=jnp.int32),
    )


def monotonic_mixer(key: PRNGKeyArray, networks: Networks) -> QMixer:
    """QMIX's dense mixer."""
    return QMixer(**torch_layers(key, networks["mixer"]))


@functools.singledispatch
def utilities(agent: Any, episodes: Episodes) -> Utilities:
    """The agent's values along the episodes; a kind of agent may have a way of its own (`register`).

    A loss may take a gradient through the Q of the actions taken, and through no other.
    """
    q = agent.sequence(jnp.asarray(episodes.observation, jnp.float32), episodes.last_action)
    return Utilities(q, (q[:-1] * jax.nn.one_hot(episodes.action, q.shape[-1])).sum(-1))


def backup(
    method: Method,
    target_q: Float[Array, "time_and_one batch agents actions"],
    online_q: Float[Array, "time_and_one batch agents actions"],
    batch: Batch,
) -> Float[Array, "time_and_one batch agents"]:
    """The method's operator over each agent's available actions (`backup_value`)."""
    return backup_value(
        method.operator,
        target_q,
        online_q,
        batch.available,
        method.double_q,
        method.soft_mellowmax_alpha,
        method.omega,
        method.softmax_beta,
    )


def squared_error(
    batch: Batch,
    prediction: Float[Array, "time batch heads"],
    returns: Float[Array, "time batch heads"],
    weight: Float[Array, "time batch heads"] | float = 1.0,
) -> Float[Array, ""]:
    """Σ mask w (y − Q)² / Σ mask, a mean over the heads.

    Args:
        batch: whose mask counts.
        prediction: Q.
        returns: y.
        weight: w of each step.
    """
    return mean_over_steps(batch, weight * jnp.square(returns - prediction))


def mean_over_steps(batch: Batch, each: Float[Array, "time batch heads"]) -> Float[Array, ""]:
    """The mean of a number of each step and head over the steps really taken."""
    return (each * (batch.mask[..., None] / (batch.mask.sum() * each.shape[-1]))).sum()


def loss_metrics(
    batch: Batch,
    q_tot: Float[Array, "time batch heads"],
    returns: Float[Array, "time batch heads"],
) -> LossMetrics:
    """What every value-based algorithm reports of its batch: Q_tot, y and |y − Q_tot|."""
    return {
        "q_tot": mean_over_steps(batch, q_tot),
        "target": mean_over_steps(batch, returns),
        "td_error": mean_over_steps(batch, jnp.abs(returns - q_tot)),
    }


def team_targets(
    batch: Batch,
    value: Float[Array, "time_and_one batch heads"],
    method: Method,
    env_steps: Float[Array, ""],
) -> Float[Array, "time batch heads"]:
    """y: the one-step target while env_steps < T_0, after it the λ- or n-step return, per head.

    Args:
        batch: rewards, ends and mask.
        value: V of each state in the episode, the one after the last step too.
        method: γ, T_0, λ, n, and what a time-limit cut means.
        env_steps: of the run so far.

    Source: MAST, eq. 5 (λ-return); RLx2 (n-step).
    """
    ended = treat_cuts_as_terminal(batch.terminated, batch.mask)
    terminated = jnp.where(method.cuts_are_terminal, ended, batch.terminated)
    lambda_ = hybrid_lambda(env_steps, method.burn_in_env_steps, method.td_lambda)
    is_n_step = (method.n_step > 0) & (env_steps >= method.burn_in_env_steps)

    def one_head(value: Array) -> Array:
        steps = (batch.reward, terminated, batch.mask, value, method.discount)
        by_lambda = td_lambda_returns(*steps, lambda_)
        # A method without n-step returns makes no pass over the data for them.
        return jnp.where(is_n_step, n_step_returns(*steps, method.n_step), by_lambda)

    return jax.vmap(one_head, in_axes=-1, out_axes=-1)(value)


IQL = ValueDecomposition(lambda key, networks: IndependentMixer())
VDN = ValueDecomposition(lambda key, networks: SumMixer())
QMIX = ValueDecomposition(monotonic_mixer)
