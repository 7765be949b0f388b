"""Backup operators: the value of a state from the utilities of its available actions.

Every operator is a pure function of `q [..., actions]` and `available [..., actions]`. At least one
action of each row must be available: environments promise it, and padding has all of them (a row
without one gives -inf or NaN, which the self-check reports). What `q` holds at an unavailable
action has no influence, NaN and infinity included, neither on values nor on gradients.

Parameters (β, α, ω) are data, never Python branches, so that one program serves many methods. As a
`switch` under `vmap` computes every operator and selects one, all of them stay finite, in value and
gradient, for whatever the unselected parameters hold: any finite α, β >= 0, and any finite ω.
Values are right to float32's rounding of the utilities, for |Q| up to 1e4 and beyond.
"""

import enum
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int


class Operator(enum.IntEnum):
    """The operators by number; in a configuration each has its name in lower case."""

    MAX = 0
    SOFTMAX = 1
    MELLOWMAX = 2
    SOFT_MELLOWMAX = 3
    RES_SOFTMAX = 4
    """Over joint actions, so not of this file: `algorithms.res`."""


def max_value(
    q: Float[Array, "*batch actions"], available: Bool[Array, "*batch actions"]
) -> Float[Array, "*batch"]:
    """The largest utility among the available actions: max_u Q(u).

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
    """
    return jnp.max(jnp.where(available, q, -jnp.inf), axis=-1)


def greedy_action(
    q: Float[Array, "*batch actions"], available: Bool[Array, "*batch actions"]
) -> Int[Array, "*batch"]:
    """The available action of largest utility; ties go to the lowest index.

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
    """
    return jnp.argmax(jnp.where(available, q, -jnp.inf), axis=-1)


def double_q_value(
    target_q: Float[Array, "*batch actions"],
    online_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
) -> Float[Array, "*batch"]:
    """The target's utility of the action that the online network prefers.

    Ties go to the lowest index. Gradients reach `target_q` only.

    Args:
        target_q: utilities that give the value [..., actions].
        online_q: utilities that choose the action [..., actions].
        available: which actions may be taken [..., actions].

    Source: van Hasselt, Guez & Silver 2016 (Double DQN).
    """
    greedy = greedy_action(online_q, available)
    # A comparison instead of a gather: its gradient is a product, where a gather's is a scatter.
    chosen = greedy[..., None] == jnp.arange(target_q.shape[-1])
    return jnp.sum(jnp.where(chosen, target_q, 0), axis=-1)


def softmax_value(
    q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """The mean utility under a Boltzmann policy: Σ_u softmax(βQ)_u Q_u.

    β = 0 is the mean over the available actions, β → ∞ the maximum.

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
        beta: inverse temperature >= 0, in units of 1/Q.

    Source: Pan et al. 2021 (RES), softmax operator; here per agent.
    """
    return weighted_softmax_value(q, q, available, beta)


def weighted_softmax_value(
    q: Float[Array, "*batch actions"],
    weight_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """The mean of one network's utilities under the Boltzmann policy of another: Σ_u softmax(βW)_u Q_u.

    Args:
        q: utilities that are averaged [..., actions].
        weight_q: W, utilities inside the softmax [..., actions].
        available: which actions may be taken [..., actions].
        beta: inverse temperature >= 0, in units of 1/Q.

    Source: Pan et al. 2021 (RES): weights from the online networks, values from the target's.
    """
    highest, gap = _gap_to_highest(q, available)
    _, weight_gap = _gap_to_highest(weight_q, available)
    weight = jax.nn.softmax(beta * weight_gap, axis=-1, where=available)
    return highest + jnp.sum(weight * gap, axis=-1)


def mellowmax(
    q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    omega: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """A log-mean-exp of the utilities: (1/ω) log((1/|U|) Σ_u exp(ωQ_u)), U the available actions.

    ω → 0 is the mean over the available actions, ω → ∞ the maximum.

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
        omega: sharpness > 0, in units of 1/Q; at or below 0 the limit ω → 0 is returned.

    Source: Asadi & Littman 2017.
    """
    return soft_mellowmax(q, available, 0.0, omega)


def soft_mellowmax(
    q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    alpha: Float[ArrayLike, ""],
    omega: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """A softmax-weighted log-mean-exp: (1/ω) log Σ_u softmax(αQ)_u exp(ωQ_u).

    α = 0 is `mellowmax`; ω → 0 is `softmax_value` with β = α.

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
        alpha: inverse temperature of the weights >= 0, in units of 1/Q.
        omega: sharpness > 0, in units of 1/Q; at or below 0 the limit ω → 0 is returned.

    Source: Gan, Zhang & Tan 2021; MAST eq. 3.
    """
    highest, gap = _gap_to_highest(q, available)
    omega = positive_omega(omega, gap.dtype)
    weight = jax.nn.softmax(alpha * gap, axis=-1, where=available)
    # log Σ w exp(ωg) as log1p(Σ w (exp(ωg) - 1)): where ωg is small the sum would be 1 + something
    # below float32's resolution, and the division by ω would magnify the loss. The sum never nears
    # -1, where log1p has its pole: for α >= 0 the highest action, with g = 0, has w >= 1/actions.
    excess = jnp.sum(weight * jnp.expm1(omega * gap), axis=-1)
    return highest + jnp.log1p(excess) / omega


def weighted_soft_mellowmax(
    q: Float[Array, "*batch actions"],
    weight_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    alpha: Float[ArrayLike, ""],
    omega: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """Soft mellowmax with the weights of another network: (1/ω) log Σ_u softmax(αW)_u exp(ωQ_u).

    With W = Q it is `soft_mellowmax`, by a form that costs a logarithm more: here the action of highest
    Q may have no weight at all.

    Args:
        q: utilities that are averaged [..., actions].
        weight_q: W, utilities inside the softmax [..., actions].
        available: which actions may be taken [..., actions].
        alpha: inverse temperature of the weights >= 0, in units of 1/Q.
        omega: sharpness > 0, in units of 1/Q; at or below 0 the limit ω → 0 is returned.

    Source: spec §5, `weights_from`.
    """
    highest, gap = _gap_to_highest(q, available)
    _, weight_gap = _gap_to_highest(weight_q, available)
    omega = positive_omega(omega, gap.dtype)
    log_weight = jax.nn.log_softmax(alpha * weight_gap, axis=-1, where=available)
    weight = jnp.exp(log_weight)
    # As a shift of all utilities shifts the value, the mean can be held constant for gradients.
    mean = jax.lax.stop_gradient(jnp.sum(weight * gap, axis=-1))
    exponent = omega * jnp.where(available, gap - mean[..., None], 0)
    # Around its mean the logarithm is never negative (Jensen), so that no form of it nears its pole;
    # which of the two keeps the digits is the same question as in `soft_mellowmax`.
    small = jnp.log1p(jnp.sum(weight * jnp.expm1(jnp.minimum(exponent, 1)), axis=-1))
    large = jax.nn.logsumexp(log_weight + exponent, axis=-1, where=available)
    return highest + mean + jnp.where(jnp.max(exponent, axis=-1) < 1, small, large) / omega


def backup_value(
    operator_id: Int[Array, ""],
    target_q: Float[Array, "*batch actions"],
    online_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    double_q: Bool[Array, ""],
    alpha: Float[ArrayLike, ""],
    omega: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """The value of each state under the operator with this number, in `target_q`'s dtype.

    Everything that chooses is data: under `vmap` each run may have its own operator.

    Args:
        operator_id: an `Operator`; a number outside its range counts as the nearest one.
        target_q: utilities of the target network [..., actions]; weights and values of all
            operators are theirs.
        online_q: utilities of the online network [..., actions], read by MAX with `double_q` only.
        available: which actions may be taken [..., actions].
        double_q: whether MAX takes the online network's argmax.
        alpha, omega, beta: parameters of the operators that have them.

    Source: spec §3; MAST eq. 3.
    """

    return _of_operator(
        operator_id,
        {
            Operator.MAX: lambda: _largest(target_q, online_q, available, double_q),
            Operator.SOFTMAX: lambda: softmax_value(target_q, available, beta),
            Operator.MELLOWMAX: lambda: mellowmax(target_q, available, omega),
            Operator.SOFT_MELLOWMAX: lambda: soft_mellowmax(target_q, available, alpha, omega),
        },
        target_q.dtype,
    )


def weighted_backup_value(
    operator_id: Int[Array, ""],
    target_q: Float[Array, "*batch actions"],
    online_q: Float[Array, "*batch actions"],
    weight_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    double_q: Bool[Array, ""],
    alpha: Float[ArrayLike, ""],
    omega: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "*batch"]:
    """`backup_value` with the soft operators' weights from utilities of their own.

    Args:
        operator_id, target_q, online_q, available, double_q, alpha, omega, beta: as there.
        weight_q: utilities that the weights of SOFTMAX and SOFT_MELLOWMAX are of [..., actions].

    Source: spec §5, `weights_from`.
    """
    return _of_operator(
        operator_id,
        {
            Operator.MAX: lambda: _largest(target_q, online_q, available, double_q),
            Operator.SOFTMAX: lambda: weighted_softmax_value(target_q, weight_q, available, beta),
            Operator.MELLOWMAX: lambda: mellowmax(target_q, available, omega),
            Operator.SOFT_MELLOWMAX: lambda: weighted_soft_mellowmax(
                target_q, weight_q, available, alpha, omega
            ),
        },
        target_q.dtype,
    )


def _of_operator(
    operator_id: Int[Array, ""],
    value_by_operator: dict[Operator, Callable[[], Array]],
    dtype: jnp.dtype,
) -> Array:
    # The branches must agree in dtype, also where the parameters are wider than the utilities.
    branches = [lambda value=value: value().astype(dtype) for value in value_by_operator.values()]
    return jax.lax.switch(operator_id, branches)


def _largest(
    target_q: Float[Array, "*batch actions"],
    online_q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    double_q: Bool[Array, ""],
) -> Float[Array, "*batch"]:
    own_choice = max_value(target_q, available)
    online_choice = double_q_value(target_q, online_q, available)
    return jnp.where(double_q, online_choice, own_choice)


def positive_omega(omega: Float[ArrayLike, ""], dtype: Any = jnp.float32) -> Float[Array, ""]:
    """ω, at least the root of the smallest normal number.

    That is so small that the limit ω → 0 is reached to the last digit, and so large that products with
    the gaps and divisions by it stay representable.
    """
    return jnp.maximum(omega, jnp.finfo(dtype).tiny ** 0.5)


def _gap_to_highest(
    q: Float[Array, "*batch actions"], available: Bool[Array, "*batch actions"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch actions"]]:
    """The highest available utility h, a constant for gradients, and Q - h <= 0.

    The soft operators are shift-invariant, so h + operator(Q - h) has the gradient of operator(Q)
    although h is held constant, and the rounding of large utilities stays out of the exponents. An
    unavailable action gets gap 0 instead of -inf: its weight is made 0 by `where`, and no infinity
    ever enters a product or a derivative.
    """
    highest = jax.lax.stop_gradient(max_value(q, available))
    # Only a difference of available values: `q` elsewhere may be huge or NaN.
    gap = jnp.where(available, q, highest[..., None]) - highest[..., None]
    return highest, gap
