"""What makes a weight worth keeping or growing: scores, as functions, by name and by number.

A drop score and a growth score are independent: SET is RigL with another growth score. Smallest drop
scores are dropped, largest growth scores are grown.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Score = Callable[[Array, Array, PRNGKeyArray], Array]
"""From a layer's weight, its *dense* gradient and a random key to one number per weight."""


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


def relative_gradient(
    weight: Float[Array, "..."], gradient: Float[Array, "..."], key: PRNGKeyArray
) -> Float[Array, "..."]:
    """|g| over the means of its row and of its column: growth that spreads over neurons and inputs.

    The gradient of one batch is nearly an outer product, so its largest entries lie in few rows and columns,
    and growth by |g| piles weights onto few neurons. Rows and columns are the last two axes; a bias has |g|.

    Source: ours; docs/experiments.md.
    """
    size = jnp.abs(gradient)
    if size.ndim <= 1:
        return size
    return size / (size.mean(-2, keepdims=True) * size.mean(-1, keepdims=True) + 1e-20)


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


DROP_SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "random": random_score,
    "sensitivity": sensitivity,
}
"""Drop scores by name. A number of a drop score is its place here."""

GROWTH_SCORES: dict[str, Score] = {
    "gradient": gradient_magnitude,
    "random": random_score,
    "relative_gradient": relative_gradient,
}
"""Growth scores by name: the size of the gradient (RigL, MAST), chance (SET), or ours; numbers as above."""


def score_by_number(number: Int[Array, ""] | int, scores: Sequence[Score]) -> Score:
    """The score at that place, which may be data: several rules in one vmapped program.

    All scores are computed and one is taken, as a switch over a batched number would do too.

    Args:
        number: a place in `scores`.
        scores: to choose from.
    """

    def score(weight: Array, gradient: Array, key: PRNGKeyArray) -> Array:
        each = [of(weight, gradient, key).astype(weight.dtype) for of in scores]
        return jax.lax.select_n(jnp.asarray(number, jnp.int32), *each)

    return score
