"""A method is a record of numbers: what is data in a compiled step, so that methods can be vmapped."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mast.config import Config
from mast.learning.operators import Operator
from mast.sparsity.topology import GrownState, Growth


class Method(NamedTuple):
    """Everything about a method that is not a shape, a mask or a host counter (spec §6).

    Dense and static training are evolution with a drop fraction of zero; the one-step target is the
    λ-return with λ = 0; so all methods of one algorithm are one program.
    """

    operator: Int[Array, ""]
    """An `Operator`."""
    double_q: Bool[Array, ""]
    """Only read by the max operator: choose by the online network, value by the target's."""
    softmax_beta: Float[Array, ""]
    omega: Float[Array, ""]
    soft_mellowmax_alpha: Float[Array, ""]
    discount: Float[Array, ""]
    td_lambda: Float[Array, ""]
    burn_in_env_steps: Float[Array, ""]
    """T_0: one-step targets before it, λ-returns after."""
    cuts_are_terminal: Bool[Array, ""]
    """Whether a time-limit cut ends the return (PyMARL) or is bootstrapped over (default)."""
    drop_fraction: Float[Array, ""]
    """ζ_0; zero where the topology does not evolve."""
    growth: Int[Array, ""]
    """A `Growth`."""
    grown_state: Int[Array, ""]
    """A `GrownState`."""
    total_env_steps: Float[Array, ""]
    """T_end of the drop fraction's cosine."""


def method_from_config(config: Config) -> Method:
    """The record that a resolved configuration describes."""
    evolves = config.growth != "none"
    growth = Growth.RANDOM if config.growth == "random" else Growth.GRADIENT
    return Method(
        operator=jnp.int32(Operator[config.operator.upper()]),
        double_q=jnp.asarray(config.double_q),
        softmax_beta=jnp.float32(config.softmax_beta),
        omega=jnp.float32(config.omega),
        soft_mellowmax_alpha=jnp.float32(config.soft_mellowmax_alpha),
        discount=jnp.float32(config.discount),
        td_lambda=jnp.float32(config.td_lambda),
        burn_in_env_steps=jnp.float32(config.burn_in_fraction * config.steps),
        cuts_are_terminal=jnp.asarray(config.timeout == "terminal"),
        drop_fraction=jnp.float32(config.drop_fraction if evolves else 0.0),
        growth=jnp.int32(growth),
        grown_state=jnp.int32(GrownState[config.grown_state.upper()]),
        total_env_steps=jnp.float32(config.steps),
    )
