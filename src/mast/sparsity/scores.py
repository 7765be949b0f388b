"""What makes a weight worth keeping or growing: scores, as functions and chosen by number.

A drop score and a growth score are independent: SET is RigL with another growth score. Smallest drop
scores are dropped, largest growth scores are grown.
"""

import enum
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Score = Callable[[Array, Array, PRNGKeyArray], Array]
"""From a layer's weight, its *dense* gradient and a random key to one number per weight."""


class Drop(enum.IntEnum):
    """Drop scores by number."""

    MAGNITUDE = 0
    RANDOM = 1
    SENSITIVITY = 2


class Growth(enum.IntEnum):
    """Growth scores by number: the size of the gradient (RigL, MAST) or chance (SET)."""

    GRADIENT = 0
    RANDOM = 1


def magnitude(
    weight: Float[Array, "..."], gradient: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, "..."]:
    """|w|: what SET, RigL, RLx2 and MAST drop by (Mocanu et al. 2018)."""
    return jnp.abs(weight)


def gradient_magnitude(
    weight: Float[Array, "..."], gradient: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, "..."]:
    """|g|: what RigL, RLx2 and MAST grow by (Evci et al. 2020)."""
    return jnp.abs(gradient)


def sensitivity(
    weight: Float[Array, "..."], gradient: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, "..."]:
    """|w · g|: to first order, how much the loss changes when the weight becomes zero.

    Zero wherever a weight is zero, so it tells nothing about candidates: a drop score only.

    Source: SNIP's connection sensitivity (Lee, Ajanthan and Torr 2019, eq. 5, before normalisation).
    """
    return jnp.abs(weight * gradient)


def random_score(
    weight: Float[Array, "..."], gradient: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, "..."]:
    """Uniform in [0, 1): what SET grows by (Mocanu et al. 2018)."""
    return jax.random.uniform(key, weight.shape)


def drop_rule(number: Int[Array, ""] | int) -> Score:
    """The drop score of that `Drop` number, which may be data: several rules in one vmapped program.

    All scores are computed and one is taken, as a switch over a batched number would do too.
    """

    def score(weight: Array, gradient: Array, key: PRNGKeyArray) -> Array:
        chance = random_score(weight, gradient, key).astype(weight.dtype)
        other = jnp.where(number == Drop.RANDOM, chance, magnitude(weight, gradient, key))
        return jnp.where(number == Drop.SENSITIVITY, sensitivity(weight, gradient, key), other)

    return score


def growth_rule(number: Int[Array, ""] | int) -> Score:
    """The growth score of that `Growth` number, which may be data, as in `drop_rule`."""

    def score(weight: Array, gradient: Array, key: PRNGKeyArray) -> Array:
        chance = random_score(weight, gradient, key)
        return jnp.where(number == Growth.RANDOM, chance, gradient_magnitude(weight, gradient, key))

    return score
