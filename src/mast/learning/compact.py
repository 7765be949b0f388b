"""Compact execution: parameters are the active values only, and native kernels do the sums.

The same numbers as `mast.learning.learner` to rounding. Topology evolution goes by way of the masked state:
the dense gradient, the drop and the growth are those of the one program that all methods share.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mast.kernels import (
    SparseAgent,
    SparseLinear,
    SparseQMixer,
    act,
    episode_utilities,
    from_dense,
    mixed_values,
    to_dense,
)
from mast.learning.algorithms.value_decomposition import (
    LossMetrics,
    Team,
    backup,
    loss_metrics,
    squared_error,
    team_targets,
)
from mast.learning.learner import Learner, LearnerState, UpdateMetrics, team_optimizer
from mast.learning.method import Method
from mast.learning.replay import Batch
from mast.learning.topology import final_counts
from mast.networks.linear import Linear
from mast.networks.mixers import QMixer
from mast.sparsity.masks import Masks, largest_mask
from mast.sparsity.optimizer import SparseState


class CompactTeam(eqx.Module):
    """`Team`, compact; mixers without weights are as they were."""

    agent: SparseAgent
    mixer: Any


class CompactState(NamedTuple):
    """`LearnerState`, compact: the structure lies in the networks, masks are not kept."""

    params: CompactTeam
    target: CompactTeam
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

    def update(
        self, state: CompactState, batch: Batch, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[CompactState, UpdateMetrics]:
        """One gradient step; arguments as in `Learner.update`."""
        floats, structure = eqx.partition(state.params, eqx.is_inexact_array)
        (loss, told), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            floats, structure, state.target, batch, method, env_steps
        )
        norm = optax.tree.norm(gradient)
        optimizer = team_optimizer(self.masked.config)
        updates, slots = optimizer.update(gradient, state.optimizer, floats)
        params = eqx.combine(optax.apply_updates(floats, updates), structure)
        return CompactState(params, state.target, slots), UpdateMetrics(loss, told, norm)

    def acting(self, state: CompactState) -> ActingAgent:
        """The online agent as rollouts take it."""
        return ActingAgent(state.params.agent, self.threads)

    def compact(self, state: LearnerState) -> CompactState:
        """The active entries of a masked state."""
        masks = state.optimizer.masks
        params = self._compact_team(state.params, masks)
        # The target's mask is an older one and nowhere kept, but what it lacks is zero.
        counts = final_counts(state.params, self.masked.config)
        older = {
            name: largest_mask(weight, counts[name]) for name, weight in _weights(state.target)
        }
        second_moment = self._compact_team(optax.tree.get(state.optimizer.inner, "nu"), masks)
        fresh = team_optimizer(self.masked.config).init(_floats(params))
        optimizer = optax.tree.set(fresh, nu=_floats(second_moment))
        return CompactState(params, self._compact_team(state.target, older), optimizer)

    def dense(self, state: CompactState) -> LearnerState:
        """The inverse of `compact`."""
        floats, structure = eqx.partition(state.params, eqx.is_inexact_array)
        params = self._dense_team(state.params)
        ones = eqx.combine(jax.tree.map(jnp.ones_like, floats), structure)
        masks = {name: weight > 0 for name, weight in _weights(self._dense_team(ones))}
        second_moment = eqx.combine(optax.tree.get(state.optimizer, "nu"), structure)
        inner = optax.tree.set(
            team_optimizer(self.masked.config).init(params), nu=self._dense_team(second_moment)
        )
        return LearnerState(params, self._dense_team(state.target), SparseState(masks, inner))

    def _loss(
        self,
        floats: CompactTeam,
        structure: CompactTeam,
        target: CompactTeam,
        batch: Batch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """`ValueDecomposition.loss` over kernels, which stop at the end of each episode."""
        online: CompactTeam = eqx.combine(floats, structure)
        steps = batch.mask.sum(0, dtype=jnp.int32)
        chosen, (q, target_q) = episode_utilities(
            online.agent,
            batch.observation,
            jnp.asarray(batch.action, jnp.int32),
            steps,
            others=(target.agent,),
            threads=self.threads,
        )
        q_tot = self._mixed(online.mixer, chosen, batch.state, steps)
        utilities = backup(method, target_q, jax.lax.stop_gradient(q), batch)
        value = self._mixed(target.mixer, utilities, batch.state, steps + 1)
        returns = jax.lax.stop_gradient(team_targets(batch, value, method, env_steps))
        return squared_error(batch, q_tot, returns), loss_metrics(batch, q_tot, returns)

    def _mixed(
        self, mixer: Any, utilities: Array, state: Array, rows: Int[Array, " batch"]
    ) -> Float[Array, "times batch heads"]:
        if isinstance(mixer, SparseQMixer):
            return mixed_values(mixer, utilities, state, rows, threads=self.threads)[..., None]
        return mixer(utilities, jnp.asarray(state[: len(utilities)], jnp.float32))

    def _compact_team(self, team: Team, masks: Masks) -> CompactTeam:
        counts = final_counts(team, self.masked.config)

        def layers(network: str, names: tuple[str, ...]) -> dict[str, SparseLinear]:
            found = {}
            for name in names:
                dense = getattr(getattr(team, network), name)
                path = f"{network}.{name}.weight"
                # The count is given because it is a shape, which under jit a mask cannot tell.
                weight = from_dense(dense.weight, masks[path], counts[path])
                found[name] = SparseLinear(weight, dense.bias)
            return found

        mixer: Any = team.mixer
        if isinstance(mixer, QMixer):
            mixer = SparseQMixer.pack(layers("mixer", SparseQMixer.NAMES))
        return CompactTeam(SparseAgent.pack(layers("agent", SparseAgent.NAMES)), mixer)

    def _dense_team(self, team: CompactTeam) -> Team:
        like: Team = jax.eval_shape(self.masked.dense_params, jax.random.key(0))
        mixer = team.mixer
        if isinstance(mixer, SparseQMixer):
            mixer = to_dense(mixer, like.mixer)
        return Team(to_dense(team.agent, like.agent), mixer)


def copy_compact_target(state: CompactState) -> CompactState:
    """The state with its target networks set to the online ones, values and structure."""
    return state._replace(target=jax.tree.map(jnp.copy, state.params))


def _floats(team: CompactTeam) -> CompactTeam:
    """What has a gradient; None elsewhere."""
    return eqx.filter(team, eqx.is_inexact_array)


def _is_linear(node: Any) -> bool:
    return isinstance(node, Linear)


def _weights(team: Any) -> list[tuple[str, Array]]:
    """The weight matrices by leaf path."""
    found = jax.tree_util.tree_leaves_with_path(team, is_leaf=_is_linear)
    return [
        (jax.tree_util.keystr(path, simple=True, separator=".") + ".weight", linear.weight)
        for path, linear in found
        if _is_linear(linear)
    ]
