"""One sparse layer as a native call: for networks that have no kernel of their own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mast.kernels import library
from mast.kernels.networks import SparseLinear
from mast.kernels.operands import join, split


def apply_linear(
    layer: SparseLinear, x: Float[Array, "rows inputs"], *, threads: int = 1
) -> Float[Array, "rows outputs"]:
    """y = x Wᵀ + b, with gradient to values, bias and x.

    Args:
      layer: the layer.
      x: rows of inputs.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    floats, structure = split((layer,))
    return _apply(threads, floats, x, structure)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(threads: int, floats: Any, x: Any, structure: Any) -> Any:
    call = jax.ffi.ffi_call(
        library.active().target("linear_forward"),
        jax.ShapeDtypeStruct((x.shape[0], floats[1].shape[0]), jnp.float32),
    )
    return call(x, *join(floats, structure), threads=np.int64(threads))


def _keep(threads: int, floats: Any, x: Any, structure: Any) -> Any:
    return _apply(threads, floats, x, structure), (floats, x, structure)


def _backward(threads: int, kept: Any, cotangent: Any) -> Any:
    floats, x, structure = kept
    results = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in (x, *floats)]
    call = jax.ffi.ffi_call(library.active().target("linear_backward"), results)
    d_x, *gradients = call(x, cotangent, *join(floats, structure), threads=np.int64(threads))
    return tuple(gradients), d_x, None


_apply.defvjp(_keep, _backward)
