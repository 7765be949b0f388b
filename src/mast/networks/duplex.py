"""QPLEX's mixer: a duplex dueling decomposition of the joint value (Wang et al. 2021)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mast.networks.linear import Linear
from mast.networks.mixers import joint_value

SMALLEST = 1e-10
"""Added to weights that must be positive, as in the authors' code."""


class DuplexMixer(eqx.Module):
    """Q_tot = Σ_i Q'_i + Σ_i (λ_i − 1) A'_i; Q'_i = w_i(s) Q_i + b_i(s), w_i > 0, A'_i = Q'_i − max Q'_i.

    λ_i(s, u) > 0, of the state and the joint action, weighs the advantages: any function whose greedy actions
    are the agents' own can be represented. No gradient flows through A'_i, as in the authors' code.

    Source: Wang et al. 2021, eqs. 7 to 12; layers as in the authors' settings for StarCraft.
    """

    w_hidden: Linear
    w_out: Linear
    b_hidden: Linear
    b_out: Linear
    key: Linear
    agents: Linear
    actions: Linear

    def __call__(
        self,
        utilities: Float[Array, "*batch agents"],
        largest: Float[Array, "*batch agents"],
        joint_action: Float[Array, "*batch agents actions"],
        state: Float[Array, "*batch state"],
    ) -> Float[Array, "*batch 1"]:
        """Q_tot of one joint action per state.

        Args:
            utilities: Q_i of the actions.
            largest: max Q_i over the available actions.
            joint_action: one-hot.
            state: of the team.
        """
        scale = jnp.abs(self.w_out(jax.nn.relu(self.w_hidden(state)))) + SMALLEST
        shift = self.b_out(jax.nn.relu(self.b_hidden(state)))
        transformed = scale * utilities + shift
        advantage = jax.lax.stop_gradient(scale * (utilities - largest))
        weighed = advantage * (self.importance(joint_action, state) - 1)
        return (transformed + weighed).sum(-1, keepdims=True)

    def importance(
        self,
        joint_action: Float[Array, "*batch agents actions"],
        state: Float[Array, "*batch state"],
    ) -> Float[Array, "*batch agents"]:
        """λ_i: over the heads, the sum of a key of the state times two gates per agent."""
        flat = joint_action.reshape(*joint_action.shape[:-2], -1)
        key = jnp.abs(self.key(state)) + SMALLEST
        of_state = jax.nn.sigmoid(self.agents(state))
        of_action = jax.nn.sigmoid(self.actions(jnp.concatenate([state, flat], axis=-1)))
        heads = (of_state * of_action).reshape(*key.shape, -1)
        return (key[..., None] * heads).sum(-2)


def largest(
    q: Float[Array, "*batch agents actions"], available: Bool[Array, "*batch agents actions"]
) -> Float[Array, "*batch agents"]:
    """max Q_i over the available actions."""
    return jnp.where(available, q, -jnp.inf).max(-1)


@joint_value.register
def duplex_joint_value(
    mixer: DuplexMixer,
    q: Float[Array, "*batch agents actions"],
    action: Int[Array, "*batch agents"],
    available: Bool[Array, "*batch agents actions"],
    state: Float[Array, "*batch state"],
) -> Float[Array, "*batch 1"]:
    """`joint_value` of QPLEX, which also reads the largest utilities and the actions."""
    chosen = jax.nn.one_hot(action, q.shape[-1])
    return mixer((q * chosen).sum(-1), largest(q, available), chosen, state)
