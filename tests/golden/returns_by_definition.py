"""Returns straight from their definitions: one episode at a time, float64 loops, no recursion.

An episode is `reward [steps]`, `value [steps + 1]` (before each step and after the last one) and
whether its last step is terminal.
"""

import numpy as np


def n_step_return(
    reward: np.ndarray, value: np.ndarray, terminates: bool, discount: float, t: int, n: int
) -> float:
    steps = len(reward)
    total = np.float64(0.0)
    for k in range(n):
        if t + k == steps:  # the data ended earlier
            return float(total if terminates else total + discount**k * value[t + k])
        total += discount**k * reward[t + k]
    if t + n == steps and terminates:
        return float(total)
    return float(total + discount**n * value[t + n])


def td_lambda_return(
    reward: np.ndarray, value: np.ndarray, terminates: bool, discount: float, t: int, lambda_: float
) -> float:
    longest = len(reward) - t
    total = np.float64(0.0)
    for n in range(1, longest + 1):
        n_step = n_step_return(reward, value, terminates, discount, t, n)
        weight = (1 - lambda_) * lambda_ ** (n - 1) if n < longest else lambda_ ** (n - 1)
        total += weight * n_step
    return float(total)


def discounted_return(reward: np.ndarray, discount: float, t: int) -> float:
    total = np.float64(0.0)
    for k in range(len(reward) - t):
        total += discount**k * reward[t + k]
    return float(total)
