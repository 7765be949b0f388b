"""The backup operators as the papers write them, one state at a time, in 60-digit arithmetic."""

import mpmath
import numpy as np


def weighted_softmax_value(
    q: np.ndarray, weight_q: np.ndarray, available: np.ndarray, beta: float
) -> float:
    """Weights from one network's utilities, values from the other's."""
    with mpmath.workdps(60):
        pairs = list(
            zip(
                available_utilities(q, available),
                available_utilities(weight_q, available),
                strict=True,
            )
        )
        exponentials = [mpmath.exp(mpmath.mpf(beta) * w) for _, w in pairs]
        total = mpmath.mpf(0)
        for (utility, _), exponential in zip(pairs, exponentials, strict=True):
            total += exponential * utility
        return float(total / sum(exponentials))


def weighted_soft_mellowmax(
    q: np.ndarray, weight_q: np.ndarray, available: np.ndarray, alpha: float, omega: float
) -> float:
    """Weights from one network's utilities, values from the other's."""
    with mpmath.workdps(60):
        utilities = available_utilities(q, available)
        others = available_utilities(weight_q, available)
        normaliser = sum(mpmath.exp(mpmath.mpf(alpha) * other) for other in others)
        inside = mpmath.mpf(0)
        for utility, other in zip(utilities, others, strict=True):
            weight = mpmath.exp(mpmath.mpf(alpha) * other) / normaliser
            inside += weight * mpmath.exp(mpmath.mpf(omega) * utility)
        return float(mpmath.log(inside) / mpmath.mpf(omega))


def available_utilities(q: np.ndarray, available: np.ndarray) -> list[mpmath.mpf]:
    return [mpmath.mpf(float(q[u])) for u in range(len(q)) if available[u]]


def softmax_value(q: np.ndarray, available: np.ndarray, beta: float) -> float:
    with mpmath.workdps(60):
        utilities = available_utilities(q, available)
        exponentials = [mpmath.exp(mpmath.mpf(beta) * utility) for utility in utilities]
        total = mpmath.mpf(0)
        for utility, exponential in zip(utilities, exponentials, strict=True):
            total += exponential * utility
        return float(total / sum(exponentials))


def soft_mellowmax(q: np.ndarray, available: np.ndarray, alpha: float, omega: float) -> float:
    with mpmath.workdps(60):
        utilities = available_utilities(q, available)
        normaliser = sum(mpmath.exp(mpmath.mpf(alpha) * utility) for utility in utilities)
        inside = mpmath.mpf(0)
        for utility in utilities:
            weight = mpmath.exp(mpmath.mpf(alpha) * utility) / normaliser
            inside += weight * mpmath.exp(mpmath.mpf(omega) * utility)
        return float(mpmath.log(inside) / mpmath.mpf(omega))


def mellowmax(q: np.ndarray, available: np.ndarray, omega: float) -> float:
    with mpmath.workdps(60):
        utilities = available_utilities(q, available)
        inside = sum(mpmath.exp(mpmath.mpf(omega) * utility) for utility in utilities)
        return float(mpmath.log(inside / len(utilities)) / mpmath.mpf(omega))
