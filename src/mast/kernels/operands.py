"""What the wrappers of the kernels refuse before a native call, in the caller's words."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

_INT32 = np.iinfo(np.int32)


def whole_numbers(name: str, array: Any) -> Int[Array, "..."]:
    """Counts or actions as 32-bit integers; what does not fit becomes the nearest that does.

    Args:
      name: what they are, for the error.
      array: integers.

    Raises:
      ValueError: they are of another type; a NaN would be read as some count.
    """
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    if not np.can_cast(array.dtype, np.int32):
        array = array.clip(_INT32.min, _INT32.max)
    return jnp.asarray(array.astype(np.int32))


def refuse_empty(observation: Any) -> None:
    """Refuses a batch of episodes in which nothing was seen or no one acts.

    Raises:
      ValueError: one of the first three axes (observations, episodes, agents) has no entry.
    """
    axes = zip(("observations", "episodes", "agents"), observation.shape, strict=False)
    for name, size in axes:
        if size == 0:
            raise ValueError(f"an empty batch: it has 0 {name}")
