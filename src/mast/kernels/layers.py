"""Sparse layers, one upon the other, in one native call: for networks that have no kernel of their own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mast.kernels import library
from mast.kernels.library import attributes
from mast.kernels.networks import Shapes, SparseLinear, SparseNetwork
from mast.kernels.operands import whole_numbers


def apply_layers(
    network: SparseNetwork,
    x: Float[Array, "times batch inputs"],
    rows: Int[Array, " batch"],
    *,
    threads: int = 1,
) -> Float[Array, "times batch outputs"]:
    """The layers in their order, with ReLU between, with gradient to `network.parameters` and to x.

    Args:
      network: layers of which each takes what the one before makes.
      x: inputs.
      rows: how many of `times` each episode has. What lies beyond is 0 and costs nothing.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    statics = (network.shapes, threads)
    return _apply(statics, network.parameters, x, network.structure, whole_numbers("rows", rows))


def apply_linear(
    layer: SparseLinear, x: Float[Array, "rows inputs"], *, threads: int = 1
) -> Float[Array, "rows outputs"]:
    """y = x Wᵀ + b, with gradient to values, bias and x; arguments as in `apply_layers`."""
    network = SparseNetwork.pack({"layer": layer})
    rows = jnp.full(1, len(x), jnp.int32)
    return apply_layers(network, x[:, None], rows, threads=threads)[:, 0]


Statics = tuple[Shapes, int]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(statics: Statics, parameters: Any, x: Any, structure: Any, rows: Any) -> Any:
    shapes, threads = statics
    call = jax.ffi.ffi_call(
        library.active().target("layers_forward"),
        jax.ShapeDtypeStruct((*x.shape[:-1], shapes[-1][0]), jnp.float32),
    )
    return call(x, rows, parameters, structure, **attributes(shapes, threads))


def _keep(statics: Statics, parameters: Any, x: Any, structure: Any, rows: Any) -> Any:
    return _apply(statics, parameters, x, structure, rows), (parameters, x, structure, rows)


def _backward(statics: Statics, kept: Any, cotangent: Any) -> Any:
    parameters, x, structure, rows = kept
    results = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in (x, parameters)]
    call = jax.ffi.ffi_call(library.active().target("layers_backward"), results)
    d_x, gradient = call(x, rows, cotangent, parameters, structure, **attributes(*statics))
    return gradient, d_x, None, None


_apply.defvjp(_keep, _backward)
