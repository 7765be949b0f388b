"""One sparse layer as a native call: for networks that have no kernel of their own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mast.kernels import library
from mast.kernels.library import attributes
from mast.kernels.networks import Shapes, SparseLinear, SparseNetwork


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
    packed = SparseNetwork.pack({"layer": layer})
    return _apply((packed.shapes, threads), packed.parameters, x, packed.structure)


Statics = tuple[Shapes, int]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(statics: Statics, parameters: Any, x: Any, structure: Any) -> Any:
    outputs = statics[0][0][0]
    call = jax.ffi.ffi_call(
        library.active().target("linear_forward"),
        jax.ShapeDtypeStruct((x.shape[0], outputs), jnp.float32),
    )
    return call(x, parameters, structure, **attributes(*statics))


def _keep(statics: Statics, parameters: Any, x: Any, structure: Any) -> Any:
    return _apply(statics, parameters, x, structure), (parameters, x, structure)


def _backward(statics: Statics, kept: Any, cotangent: Any) -> Any:
    parameters, x, structure = kept
    results = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in (x, parameters)]
    call = jax.ffi.ffi_call(library.active().target("linear_backward"), results)
    d_x, gradient = call(x, cotangent, parameters, structure, **attributes(*statics))
    return gradient, d_x, None


_apply.defvjp(_keep, _backward)
