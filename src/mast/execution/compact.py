"""Compact execution: parameters are the active values only, and native kernels do the sums.

The same numbers as `mast.execution.learner` to rounding. Topology evolution goes by way of the masked state:
the dense gradient, the drop and the growth are those of the one program that all methods share.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from mast.algorithms.protocol import LossMetrics
from mast.algorithms.value.decomposition import ValueDecomposition
from mast.execution.compact_loss import as_losses_take_it
from mast.execution.learner import Learner, LearnerState, UpdateMetrics
from mast.execution.topology import final_counts
from mast.kernels import (
    RingBatch,
    SparseAgent,
    SparseNetwork,
    SparseQMixer,
    Targets,
    TeamBatch,
    act,
    rmsprop_step,
    sparse_agent,
    sparse_agents,
    sparse_feed_forward_mixer,
    sparse_q_mixer,
    team_gradient,
    to_dense,
)
from mast.learning.method import Method
from mast.learning.operators import positive_omega
from mast.learning.replay import Batch
from mast.learning.returns import hybrid_lambda
from mast.learning.stored import StoredObservations
from mast.networks.agent import RecurrentAgent
from mast.networks.independent import IndependentAgents
from mast.networks.linear import Linear
from mast.networks.mixers import FeedForwardMixer, IndependentMixer, QMixer, SumMixer
from mast.sparsity.masks import Masks, leaf_path
from mast.sparsity.optimizer import SparseState
from mast.sparsity.step_size import density_factor

MIXING: dict[type, str] = {IndependentMixer: "none", SumMixer: "sum", SparseQMixer: "monotonic"}
"""What the kernels call each kind of mixer."""

COMPACT: dict[type, Any] = {
    RecurrentAgent: sparse_agent,
    IndependentAgents: sparse_agents,
    QMixer: sparse_q_mixer,
    FeedForwardMixer: sparse_feed_forward_mixer,
}
"""What makes a network of each kind compact, of those that have weights."""


class CompactState(NamedTuple):
    """`LearnerState`, compact: the structure lies in the networks, masks are not kept.

    A team is the algorithm's own, with a `SparseNetwork` in the place of each network.
    """

    params: Any
    target: Any
    optimizer: optax.OptState


class ActingAgent(eqx.Module):
    """A compact agent as rollouts take it."""

    network: SparseAgent
    threads: int = eqx.field(static=True)

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.network.hidden_size

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """h_0 = 0."""
        return jnp.zeros((*batch, self.hidden_size))

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        batch, agents = observation.shape[:-2], observation.shape[-2]
        q, after = act(
            self.network,
            observation.reshape(-1, *observation.shape[-2:]),
            last_action.reshape(-1, agents),
            hidden.reshape(-1, agents, self.hidden_size),
            threads=self.threads,
        )
        return q.reshape(*batch, *q.shape[1:]), after.reshape(*batch, *after.shape[1:])


@dataclass(frozen=True)
class CompactLearner:
    """Updates compact networks, and changes between compact and masked; pure, so that it can be jitted.

    Args:
        masked: the learner whose numbers these are.
        threads: how many of XLA's threads the kernels use at most; no number depends on it.
    """

    masked: Learner
    threads: int

    @property
    def is_fused(self) -> bool:
        """Whether the algorithm's loss is one native call, which needs no copy of a stored batch."""
        return type(self.masked.entry.algorithm) is ValueDecomposition

    def update(
        self,
        state: CompactState,
        batch: Batch | RingBatch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[CompactState, UpdateMetrics]:
        """One gradient step; arguments as in `Learner.update`.

        The batch may be in the ring: all of it where `is_fused`, else its observations (`half_gathered`).
        """
        gradient_of = self._fused_gradient if self.is_fused else self._gradient
        loss, metrics, gradient = gradient_of(state, batch, method, env_steps)
        config = self.masked.config
        # One vector of numbers for each network that has any.
        params, structure = eqx.partition(state.params, eqx.is_inexact_array)
        numbers, networks = jax.tree.flatten(params)
        factor = density_factor(
            compact_density(state),
            method.step_exponent,
            method.step_cap,
            method.annealed(env_steps),
            method.final_step,
        )
        changed, norm = rmsprop_step(
            list(
                zip(
                    numbers,
                    jax.tree.leaves(gradient),
                    jax.tree.leaves(optax.tree.get(state.optimizer, "nu")),
                    strict=True,
                )
            ),
            learning_rate=factor * method.learning_rate,
            decay=config.rms_decay,
            epsilon=config.rms_epsilon,
            largest_norm=config.gradient_clip,
        )
        numbers, moments = (
            jax.tree.unflatten(networks, each) for each in zip(*changed, strict=True)
        )
        optimizer = optax.tree.set(state.optimizer, nu=moments)
        online = eqx.combine(numbers, structure)
        return CompactState(online, state.target, optimizer), UpdateMetrics(loss, metrics, norm)

    def acting(self, state: CompactState) -> ActingAgent:
        """The online agent as rollouts take it."""
        return ActingAgent(state.params.agent, self.threads)

    def compact(self, state: LearnerState) -> CompactState:
        """The active entries of a masked state; not to be jitted, as its inverse."""
        # The target's mask is an older one and nowhere kept, but what it lacks is zero.
        counts = final_counts(state.params, self.masked.config, self.masked.networks)
        older = {
            name: _largest_mask(weight, counts[name]) for name, weight in _weights(state.target)
        }
        return self.compact_beside(self._compact_team(state.target, older), state)

    def compact_beside(self, target: Any, state: LearnerState) -> CompactState:
        """The active entries of a masked state's online networks, beside a compact target."""
        masks, slots = state.optimizer.masks, state.optimizer.inner
        second_moment = self._compact_team(optax.tree.get(slots, "nu"), masks)
        optimizer = optax.tree.set(slots, nu=_floats(second_moment))
        return CompactState(self._compact_team(state.params, masks), target, optimizer)

    def dense(self, state: CompactState) -> LearnerState:
        """The inverse of `compact`."""
        masks = {
            f"{leaf_path(path)}.{layer}.weight": jnp.asarray(mask)
            for path, network in jax.tree_util.tree_leaves_with_path(
                state.params, is_leaf=_is_network
            )
            if _is_network(network)
            for layer, mask in network.masks().items()
        }
        structure = eqx.filter(state.params, eqx.is_inexact_array, inverse=True)
        second_moment = eqx.combine(optax.tree.get(state.optimizer, "nu"), structure)
        inner = optax.tree.set(state.optimizer, nu=_floats(self._dense_team(second_moment)))
        params, target = self._dense_team(state.params), self._dense_team(state.target)
        return LearnerState(params, target, SparseState(masks, inner))

    def _gradient(
        self, state: CompactState, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics, Any]:
        """Loss, metrics and gradient of the active values: the algorithm's loss over compact networks."""
        ring = batch.observation
        if isinstance(ring, StoredObservations):  # the loss itself reads none, only kernels do
            nothing = jnp.zeros((len(batch.mask) + 1, *batch.action.shape[1:], 0), jnp.float32)
            batch = batch._replace(observation=nothing)
        else:
            ring = None
        numbers, structure = eqx.partition(state.params, eqx.is_inexact_array)

        def loss(numbers: Any) -> tuple[Float[Array, ""], LossMetrics]:
            online, target = (
                as_losses_take_it(team, batch, self.threads, ring)
                for team in (eqx.combine(numbers, structure), state.target)
            )
            return self.masked.loss(online, target, batch, method, env_steps)

        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(numbers)
        return value, metrics, gradient

    def _fused_gradient(
        self, state: CompactState, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics, Any]:
        """The same of a value decomposition's loss, in one native call."""
        online, target = state.params, state.target
        has_mixer = isinstance(online.mixer, SparseQMixer)
        found = team_gradient(
            online.agent,
            target.agent,
            online.mixer if has_mixer else None,
            target.mixer if has_mixer else None,
            batch if isinstance(batch, RingBatch) else _team_batch(batch),
            targets_of(method, env_steps),
            mixing=MIXING[type(online.mixer)],
            threads=self.threads,
        )
        metrics = {"q_tot": found.q_tot, "target": found.target, "td_error": found.td_error}
        return found.loss, metrics, (found.agent, found.mixer)

    def _compact_team(self, team: Any, masks: Masks) -> Any:
        def compact(path: Any, network: Any) -> SparseNetwork:
            within = f"{leaf_path(path)}."
            own = {name.split(".")[1]: masks[name] for name in masks if name.startswith(within)}
            return COMPACT[type(network)](network, own)

        return jax.tree_util.tree_map_with_path(
            compact, team, is_leaf=lambda node: type(node) in COMPACT
        )

    def _dense_team(self, team: Any) -> Any:
        return jax.tree.map(to_dense, team, self._dense_shapes, is_leaf=_is_network)

    @functools.cached_property
    def _dense_shapes(self) -> Any:
        return jax.eval_shape(self.masked.dense_params, jax.random.key(0))


def targets_of(method: Method, env_steps: Float[Array, ""]) -> Targets:
    """What the method makes targets with at this number of env steps."""
    begun = env_steps >= method.burn_in_env_steps
    return Targets(
        operator=method.operator,
        double_q=method.double_q,
        alpha=method.soft_mellowmax_alpha,
        omega=positive_omega(method.omega),
        beta=method.softmax_beta,
        discount=method.discount,
        td_lambda=hybrid_lambda(env_steps, method.burn_in_env_steps, method.td_lambda),
        n_step=jnp.where(begun, method.n_step, 0),
        cuts_are_terminal=method.cuts_are_terminal,
    )


def _team_batch(batch: Batch) -> TeamBatch:
    """A batch as the native call reads it."""
    return TeamBatch(
        observation=batch.observation,
        action=batch.action,
        steps=batch.mask.sum(0, dtype=jnp.int32),
        available=batch.available,
        reward=batch.reward,
        terminated=batch.terminated,
        state=batch.state,
    )


def compact_density(state: CompactState) -> float:
    """Share of active weights of the online networks: that of their shapes."""
    networks = jax.tree.leaves(state.params, is_leaf=_is_network)
    counts = [shape for each in networks if _is_network(each) for shape in each.shapes]
    return sum(active for *_, active in counts) / sum(r * c for r, c, _ in counts)


def copy_compact_target(state: CompactState) -> CompactState:
    """The state with its target networks set to the online ones, values and structure."""
    return state._replace(target=jax.tree.map(jnp.copy, state.params))


def _floats(team: Any) -> Any:
    """What has a gradient; None elsewhere."""
    return eqx.filter(team, eqx.is_inexact_array)


def _is_network(node: Any) -> bool:
    return isinstance(node, SparseNetwork)


def _is_linear(node: Any) -> bool:
    return isinstance(node, Linear)


def _largest_mask(
    weight: Array, active: int | Sequence[int]
) -> Bool[Array, "*copies outputs inputs"]:
    """`largest_mask` on the host; of each of several networks where there are several counts."""
    if not isinstance(active, int):
        return jnp.stack([_largest_mask(*each) for each in zip(weight, active, strict=True)])
    mask = np.zeros(weight.size, bool)
    mask[np.argsort(-np.abs(np.asarray(weight)).ravel(), kind="stable")[:active]] = True
    return jnp.asarray(mask.reshape(weight.shape))


def _weights(team: Any) -> list[tuple[str, Array]]:
    """The weight matrices by leaf path."""
    found = jax.tree_util.tree_leaves_with_path(team, is_leaf=_is_linear)
    return [
        (jax.tree_util.keystr(path, simple=True, separator=".") + ".weight", linear.weight)
        for path, linear in found
        if _is_linear(linear)
    ]
