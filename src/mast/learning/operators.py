"""Backup operators: the value of a state from the utilities of its available actions.

Every operator is a pure function of `q [..., actions]` and `available [..., actions]`. At least one
action of each row must be available: environments promise it, and padding has all of them (a row
without one gives -inf or NaN, which the self-check reports). What `q` holds at an unavailable
action has no influence, NaN and infinity included, neither on values nor on gradients.

Parameters (β, α, ω) are data, never Python branches, so that one program serves many methods. As a
`switch` under `vmap` computes every operator and selects one, all of them stay finite, in value and
gradient, for whatever the unselected parameters hold: any α and β that are finite, and any ω.
"""

import enum
from collections.abc import Callable

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


def max_value(
    q: Float[Array, "*batch actions"], available: Bool[Array, "*batch actions"]
) -> Float[Array, "*batch"]:
    """The largest utility among the available actions: max_u Q(u).

    Args:
        q: utilities [..., actions].
        available: which actions may be taken [..., actions].
    """
    return jnp.max(jnp.where(available, q, -jnp.inf), axis=-1)


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
    greedy = jnp.argmax(jnp.where(available, online_q, -jnp.inf), axis=-1)
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
        beta: inverse temperature, in units of 1/Q.

    Source: Pan et al. 2021 (RES), softmax operator; here per agent.
    """
    lowest, highest = _extremes(q, available)
    preferred = jnp.where(jnp.asarray(beta) < 0, lowest, highest)
    gap, odds = _gap_and_odds(q, available, preferred, beta)
    return preferred + jnp.sum(odds * gap, axis=-1) / jnp.sum(odds, axis=-1)


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
        alpha: inverse temperature of the weights, any real number, in units of 1/Q.
        omega: sharpness > 0, in units of 1/Q; at or below 0 the limit ω → 0 is returned.

    Source: Gan, Zhang & Tan 2021; MAST eq. 3.
    """
    # The root of the smallest normal number: so small that the limit ω → 0 is reached to the last
    # digit, and so large that products with the gaps and divisions by it stay representable.
    omega = jnp.maximum(omega, jnp.finfo(q.dtype).tiny ** 0.5)
    lowest, highest = _extremes(q, available)

    # Where ωQ spans less than 1, Σ w exp(ωg) is 1 + something that float32 would lose before the
    # logarithm, and the division by ω would magnify that: hence log1p and expm1.
    preferred = jnp.where(jnp.asarray(alpha) < 0, lowest, highest)
    gap, odds = _gap_and_odds(q, available, preferred, alpha)
    total = jnp.sum(odds, axis=-1)
    excess = jnp.sum(odds * jnp.expm1(jnp.clip(omega * gap, -1, 1)), axis=-1) / total
    narrow = preferred + jnp.log1p(excess) / omega

    # Elsewhere (1/ω)(log Σ exp((α + ω)Q) - log Σ exp(αQ)), each sum about its largest term; these
    # are two different actions if α < 0 < α + ω.
    largest = jnp.where(alpha + omega < 0, lowest, highest)
    _, terms = _gap_and_odds(q, available, largest, alpha + omega)
    log_ratio = jnp.log(jnp.sum(terms, axis=-1)) - jnp.log(total)
    wide = largest + (alpha * (largest - preferred) + log_ratio) / omega
    return jnp.where(omega * (highest - lowest) < 1, narrow, wide)


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

    def largest() -> Float[Array, "*batch"]:
        own_choice = max_value(target_q, available)
        online_choice = double_q_value(target_q, online_q, available)
        return jnp.where(double_q, online_choice, own_choice)

    value_by_operator: dict[Operator, Callable[[], Array]] = {
        Operator.MAX: largest,
        Operator.SOFTMAX: lambda: softmax_value(target_q, available, beta),
        Operator.MELLOWMAX: lambda: mellowmax(target_q, available, omega),
        Operator.SOFT_MELLOWMAX: lambda: soft_mellowmax(target_q, available, alpha, omega),
    }
    # The branches must agree in dtype, also where the parameters are wider than the utilities.
    branches = [
        lambda value=value_by_operator[operator]: value().astype(target_q.dtype)
        for operator in Operator
    ]
    return jax.lax.switch(operator_id, branches)


def _extremes(
    q: Float[Array, "*batch actions"], available: Bool[Array, "*batch actions"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The lowest and the highest available utility, constants for gradients.

    The soft operators are shift-invariant: c + operator(Q - c) has the gradient of operator(Q)
    although c is held constant.
    """
    lowest = jnp.min(jnp.where(available, q, jnp.inf), axis=-1)
    return jax.lax.stop_gradient((lowest, max_value(q, available)))


def _gap_and_odds(
    q: Float[Array, "*batch actions"],
    available: Bool[Array, "*batch actions"],
    reference: Float[Array, "*batch"],
    inverse_temperature: Float[ArrayLike, ""],
) -> tuple[Float[Array, "*batch actions"], Float[Array, "*batch actions"]]:
    """Q - reference, and Boltzmann odds against it: 1 at the reference, 0 where unavailable.

    The reference must be the utility with the largest odds, so that nothing overflows. Unavailable
    actions get gap 0 instead of an infinity, which a product or a derivative could turn into NaN.
    """
    reference = reference[..., None]
    gap = jnp.where(available, q, reference) - reference
    return gap, jnp.where(available, jnp.exp(inverse_temperature * gap), 0)
