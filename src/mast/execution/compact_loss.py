"""Compact networks as losses take them, so that each algorithm's own loss runs over active values only."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from mast.algorithms.value.decomposition import Episodes, Utilities, utilities
from mast.algorithms.value.res import mix_states, res_softmax_value
from mast.kernels import (
    SparseAgent,
    SparseFeedForwardMixer,
    SparseNetwork,
    SparseQMixer,
    apply_layers,
    episode_utilities,
    joint_softmax_values,
    mixed_values,
)
from mast.learning.replay import Batch
from mast.learning.stored import StoredObservations


class LossAgent(eqx.Module):
    """A compact agent as losses take it."""

    network: SparseAgent
    ring: StoredObservations | None
    """Where the observations are read instead of in the loss's episodes."""
    threads: int = eqx.field(static=True)


@utilities.register(LossAgent)
def compact_utilities(agent: LossAgent, episodes: Episodes) -> Utilities:
    """`utilities` of a compact agent; 0 beyond an episode's end, with gradient through `taken` only."""
    ring = agent.ring
    taken, (q,) = episode_utilities(
        agent.network,
        episodes.observation if ring is None else ring.observation,
        episodes.action,
        episodes.steps,
        slots=None if ring is None else ring.slots,
        threads=agent.threads,
    )
    return Utilities(q, taken)


class Visits(eqx.Module):
    """Which states of a batch were visited."""

    steps: Int[Array, " batch"]
    length: int = eqx.field(static=True)
    """To how many steps the batch is padded."""

    def rows(self, times: int) -> Int[Array, " batch"]:
        """How many of `times` states of each episode are its own, be the last one among them or not."""
        return self.steps + (times - self.length)


class LossQMixer(eqx.Module):
    """A compact QMIX mixer as losses take it; 0 beyond an episode's end."""

    network: SparseQMixer
    visits: Visits
    threads: int = eqx.field(static=True)

    def __call__(
        self,
        utilities: Float[Array, "time batch agents"],
        state: Float[Array, "states batch state"],
    ) -> Float[Array, "time batch 1"]:
        """`QMixer.__call__`, of the first states where there are more of them than utilities."""
        rows = self.visits.rows(len(utilities))
        q_tot = mixed_values(self.network, utilities, state, rows, threads=self.threads)
        return q_tot[..., None]

    def weights(self, state: Float[Array, "states batch state"]) -> "LossMixingWeights":
        """In the place of `QMixer.weights`."""
        return LossMixingWeights(self, state)


class LossMixingWeights(eqx.Module):
    """A compact mixer and states: what its hypernetworks make of them never leaves the kernels."""

    mixer: LossQMixer
    state: Float[Array, "states batch state"]


@mix_states.register(LossMixingWeights)
def compact_mix_states(
    weights: LossMixingWeights, utilities: Float[Array, "time batch agents"]
) -> Float[Array, "time batch 1"]:
    """`mix_states` of a compact mixer."""
    return weights.mixer(utilities, weights.state)


@res_softmax_value.register(LossMixingWeights)
def compact_res_softmax_value(
    weights: LossMixingWeights,
    target_weights: LossMixingWeights,
    q: Float[Array, "states batch agents actions"],
    target_q: Float[Array, "states batch agents actions"],
    available: Bool[Array, "states batch agents actions"],
    beta: Float[ArrayLike, ""],
    with_unavailable: Bool[ArrayLike, ""],
) -> Float[Array, "states batch"]:
    """`res_softmax_value` of compact mixers."""
    mixer = weights.mixer
    return joint_softmax_values(
        mixer.network,
        target_weights.mixer.network,
        q,
        target_q,
        available,
        weights.state,
        mixer.visits.rows(len(q)),
        beta=beta,
        with_unavailable=with_unavailable,
        threads=mixer.threads,
    )


class LossFeedForwardMixer(eqx.Module):
    """A compact unrestricted mixer as losses take it."""

    network: SparseFeedForwardMixer
    visits: Visits
    threads: int = eqx.field(static=True)

    def __call__(
        self, utilities: Float[Array, "time batch agents"], state: Float[Array, "time batch state"]
    ) -> Float[Array, "time batch 1"]:
        """`FeedForwardMixer.__call__`."""
        rows = self.visits.rows(len(utilities))

        def of(x: Array, *names: str) -> Array:
            return apply_layers(self.network.part(*names), x, rows, threads=self.threads)

        both = jnp.concatenate([utilities, state], axis=-1)
        return of(both, "fc1", "fc2", "fc3", "fc4") + of(state, "v_hidden", "v_out")


def as_losses_take_it(
    team: Any, batch: Batch, threads: int, ring: StoredObservations | None = None
) -> Any:
    """A compact team whose networks a loss can call.

    Args:
        team: an algorithm's, with compact networks.
        batch: the one that the loss is of.
        threads: that the kernels may use.
        ring: where its observations lie, if the batch's own are not to be read.
    """
    visits = Visits(batch.mask.sum(0, dtype=jnp.int32), len(batch.mask))

    def callable_network(network: Any) -> Any:
        match network:
            case SparseAgent():
                return LossAgent(network, ring, threads)
            case SparseQMixer():
                return LossQMixer(network, visits, threads)
            case SparseFeedForwardMixer():
                return LossFeedForwardMixer(network, visits, threads)
        raise TypeError(f"no loss takes a {type(network).__name__}")

    return jax.tree.map(
        callable_network, team, is_leaf=lambda node: isinstance(node, SparseNetwork)
    )
