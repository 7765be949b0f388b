"""Observations brought to one scale: a running mean and deviation of each feature.

What networks read is (x − mean) / deviation, an affine map, so that `folded` can put it into the weights and
the bias of a first layer.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.networks.feed_forward import FeedForward
from mast.networks.linear import Linear

FURTHEST = 10.0
"""No number that was counted is further than so many deviations from the mean. It stands in the place of
clipping, which no layer could take up."""


class Scale(eqx.Module):
    """What is subtracted from each feature, and what it is divided by."""

    mean: Float[Array, " features"]
    deviation: Float[Array, " features"]
    """Above 0."""

    def __call__(self, x: Float[Any, "*batch features"]) -> Float[Array, "*batch features"]:
        """x as networks read it, in single precision."""
        return (jnp.asarray(x, jnp.float32) - self.mean) / self.deviation


class Running(eqx.Module):
    """Count, mean and sum of squared differences of each feature, and its smallest and largest number."""

    count: Float[Array, " features"]
    mean: Float[Array, " features"]
    squares: Float[Array, " features"]
    low: Float[Array, " features"]
    high: Float[Array, " features"]

    @classmethod
    def begin(cls, features: int) -> "Running":
        """Nothing counted yet."""
        return cls(*(jnp.zeros(features) for _ in range(5)))

    def including(
        self, rows: Float[Any, "*batch features"], counts: Bool[Any, "*batch features"]
    ) -> "Running":
        """After these rows (Chan et al. 1979, the parallel form of Welford's).

        Args:
            rows: numbers.
            counts: which of them count.
        """
        over = tuple(range(rows.ndim - 1))
        rows = jnp.asarray(rows, jnp.float32)
        new = counts.sum(over, dtype=jnp.float32)
        mean = jnp.where(counts, rows, 0).sum(over) / jnp.maximum(new, 1)
        squares = jnp.where(counts, jnp.square(rows - mean), 0).sum(over)
        total = jnp.maximum(self.count + new, 1)
        step = mean - self.mean
        any_, first = new > 0, self.count == 0
        low = jnp.where(counts, rows, jnp.inf).min(over)
        high = jnp.where(counts, rows, -jnp.inf).max(over)
        return Running(
            self.count + new,
            jnp.where(any_, self.mean + step * (new / total), self.mean),
            self.squares + squares + jnp.square(step) * (self.count * new / total) * any_,
            jnp.where(any_, jnp.where(first, low, jnp.minimum(low, self.low)), self.low),
            jnp.where(any_, jnp.where(first, high, jnp.maximum(high, self.high)), self.high),
        )

    def scale(self) -> Scale:
        """Mean and deviation, which is at least a tenth of the range.

        Of what never moved the deviation is 1, and of what was not seen the mean 0.
        """
        span = self.high - self.low
        deviation = jnp.sqrt(self.squares / jnp.maximum(self.count, 1))
        size = jnp.maximum(jnp.abs(self.low), jnp.abs(self.high))
        moves = span > 1e-6 * jnp.maximum(size, 1e-6)
        return Scale(self.mean, jnp.where(moves, jnp.maximum(deviation, span / FURTHEST), 1.0))


class NormalisedAgent(eqx.Module):
    """An acting network that is given observations as they come, and reads them normalised."""

    network: Any
    scale: Scale

    @property
    def stochastic(self) -> bool:
        """Whether the network draws its actions from a policy."""
        return bool(getattr(self.network, "stochastic", False))

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.network.hidden_size

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """h_0 = 0."""
        return self.network.initial_hidden(*batch)

    def step(
        self,
        observation: Float[Any, "*batch agents features"],
        last_action: Int[Any, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        return self.network.step(self.scale(observation), last_action, hidden)

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from their start."""
        return self.network.sequence(self.scale(observation), last_action)


def folded(network: Any, scale: Scale) -> Any:
    """The network of observations as they come that does what this one does of normalised ones.

    Its first layer has W / deviation in the columns of the features and b − Σ W mean / deviation for a bias,
    computed in double precision. A weight that is zero stays zero.

    Args:
        network: a recurrent or feed-forward one, or the stacked networks of all agents.
        scale: of its observations.
    """
    first = network.layers[0] if isinstance(network, FeedForward) else network.fc1
    weight, bias = (np.asarray(part, np.float64) for part in (first.weight, first.bias))
    features = network.features
    mean, deviation = (np.asarray(part, np.float64) for part in (scale.mean, scale.deviation))
    scaled = weight[..., :features] / deviation
    layer = Linear(
        jnp.asarray(np.concatenate([scaled, weight[..., features:]], -1), jnp.float32),
        jnp.asarray(bias - scaled @ mean, jnp.float32),
    )
    if isinstance(network, FeedForward):
        return eqx.tree_at(lambda tree: tree.layers[0], network, layer)
    return eqx.tree_at(lambda tree: tree.fc1, network, layer)
