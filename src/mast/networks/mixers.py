"""Mixers: from the agents' utilities to the joint value (one head), or to each its own (IQL)."""

from typing import Protocol, runtime_checkable

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
        agents = utilities.shape[-1]
        w1 = jnp.abs(self.w1_out(jax.nn.relu(self.w1_hidden(state))))
        w1 = w1.reshape(*w1.shape[:-1], agents, -1)
        w_final = jnp.abs(self.w_final_out(jax.nn.relu(self.w_final_hidden(state))))
        value = self.v_out(jax.nn.relu(self.v_hidden(state)))
        hidden = jax.nn.elu(jnp.einsum("...n,...ne->...e", utilities, w1) + self.b1(state))
        return (hidden * w_final).sum(-1, keepdims=True) + value


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
