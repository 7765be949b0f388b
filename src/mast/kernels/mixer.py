"""QMIX's mixer over the visited states of a batch, in one native call forward and one back."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mast.kernels import library
from mast.kernels.networks import SparseQMixer
from mast.kernels.operands import join, split


def mixed_values(
    mixer: SparseQMixer,
    utilities: Float[Array, "times batch agents"],
    state: Float[Array, "states batch features"],
    rows: Int[Array, " batch"],
    *,
    threads: int = 1,
) -> Float[Array, "times batch"]:
    """Q_tot = |w_final| · ELU(|w1| q + b1) + V(s), with gradient to the mixer and to the utilities.

    Args:
      mixer: the mixer.
      utilities: Q_i of each agent.
      state: float16 or float32, read as it is; no gradient flows to it. It may have more times than
        `utilities` (a state after the last step).
      rows: how many of `times` each episode has. What lies beyond is 0 and costs nothing.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    floats, structure = split(mixer.layers())
    return _mixed(threads, floats, utilities, structure, (state, rows.astype(jnp.int32)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mixed(threads: int, floats: Any, utilities: Any, structure: Any, episodes: Any) -> Any:
    state, rows = episodes
    call = jax.ffi.ffi_call(
        library.active().target("mixer_forward"),
        jax.ShapeDtypeStruct(utilities.shape[:-1], jnp.float32),
    )
    return call(state, utilities, rows, *join(floats, structure), threads=np.int64(threads))


def _keep(threads: int, floats: Any, utilities: Any, structure: Any, episodes: Any) -> Any:
    result = _mixed(threads, floats, utilities, structure, episodes)
    return result, (floats, utilities, structure, episodes)


def _backward(threads: int, kept: Any, cotangent: Any) -> Any:
    floats, utilities, structure, (state, rows) = kept
    results = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in (utilities, *floats)]
    call = jax.ffi.ffi_call(library.active().target("mixer_backward"), results)
    d_utilities, *gradients = call(
        state, utilities, rows, cotangent, *join(floats, structure), threads=np.int64(threads)
    )
    return tuple(gradients), d_utilities, None, None


_mixed.defvjp(_keep, _backward)
