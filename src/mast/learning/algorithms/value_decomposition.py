"""IQL, VDN and QMIX: one loss, three mixers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mast.learning.method import Method
from mast.learning.operators import backup_value
from mast.learning.replay import Batch
from mast.learning.returns import (
    hybrid_lambda,
    n_step_returns,
    td_lambda_returns,
    treat_cuts_as_terminal,
)
from mast.networks.agent import NO_ACTION, RecurrentAgent, recurrent_agent
from mast.networks.mixers import Mixer


@dataclass(frozen=True)
class Sizes:
    """What fixes the shapes of an algorithm's networks."""

    features: int
    actions: int
    agents: int
    state: int
    hidden_size: int
    mixer_embed: int
    hypernet_hidden: int
    unrestricted_hidden: int = 256
    independent: bool = False
    """Whether each agent has a network of its own."""


class LossMetrics(NamedTuple):
    """What a loss tells about its batch, each a mean over the steps really taken."""

    q_tot: Float[Array, ""]
    target: Float[Array, ""]
    td_error: Float[Array, ""]
    """Mean |y − Q_tot|."""


@runtime_checkable
class Algorithm(Protocol):
    """What the learner needs of an algorithm."""

    def init(self, key: PRNGKeyArray, sizes: Sizes) -> Any:
        """Fresh dense parameters; the acting network is their `agent`."""
        ...

    def loss(
        self, params: Any, target: Any, batch: Batch, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """The loss of a batch and its metrics."""
        ...


class Team(eqx.Module):
    """The parameters of a value-decomposition learner."""

    agent: RecurrentAgent
    mixer: Mixer


@dataclass(frozen=True)
class ValueDecomposition:
    """Q_tot = f_s(Q_1, …, Q_n) learned by the squared error to its target (spec §3).

    Args:
        make_mixer: fresh mixer of given sizes.
    """

    make_mixer: Callable[[PRNGKeyArray, Sizes], Mixer]

    def init(self, key: PRNGKeyArray, sizes: Sizes) -> Team:
        """Fresh dense parameters."""
        agent_key, mixer_key = jax.random.split(key)
        agent = recurrent_agent(
            agent_key, sizes.features, sizes.actions, sizes.agents, sizes.hidden_size
        )
        return Team(agent, self.make_mixer(mixer_key, sizes))

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
        observation = jnp.asarray(batch.observation, jnp.float32)
        state = jnp.asarray(batch.state, jnp.float32)
        action = jnp.asarray(batch.action, jnp.int32)
        last_action = jnp.concatenate([jnp.full_like(action[:1], NO_ACTION), action])
        q = params.agent.sequence(observation, last_action)
        chosen = (q[:-1] * jax.nn.one_hot(action, q.shape[-1])).sum(-1)
        q_tot = params.mixer(chosen, state[:-1])

        target_q = target.agent.sequence(observation, last_action)
        utilities = backup_value(
            method.operator,
            target_q,
            jax.lax.stop_gradient(q),
            batch.available,
            method.double_q,
            method.soft_mellowmax_alpha,
            method.omega,
            method.softmax_beta,
        )
        value = target.mixer(utilities, state)
        returns = jax.lax.stop_gradient(team_targets(batch, value, method, env_steps))
        weight = batch.mask[..., None] / (batch.mask.sum() * q_tot.shape[-1])
        error = returns - q_tot
        loss = (weight * jnp.square(error)).sum()
        return loss, LossMetrics(
            q_tot=(weight * q_tot).sum(),
            target=(weight * returns).sum(),
            td_error=(weight * jnp.abs(error)).sum(),
        )


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
