"""One sparse matrix by itself: products with a batch that can be differentiated, batched and transposed.

Two primitives, each linear in two operands, whose derivatives are again these two; so `grad` of a `vmap` is
one native call over all rows, and higher derivatives work.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float, Int

from mast.kernels import library


class Structure(NamedTuple):
    """Where the active entries of a matrix are: by rows, and by columns."""

    row_pointers: Int[Any, " rows_and_one"]
    columns: Int[Any, " active"]
    column_pointers: Int[Any, " columns_and_one"]
    rows: Int[Any, " active"]
    places: Int[Any, " active"]
    """Of each entry in the order of the columns, its place in the order of the rows."""


def structure_of(mask: Bool[Any, "rows columns"], active: int | None = None) -> Structure:
    """The structure of a mask.

    Args:
        mask: active entries.
        active: how many they are; must be given where the mask is traced (under jit).
    """
    columns = mask.shape[1]
    xp: Any = jnp
    places: Any
    if active is None:
        xp, mask = np, np.asarray(mask)
        places = np.flatnonzero(mask)
    else:
        places = jnp.nonzero(jnp.ravel(mask), size=active)[0]
    column_of, row_of = places % columns, places // columns
    order = xp.argsort(column_of, stable=True)

    def pointers(axis: int) -> Any:
        counts = xp.cumsum(xp.sum(mask, axis=axis))
        return xp.concatenate([xp.zeros(1, xp.int32), counts])

    found = (pointers(1), column_of, pointers(0), row_of[order], order)
    return Structure(*(jnp.asarray(each.astype(xp.int32)) for each in found))


def product(
    x: Float[Array, "batch inputs"],
    values: Float[Array, " active"],
    structure: Structure,
    *,
    transposed: bool = False,
    threads: int = 1,
) -> Float[Array, "batch outputs"]:
    """y = x Wᵀ, or x W where `transposed`, of the matrix with these active entries.

    On a CPU with kernels natively; elsewhere and in other types than float32 by the dense matrix.

    Args:
        x: as many inputs as the matrix has columns (rows where `transposed`).
        values: in the order of the rows.
        structure: where they are.
        transposed: which of both.
        threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
        jax.errors.JaxRuntimeError: a structure that cannot be.
    """
    return _product.bind(x, values, *structure, transposed=transposed, threads=threads)


def _gradient(
    d_y: Array, x: Array, structure: Sequence[Array], *, threads: int
) -> Float[Array, " active"]:
    """The sum over the batch of d_y of each entry's row times x of its column."""
    return _sampled.bind(d_y, x, *structure, threads=threads)


def _dense_product(x: Any, values: Any, *parts: Any, transposed: bool, threads: int) -> Any:
    structure = Structure(*parts)
    shape = structure.row_pointers.size - 1, structure.column_pointers.size - 1
    dense = jnp.zeros(shape, values.dtype).at[_rows(structure), structure.columns].set(values)
    return x @ (dense if transposed else dense.T)


def _dense_sampled(d_y: Any, x: Any, *parts: Any, threads: int) -> Any:
    structure = Structure(*parts)
    return (d_y.T @ x)[_rows(structure), structure.columns]


def _rows(structure: Structure) -> Any:
    size = structure.columns.size
    counts = jnp.diff(structure.row_pointers)
    return jnp.repeat(jnp.arange(counts.size), counts, total_repeat_length=size)


def _native(handler: str, like: Any, operands: Sequence[Any], threads: int) -> Any:
    target = library.active().target(handler)
    return jax.ffi.ffi_call(target, like)(*operands, threads=np.int64(threads))


def _is_native(*operands: Any) -> bool:
    return all(each.dtype == jnp.float32 for each in operands) and library.available()


def _cpu_product(x: Any, values: Any, *parts: Any, transposed: bool, threads: int) -> Any:
    if not _is_native(x, values):
        return _dense_product(x, values, *parts, transposed=transposed, threads=threads)
    s = Structure(*parts)
    handler, pointers, parts = "matrix_product", s.row_pointers, s[:2]
    if transposed:
        handler, pointers, parts = "matrix_transposed_product", s.column_pointers, s
    like = jax.ShapeDtypeStruct((x.shape[0], pointers.size - 1), jnp.float32)
    return _native(handler, like, (x, values, *parts), threads)


def _cpu_sampled(d_y: Any, x: Any, *parts: Any, threads: int) -> Any:
    if not _is_native(d_y, x):
        return _dense_sampled(d_y, x, *parts, threads=threads)
    s = Structure(*parts)
    like = jax.ShapeDtypeStruct(s.columns.shape, jnp.float32)
    return _native("matrix_gradient", like, (d_y, x, s.row_pointers, s.columns), threads)


def _product_shape(x: Any, values: Any, *parts: Any, transposed: bool, threads: int) -> Any:
    s = Structure(*parts)
    inputs, outputs = s.column_pointers.size - 1, s.row_pointers.size - 1
    if transposed:
        inputs, outputs = outputs, inputs
    if x.ndim != 2 or x.shape[1] != inputs:
        raise TypeError(f"x has shape {x.shape}: {inputs} inputs are expected")
    return ShapedArray((x.shape[0], outputs), jnp.result_type(x.dtype, values.dtype))


def _sampled_shape(d_y: Any, x: Any, *parts: Any, threads: int) -> Any:
    return ShapedArray(Structure(*parts).columns.shape, jnp.result_type(d_y.dtype, x.dtype))


def _bilinear_jvp(primitive: Primitive) -> Callable[..., Any]:
    def jvp(primals: Any, tangents: Any, **params: Any) -> Any:
        first, second, *parts = primals
        terms = []
        if type(tangents[0]) is not ad.Zero:
            terms.append(primitive.bind(tangents[0], second, *parts, **params))
        if type(tangents[1]) is not ad.Zero:
            terms.append(primitive.bind(first, tangents[1], *parts, **params))
        result = primitive.bind(*primals, **params)
        return result, functools.reduce(jnp.add, terms)  # one has a tangent, or no one asks

    return jvp


def _product_transpose(
    cotangent: Any, x: Any, values: Any, *parts: Any, transposed: bool, threads: int
) -> list[Any]:
    nothing = [None] * len(parts)
    if type(cotangent) is ad.Zero:
        return [None, None, *nothing]
    if ad.is_undefined_primal(x):
        back = product(
            cotangent, values, Structure(*parts), transposed=not transposed, threads=threads
        )
        return [back, None, *nothing]
    pair = (x, cotangent) if transposed else (cotangent, x)
    return [None, _gradient(*pair, parts, threads=threads), *nothing]


def _sampled_transpose(cotangent: Any, d_y: Any, x: Any, *parts: Any, threads: int) -> list[Any]:
    nothing = [None] * len(parts)
    if type(cotangent) is ad.Zero:
        return [None, None, *nothing]
    structure = Structure(*parts)
    if ad.is_undefined_primal(d_y):
        return [product(x, cotangent, structure, threads=threads), None, *nothing]
    back = product(d_y, cotangent, structure, transposed=True, threads=threads)
    return [None, back, *nothing]


def _product_batched(operands: Any, axes: Any, **params: Any) -> Any:
    if axes[0] is not None and all(axis is None for axis in axes[1:]):
        x = jnp.moveaxis(operands[0], axes[0], 0)  # one call over the rows of all
        y = _product.bind(x.reshape(-1, x.shape[-1]), *operands[1:], **params)
        return y.reshape(*x.shape[:2], y.shape[-1]), 0
    return _one_by_one(_product, operands, axes, params)


def _one_by_one(primitive: Primitive, operands: Any, axes: Any, params: Any) -> Any:
    moved = [x if a is None else jnp.moveaxis(x, a, 0) for x, a in zip(operands, axes, strict=True)]
    batched = [x for x, axis in zip(moved, axes, strict=True) if axis is not None]

    def one(batched: Any) -> Any:
        rest = iter(batched)
        each = (x if a is None else next(rest) for x, a in zip(moved, axes, strict=True))
        return primitive.bind(*each, **params)

    return jax.lax.map(one, batched), 0


def _primitive(
    name: str, shape: Any, cpu: Any, dense: Any, transpose: Any, batched: Any
) -> Primitive:
    primitive = Primitive(name)

    @functools.lru_cache(maxsize=128)
    def compiled(params: tuple[tuple[str, Any], ...]) -> Any:
        return jax.jit(functools.partial(primitive.bind, **dict(params)))

    primitive.def_impl(lambda *x, **params: compiled(tuple(sorted(params.items())))(*x))
    primitive.def_abstract_eval(shape)
    ad.primitive_jvps[primitive] = _bilinear_jvp(primitive)
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(dense, multiple_results=False))
    lowered = mlir.lower_fun(cpu, multiple_results=False)
    mlir.register_lowering(primitive, lowered, platform="cpu")
    return primitive


_product = _primitive(
    "mast_matrix_product",
    _product_shape,
    _cpu_product,
    _dense_product,
    _product_transpose,
    _product_batched,
)
_sampled: Primitive = _primitive(
    "mast_matrix_gradient",
    _sampled_shape,
    _cpu_sampled,
    _dense_sampled,
    _sampled_transpose,
    lambda operands, axes, **params: _one_by_one(_sampled, operands, axes, params),
)
