"""From a masked network to one that has its active weights only, and back; and how such a one evolves."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool

from mast.sparsity.compact_matrix import CompactMatrix, compact_matrix, has_compact, is_compact
from mast.sparsity.layout import layout_by_name
from mast.sparsity.masks import Masks, apply_masks, leaf_path, leaves_by_path
from mast.sparsity.optimizer import SparseState
from mast.sparsity.topology import Evolution

DENSEST = 0.3
"""Layers with more of their weights stay dense arrays: there XLA's product is the faster one."""

_said: set[str] = set()


def compact(
    network: Any,
    masks: Mapping[str, Any],
    *,
    densest: float = DENSEST,
    threads: int | None = None,
) -> Any:
    """The network with a `CompactMatrix` in the place of each sparse weight matrix.

    Forward and backward pass then cost what the active weights cost, on a CPU and in float32. It is trained
    as the masked one was: the same loss, the same optimizer (`sparsify`'s, begun anew with `init`), the same
    `evolve`; see docs/sparsity.md. Weights with other than two axes or of another type, and those denser than
    `densest`, stay as they are, with zeros at inactive places.

    Without kernels (no CPU, no compiler, MAST_KERNELS=off) the masked network comes back; that is said once.

    Args:
        network: an Equinox module, a Flax NNX module or nested dictionaries; its layers use a weight only in
            products. A `flax.nnx.Linear` has its two functions for products wrapped, until `masked`.
        masks: by leaf path, such as `state.masks`.
        densest: the largest share of active weights that becomes compact.
        threads: of XLA's that a product uses at most; all where None. No result depends on it.

    Raises:
        ValueError: a mask names no leaf, has another shape than its leaf, or is traced; a layer of Flax whose
            kernel becomes compact computes in another type than float32.
    """
    from mast.configuration.threads import usable_cpus
    from mast.sparsity.optimizer import check_masks

    known = {name: _known(name, mask) for name, mask in masks.items()}
    masks = {name: jnp.asarray(mask) for name, mask in known.items()}
    check_masks(masks, network)
    network = apply_masks(network, masks)
    reason = _obstacle()
    if reason is not None:
        if reason not in _said:
            print(f"mast: the network stays masked, as fast as dense: {reason}", file=sys.stderr)
            _said.add(reason)
        return network
    count = threads or usable_cpus()

    def of_leaf(path: Any, leaf: Any) -> Any:
        name = leaf_path(path)
        mask = known.get(name)
        if mask is None or is_compact(leaf) or leaf.ndim != 2 or mask.mean() > densest:
            return leaf
        if leaf.dtype != jnp.float32:
            return leaf
        last = layout_by_name(name, leaf).axis == -1
        return compact_matrix(leaf, mask, count, is_transposed=last)

    compacted = jax.tree_util.tree_map_with_path(of_leaf, network, is_leaf=is_compact)
    return _for_flax(compacted)


def masked(network: Any) -> Any:
    """The network with dense arrays again, zero at inactive weights; the inverse of `compact`."""
    dense = jax.tree.map(
        lambda leaf: leaf.scattered(leaf.values) if is_compact(leaf) else leaf,
        network,
        is_leaf=is_compact,
    )
    return _for_flax(dense)


def _known(name: str, mask: Any) -> Bool[np.ndarray, "*shape"]:
    """A mask whose entries are there: how many are active decides shapes."""
    if isinstance(mask, jax.core.Tracer):
        raise ValueError(f"the mask of {name} is traced: call compact outside of jit and vmap")
    return np.asarray(mask, bool)


def _obstacle() -> str | None:
    from mast.kernels import library

    if jax.default_backend() != "cpu":
        return f"there are no kernels for a {jax.default_backend()}"
    return library.unavailable_reason()


def compacted_like(network: Any, like: Any, masks: Masks) -> Any:
    """A masked network compact where another is, with as many active weights in each matrix."""

    def of_leaf(path: Any, old: Any, leaf: Any) -> Any:
        if not is_compact(old):
            return leaf
        mask, active = masks[leaf_path(path)], old.structure.columns.size
        return compact_matrix(leaf, mask, old.threads, active, old.is_transposed)

    leaves, tree = jax.tree_util.tree_flatten_with_path(like, is_leaf=is_compact)
    dense = jax.tree.leaves(
        network
    )  # a Flax module has other functions now, so its tree is another
    pairs = zip(leaves, dense, strict=True)
    return jax.tree.unflatten(tree, [of_leaf(path, old, leaf) for (path, old), leaf in pairs])


def evolve_compact(
    evolve: Callable[..., tuple[Any, SparseState, Evolution]],
    params: Any,
    state: SparseState,
    optimizer: optax.GradientTransformation,
    gradient: Any,
    **plugs: Any,
) -> tuple[Any, SparseState, Evolution]:
    """An evolution of a compact network by way of the masked one: the same masks, values and slots.

    Args:
        evolve: that of masked networks.
        params, state, optimizer: compact, and what `sparse` returned.
        gradient: dense, that of `masked(params)`; how fast a missing weight would grow stands nowhere else.
        plugs: of `evolve`.

    Raises:
        ValueError: the gradient is compact too, or the number of active weights is to change.
    """
    if has_compact(gradient):
        raise ValueError(
            "evolve needs the dense gradient: take it of masked(network), only when an evolution is due"
        )
    if plugs.get("active") is not None:
        raise ValueError("a compact network keeps its number of weights: prune the masked one")
    dense = masked_state(optimizer, state, params)
    evolved, state, done = evolve(masked(params), dense, optimizer, gradient, **plugs)
    result = compacted_like(evolved, params, state.masks)
    return result, compact_state(optimizer, state, result), done


def masked_state(
    optimizer: optax.GradientTransformation, state: SparseState, network: Any
) -> SparseState:
    """The optimizer's state of `masked(network)`, out of that of a compact network.

    Args:
        optimizer: what `sparsify` or `sparse` returned.
        state: of it.
        network: compact.
    """
    return _states(optimizer, state, network, lambda old, slot: old.scattered(slot.values))


def compact_state(
    optimizer: optax.GradientTransformation, state: SparseState, network: Any
) -> SparseState:
    """The inverse of `masked_state`: goes on from a masked network's state; arguments as there."""

    def gathered(new: CompactMatrix, slot: Any) -> CompactMatrix:
        nothing = jax.tree.map(lambda _: None, new.structure)
        return CompactMatrix(new.gathered(slot), nothing, new.shape, new.threads, new.is_transposed)

    return _states(optimizer, state, network, gathered)


def _states(
    optimizer: optax.GradientTransformation,
    state: SparseState,
    params: Any,
    change: Callable[[CompactMatrix, Any], Any],
) -> SparseState:
    """The state with every slot of a compact matrix changed; what belongs to no parameter stays."""

    matrices = {name: leaf for name, leaf in leaves_by_path(params).items() if is_compact(leaf)}

    def of_slot(path: Any, slot: Any) -> Any:
        matrix = matrices.get(leaf_path(path))
        return slot if matrix is None else change(matrix, slot)

    def of_copy(copy: Any) -> Any:
        return _for_flax(jax.tree_util.tree_map_with_path(of_slot, copy, is_leaf=is_compact))

    return optax.tree_map_params(optimizer, of_copy, state, is_leaf=lambda _: True)


def _for_flax(network: Any) -> Any:
    """Makes the linear layers of a Flax NNX module multiply compact kernels; everything else is as it is.

    Raises:
        ValueError: a layer with a compact kernel computes in another type than float32.
    """
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(network, nnx.Module):
        return network
    for path, layer in nnx.iter_modules(network):
        if not isinstance(layer, nnx.Linear):
            continue
        for name, ours in (("promote_dtype", _Promotion), ("dot_general", _Product)):
            function = getattr(layer, name)
            if has_compact(layer):
                _check_type(path, layer)
                if not isinstance(function, ours):
                    setattr(layer, name, ours(function))
            elif isinstance(function, ours):
                setattr(layer, name, function.own)
    return network


def _check_type(path: Any, layer: Any) -> None:
    kind = layer.preferred_element_type or layer.dtype
    if kind is not None and jnp.dtype(kind) != jnp.float32:
        name = ".".join(map(str, path)) or "the network"
        raise ValueError(
            f"{name} computes in {jnp.dtype(kind).name}: compact layers of Flax compute in float32"
        )


@dataclass(frozen=True)
class _Promotion:
    """Flax's promotion of types, which knows arrays only; a compact kernel stays as it is."""

    own: Callable[..., Any]

    def __call__(self, operands: Any, **how: Any) -> Any:
        return operands if has_compact(operands) else self.own(operands, **how)


@dataclass(frozen=True)
class _Product:
    """A layer's own `lax.dot_general`, and x W where the kernel is compact."""

    own: Callable[..., Any]

    def __call__(self, x: Any, kernel: Any, *how: Any, **more: Any) -> Any:
        return x @ kernel if is_compact(kernel) else self.own(x, kernel, *how, **more)
