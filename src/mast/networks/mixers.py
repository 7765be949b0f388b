"""Mixers: from the agents' utilities to the joint value (one head), or to each its own (IQL)."""

import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mast.networks.linear import Linear


@runtime_checkable
class Mixer(Protocol):
    """Utilities and state in, `heads` joint values out: 1 for a team value, n for independent learners."""

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch heads"]:
        """Mix, over any leading axes."""
        ...


class IndependentMixer(eqx.Module):
    """No mixing: each agent's utility is learned towards its own target (IQL)."""

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch agents"]:
        """The utilities as they are."""
        return utilities


class SumMixer(eqx.Module):
    """VDN: Q_tot = Σ_i Q_i (Sunehag et al., 2018)."""

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch 1"]:
        """The sum over agents."""
        return utilities.sum(-1, keepdims=True)


class MixingWeights(NamedTuple):
    """What QMIX's hypernetworks make of a state: all that the mixing pass needs."""

    first: Float[Array, "*batch agents embed"]
    shift: Float[Array, "*batch embed"]
    final: Float[Array, "*batch embed"]
    value: Float[Array, "*batch 1"]


class QMixer(eqx.Module):
    """QMIX's monotonic mixer: non-negative weights made from the state by hypernetworks (Rashid, 2018)."""

    w1_hidden: Linear
    w1_out: Linear
    w_final_hidden: Linear
    w_final_out: Linear
    b1: Linear
    v_hidden: Linear
    v_out: Linear

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch 1"]:
        """Q_tot = |w_final| · ELU(|w1| q + b1) + V(s)."""
        return mix(self.weights(state), utilities)

    def weights(self, state: Float[Array, "*batch state"]) -> MixingWeights:
        """The pass of the hypernetworks: once per state, however many joint actions are mixed there."""
        shift = self.b1(state)
        first = jnp.abs(self.w1_out(jax.nn.relu(self.w1_hidden(state))))
        return MixingWeights(
            first=first.reshape(*first.shape[:-1], -1, shift.shape[-1]),
            shift=shift,
            final=jnp.abs(self.w_final_out(jax.nn.relu(self.w_final_hidden(state)))),
            value=self.v_out(jax.nn.relu(self.v_hidden(state))),
        )


def mix(
    weights: MixingWeights, utilities: Float[Array, "*batch agents"]
) -> Float[Array, "*batch 1"]:
    """QMIX's mixing pass: Q_tot of one joint action per state."""
    hidden = jax.nn.elu(jnp.einsum("...n,...ne->...e", utilities, weights.first) + weights.shift)
    return (hidden * weights.final).sum(-1, keepdims=True) + weights.value


def mix_deviations(
    weights: MixingWeights,
    base: Float[Array, "*batch agents"],
    utilities: Float[Array, "*batch agents actions"],
) -> Float[Array, "*batch agents actions"]:
    """Q_tot of every joint action that differs from a base one in at most one agent.

    Only one utility differs, so a deviation adds (q_ij − base_i)·w1_i to what the base puts into the
    hidden layer; no joint action is ever laid out.

    Args:
        weights: of the states.
        base: each agent's utility in the base joint action.
        utilities: each agent's utilities of all its actions; entry [i, j] of the result has agent i at
            j and the others at their base.

    Source: RES (Pan et al., 2021), the joint actions of its approximate softmax.
    """
    inside = jnp.einsum("...n,...ne->...e", base, weights.first) + weights.shift
    change = utilities - base[..., None]

    def of_agent(each: tuple[Array, Array]) -> Array:
        change, first = each  # [*batch, actions] and [*batch, embed]
        hidden = jax.nn.elu(inside[..., None, :] + change[..., None] * first[..., None, :])
        return jnp.einsum("...ae,...e->...a", hidden, weights.final)

    # One agent after the other: [*batch, agents, actions, embed] would be too large for big teams.
    by_agent = jax.lax.map(
        of_agent, (jnp.moveaxis(change, -2, 0), jnp.moveaxis(weights.first, -2, 0))
    )
    return jnp.moveaxis(by_agent, 0, -2) + weights.value[..., None]


class FeedForwardMixer(eqx.Module):
    """The unrestricted mixer of OW-QMIX and CW-QMIX: any function of utilities and state (WQMIX)."""

    fc1: Linear
    fc2: Linear
    fc3: Linear
    fc4: Linear
    v_hidden: Linear
    v_out: Linear

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch 1"]:
        """Q̂* = MLP([q_1, …, q_n, s]) + V(s)."""
        hidden = jnp.concatenate([utilities, state], axis=-1)
        for layer in (self.fc1, self.fc2, self.fc3):
            hidden = jax.nn.relu(layer(hidden))
        return self.fc4(hidden) + self.v_out(jax.nn.relu(self.v_hidden(state)))


@functools.singledispatch
def joint_value(
    mixer: Any,
    q: Float[Array, "*batch agents actions"],
    action: Int[Array, "*batch agents"],
    available: Bool[Array, "*batch agents actions"],
    state: Float[Array, "*batch state"],
) -> Float[Array, "*batch heads"]:
    """What a mixer makes of the actions taken, from all action values; a kind of mixer may have its own way.

    Args:
        mixer: the mixer.
        q: every agent's values of its actions.
        action: taken.
        available: which could have been taken.
        state: of the team.
    """
    return mixer((q * jax.nn.one_hot(action, q.shape[-1])).sum(-1), state)
