"""The small state of a run on disk: a pytree as named arrays, written and read by Orbax.

JAX and Orbax are imported where they are used: whether a folder can be resumed is found out first.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


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


def write_state(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays to a new folder.

    Raises:
      OSError: the disk is full or fails.
    """
    import orbax.checkpoint as ocp

    # Orbax refuses arrays without elements; the manifest says all that there is about them.
    tree = {name: array for name, array in arrays.items() if array.size}
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)  # of an error it logs each thread's traceback and raises it too
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(folder, args=ocp.args.StandardSave(tree))
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
    finally:
        log.setLevel(level)


def read_state(folder: Path, leaves: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    """Reads named arrays back.

    Args:
      folder: where `write_state` has put them.
      leaves: name to [type, shape] of each.
    """
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        saved = checkpointer.restore(folder, args=ocp.args.StandardRestore())
    return {
        name: np.asarray(saved[name]) if name in saved else np.zeros(shape, dtype)
        for name, (dtype, shape) in leaves.items()
    }
