"""Drop and growth rules that were tried at high sparsity; named by studies here as `experiments.rules:…`."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Matrix = Float[Array, "outputs inputs"]
GATES = 3
GRU_ROWS = 3 * 64


def relative_gradient(weight: Matrix, gradient: Matrix, key: PRNGKeyArray) -> Matrix:
    """|g| over the means of its row and of its column: one batch's gradient is nearly an outer product."""
    size = jnp.abs(gradient)
    return size / (size.mean(0, keepdims=True) * size.mean(1, keepdims=True) + 1e-20)


def gradient_per_gate(weight: Matrix, gradient: Matrix, key: PRNGKeyArray) -> Matrix:
    """|g| ranked within each gate of a GRU, so that each of its gates grows as many."""
    return _ranked(jnp.abs(gradient))


def magnitude_per_gate(weight: Matrix, gradient: Matrix, key: PRNGKeyArray) -> Matrix:
    """|w| ranked within the active weights of each gate of a GRU, so that each loses as many."""
    return _ranked(jnp.abs(weight), weight != 0)


def magnitude_but_a_rows_last(weight: Matrix, gradient: Matrix, key: PRNGKeyArray) -> Matrix:
    """|w|, but a row's largest weight is dropped last: no neuron loses its last input."""
    size = jnp.abs(weight)
    last = (size == size.max(1, keepdims=True)) & (size > 0)
    return jnp.where(last, size + 1e6, size)


def gradient_but_empty_rows(weight: Matrix, gradient: Matrix, key: PRNGKeyArray) -> Matrix:
    """|g|, but what a neuron without inputs would gain most from comes first."""
    size = jnp.abs(gradient)
    empty = (weight == 0).all(1, keepdims=True) & (size == size.max(1, keepdims=True))
    return jnp.where(empty, size + 1e6, size)


def _ranked(score: Matrix, among: Array | None = None) -> Matrix:
    if score.shape[0] != GRU_ROWS:
        return score
    gates = score.reshape(GATES, -1)
    if among is not None:  # the smallest first; what is inactive behind them
        gates = jnp.where(among.reshape(GATES, -1), gates, jnp.inf)
    ranks = jnp.argsort(jnp.argsort(gates, axis=1), axis=1)
    return ranks.astype(score.dtype).reshape(score.shape)
