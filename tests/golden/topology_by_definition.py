"""Drop, grow and RMSProp in plain Python: sorting lists, one weight at a time, float64."""

import math
from collections.abc import Sequence

import numpy as np


def evolve_mask(
    mask: Sequence[bool],
    drop_score: Sequence[float],
    growth_score: Sequence[float],
    drop: int,
    grow: int,
) -> list[bool]:
    """Drop the `drop` active entries of smallest score, then grow the `grow` best of all not active.

    Python's sort is stable, so ties go to the lowest index.
    """
    now = list(mask)
    active = [index for index in range(len(now)) if now[index]]
    for index in sorted(active, key=lambda index: drop_score[index])[:drop]:
        now[index] = False
    candidates = [index for index in range(len(now)) if not now[index]]
    for index in sorted(candidates, key=lambda index: -growth_score[index])[:grow]:
        now[index] = True
    return now


def clip_by_global_norm(gradients: dict[str, np.ndarray], limit: float) -> dict[str, np.ndarray]:
    norm = math.sqrt(sum(float(g) ** 2 for array in gradients.values() for g in array.flat))
    if norm <= limit:
        return gradients
    return {name: array * (limit / norm) for name, array in gradients.items()}


def torch_rmsprop_step(
    value: np.ndarray,
    square_average: np.ndarray,
    gradient: np.ndarray,
    learning_rate: float,
    decay: float,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """torch.optim.RMSprop, not centred, no momentum: ε is added to the root, not under it."""
    square_average = decay * square_average + (1.0 - decay) * gradient * gradient
    return value - learning_rate * gradient / (np.sqrt(square_average) + epsilon), square_average
