"""Mixers: from the agents' utilities to the joint value (one head), or to each its own (IQL)."""

from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mast.networks.linear import Linear, torch_linear


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


def q_mixer(
    key: PRNGKeyArray, state: int, agents: int, embed: int = 32, hypernet_hidden: int = 64
) -> QMixer:
    """A fresh dense QMIX mixer (PyMARL's sizes: embed 32, hypernetworks of two layers, 64 wide)."""
    keys = jax.random.split(key, 7)
    return QMixer(
        w1_hidden=torch_linear(keys[0], state, hypernet_hidden),
        w1_out=torch_linear(keys[1], hypernet_hidden, agents * embed),
        w_final_hidden=torch_linear(keys[2], state, hypernet_hidden),
        w_final_out=torch_linear(keys[3], hypernet_hidden, embed),
        b1=torch_linear(keys[4], state, embed),
        v_hidden=torch_linear(keys[5], state, embed),
        v_out=torch_linear(keys[6], embed, 1),
    )


def feed_forward_mixer(
    key: PRNGKeyArray, state: int, agents: int, hidden: int = 256
) -> FeedForwardMixer:
    """A fresh dense unrestricted mixer (WQMIX's sizes: three layers of 256, V one of 256)."""
    keys = jax.random.split(key, 6)
    return FeedForwardMixer(
        fc1=torch_linear(keys[0], agents + state, hidden),
        fc2=torch_linear(keys[1], hidden, hidden),
        fc3=torch_linear(keys[2], hidden, hidden),
        fc4=torch_linear(keys[3], hidden, 1),
        v_hidden=torch_linear(keys[4], state, hidden),
        v_out=torch_linear(keys[5], hidden, 1),
    )
