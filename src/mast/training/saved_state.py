"""The small state of a run on disk: a pytree as named arrays in one safetensors file.

JAX is imported where it is used: whether a folder can be resumed is found out first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save


def _is_random_key(leaf: Any) -> bool:
    import jax

    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """The leaves that are saved, by path: arrays (typed random keys as their data) and numbers.

    Raises:
      ValueError: two leaves have the same name.
    """
    import jax

    arrays: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_random_key(leaf):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            if name in arrays:
                raise ValueError(f"two leaves of the state are named {name}")
            arrays[name] = np.asarray(leaf)
    return arrays


def fill_template(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The template with each saved leaf in place, of the kind (JAX, NumPy, number) that it was."""
    import jax
    import jax.numpy as jnp

    def fill(path: Sequence[Any], leaf: Any) -> Any:
        value = arrays.get(jax.tree_util.keystr(tuple(path), simple=True, separator="."))
        if value is None:
            return leaf
        if _is_random_key(leaf):
            return jax.random.wrap_key_data(jnp.array(value), impl=jax.random.key_impl(leaf))
        if isinstance(leaf, jax.Array):
            # A copy, so that it can be donated. A number's weak type decides what it is promoted to.
            return (
                jnp.asarray(value.item())
                if leaf.weak_type and value.ndim == 0
                else jnp.array(value)
            )
        if isinstance(leaf, np.ndarray):
            return np.array(value)
        return leaf.dtype.type(value) if isinstance(leaf, np.generic) else type(leaf)(value)

    return jax.tree_util.tree_map_with_path(fill, template)


def state_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the content of a file."""
    return save({name: _storable(array) for name, array in arrays.items()})


def read_state(path: Path, leaves: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    """Reads named arrays back.

    Args:
      path: of a file that holds `state_bytes`.
      leaves: name → [type, shape] of each.

    Raises:
      ValueError: it holds something else.
      OSError: it cannot be read.
    """
    try:
        saved = load(path.read_bytes())
        return {
            name: saved[name].view(np.dtype(dtype)).reshape(shape)
            for name, (dtype, shape) in leaves.items()
        }
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is no saved state of these leaves") from error


def holds_state(path: Path) -> bool:
    """Whether a file is one that `state_bytes` could have made, none of it cut off."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False


def _storable(array: np.ndarray) -> np.ndarray:
    """The array in C order, of a type that NumPy has of itself; others (bfloat16) as their bits."""
    array = np.asarray(array, order="C")
    if array.dtype.kind in "biuf":
        return array
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))
