"""The gated recurrent unit: one step, and the whole sequence with its own backward pass.

XLA on a CPU decides the shape of this code. Gates sliced out of one [rows, 3h] array inside the scan
cost about four times the step of three separate arrays, because the slices are not vectorised; and the
gradient of the recurrent weight belongs after the scan as one large matrix product, not inside it as many
small ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mast.networks.linear import Linear

Gates = tuple[Array, Array, Array]


def split_gates(linear: Linear) -> tuple[Linear, Linear, Linear]:
    """The three gates (reset, update, new) of a [3h, ·] layer, in Torch's order."""
    weights = jnp.split(linear.weight, 3)
    biases = jnp.split(linear.bias, 3)
    reset, update, new = (Linear(w, b) for w, b in zip(weights, biases, strict=True))
    return reset, update, new


def gru_step(
    hidden_layer: Linear, gates: Gates, hidden: Float[Array, "*batch hidden"]
) -> Float[Array, "*batch hidden"]:
    """One step, Torch's definition: h' = (1 − z) n + z h, n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    Args:
        hidden_layer: the recurrent matrix, [3h, h], and its bias.
        gates: the input's share of the three gates, each [*batch, h].
        hidden: the state before the step.
    """
    reset_layer, update_layer, new_layer = split_gates(hidden_layer)
    reset = jax.nn.sigmoid(gates[0] + reset_layer(hidden))
    update = jax.nn.sigmoid(gates[1] + update_layer(hidden))
    new = jnp.tanh(gates[2] + reset * new_layer(hidden))
    return (1 - update) * new + update * hidden


@jax.custom_vjp
def gru_sequence(
    hidden_layer: Linear,
    gates: Gates,
    initial: Float[Array, "rows hidden"],
    keep: Float[Array, "*time rows hidden"] | None = None,
) -> Float[Array, "time rows hidden"]:
    """The hidden states after each step of a sequence.

    Args:
        hidden_layer: the recurrent matrix, [3h, h], and its bias.
        gates: the input's share of the three gates, each [time, rows, h].
        initial: the state before the first step; no gradient flows to it.
        keep: 1 where a row has the unit, 0 where it lacks it and its state is 0, always or at each time; None
            keeps all.
    """
    layers = split_gates(hidden_layer)

    always, now = _by_time(keep)

    def step(hidden: Array, row: tuple[Gates, Array | None]) -> tuple[Array, Array]:
        gate, now = row
        hidden = _kept(_step(layers, gate, hidden)[0], always if now is None else now)
        return hidden, hidden

    return jax.lax.scan(step, initial, (gates, now))[1]


def _by_time(keep: Array | None) -> tuple[Array | None, Array | None]:
    """What is kept at all times, or what at each."""
    return (None, keep) if keep is not None and keep.ndim == 3 else (keep, None)


def _kept(hidden: Array, keep: Array | None) -> Array:
    return hidden if keep is None else hidden * keep


def _step(layers: tuple[Linear, Linear, Linear], gate: Gates, hidden: Array) -> tuple[Array, ...]:
    """A step and what its backward pass needs: (h', r, z, n, W_hn h + b_hn)."""
    recurrent = layers[2](hidden)
    reset = jax.nn.sigmoid(gate[0] + layers[0](hidden))
    update = jax.nn.sigmoid(gate[1] + layers[1](hidden))
    new = jnp.tanh(gate[2] + reset * recurrent)
    return (1 - update) * new + update * hidden, reset, update, new, recurrent


def _forward(
    hidden_layer: Linear, gates: Gates, initial: Array, keep: Array | None
) -> tuple[Array, tuple]:
    layers = split_gates(hidden_layer)
    always, now = _by_time(keep)

    def step(hidden: Array, row: tuple[Gates, Array | None]) -> tuple[Array, tuple[Array, ...]]:
        gate, now = row
        after, *rest = _step(layers, gate, hidden)
        after = _kept(after, always if now is None else now)
        return after, (after, *rest)

    _, saved = jax.lax.scan(step, initial, (gates, now))
    return saved[0], (hidden_layer, initial, keep, saved)


def _backward(residuals: tuple, cotangent: Array) -> tuple[Linear, Gates, Array, Array | None]:
    hidden_layer, initial, keep, (hidden, reset, update, new, recurrent) = residuals
    reset_layer, update_layer, new_layer = split_gates(hidden_layer)
    previous = jnp.concatenate([initial[None], hidden[:-1]])
    always, now = _by_time(keep)

    def step(carry: Array, saved: tuple[Any, ...]) -> tuple[Array, tuple[Array, ...]]:
        d_hidden, previous, reset, update, new, recurrent, now = saved
        d_hidden = _kept(d_hidden + carry, always if now is None else now)
        d_new = d_hidden * (1 - update) * (1 - new * new)
        d_update = d_hidden * (previous - new) * update * (1 - update)
        d_reset = d_new * recurrent * reset * (1 - reset)
        d_recurrent = d_new * reset
        carry = (
            d_hidden * update
            + d_reset @ reset_layer.weight
            + d_update @ update_layer.weight
            + d_recurrent @ new_layer.weight
        )
        return carry, (d_reset, d_update, d_new, d_recurrent)

    saved = (cotangent, previous, reset, update, new, recurrent, now)
    _, (d_reset, d_update, d_new, d_recurrent) = jax.lax.scan(
        step, jnp.zeros_like(initial), saved, reverse=True
    )
    rows = previous.reshape(-1, previous.shape[-1])
    flat = [d.reshape(rows.shape) for d in (d_reset, d_update, d_recurrent)]
    d_layer = Linear(
        weight=jnp.concatenate([d.T @ rows for d in flat]),
        bias=jnp.concatenate([d.sum(0) for d in flat]),
    )
    d_keep = None if keep is None else jnp.zeros_like(keep)
    return d_layer, (d_reset, d_update, d_new), jnp.zeros_like(initial), d_keep


gru_sequence.defvjp(_forward, _backward)
