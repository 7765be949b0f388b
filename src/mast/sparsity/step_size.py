"""Steps that fit the density: an update of a sparse layer is made larger, as few weights share the work.

RMSProp and Adam move every weight by about the learning rate, whatever its gradient, so what one update does
to a neuron shrinks with the number of its weights. A learning rate that was tuned on dense networks is then
too small for sparse ones.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from mast.sparsity.masks import leaf_path


class StepRule(NamedTuple):
    """How updates grow as density ρ falls: by min(cap, ρ^−exponent). All may be data, as under vmap.

    Source: SμPar (Dey, Bergsma and Hestness 2024, Table 1) has exponent 1 and ρ by layer, for static masks;
    why the defaults differ is measured in docs/experiments.md.
    """

    exponent: Float[ArrayLike, ""] = 0.77
    """0 leaves every update as it is."""
    cap: Float[ArrayLike, ""] = 50.0
    by_layer: Bool[ArrayLike, ""] = False
    """ρ of each weight matrix by itself, or else of all that have a mask together."""
    with_dense: Bool[ArrayLike, ""] = True
    """Whether what has no mask (biases) takes part, by layer with the matrix beside it."""


class Count(NamedTuple):
    """Active weights of a layer, and all it could have."""

    active: Float[ArrayLike, ""]
    size: int


class StepFactors(NamedTuple):
    """What updates are multiplied by; exactly 1 at density 1."""

    masked: dict[str, Float[Array, ""]]
    """Of each leaf that has a mask, by leaf path."""
    beside: dict[str, Float[Array, ""]]
    """Of what lies beside such a leaf, by the path of the node that holds both."""
    elsewhere: Float[Array, ""]


def step_factors(counts: Mapping[str, Count], rule: StepRule) -> StepFactors:
    """The factor of each layer's updates.

    Args:
        counts: of each leaf that has a mask, by leaf path.
        rule: which factor belongs to which density.
    """

    def factor(density: Float[ArrayLike, ""]) -> Float[Array, ""]:
        grown = jnp.power(jnp.asarray(density, jnp.float32), -jnp.asarray(rule.exponent))
        return jnp.minimum(rule.cap, grown).astype(jnp.float32)

    active = sum((count.active for count in counts.values()), start=jnp.float32(0))
    whole = factor(active / sum(count.size for count in counts.values()))
    masked = {
        name: jnp.where(rule.by_layer, factor(count.active / count.size), whole)
        for name, count in counts.items()
    }
    beside = {
        _parent(name): jnp.where(rule.with_dense, factor, 1.0) for name, factor in masked.items()
    }
    return StepFactors(masked, beside, jnp.where(rule.with_dense, whole, 1.0))


def scale_by_density(rule: StepRule | None = None) -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by `step_factors`, inside an optimizer that `sparse` wraps (it gives the masks).

    In a chain it belongs behind what normalises by the gradient's size (RMSProp, Adam), where its place does
    not matter but for decoupled weight decay: before `optax.add_decayed_weights` the decay stays as it is.

    Args:
        rule: defaults where None.
    """
    rule = StepRule() if rule is None else rule

    def update(
        updates: Any, state: optax.EmptyState, params: Any = None, **extra: Any
    ) -> tuple[Any, optax.EmptyState]:
        if "masks" not in extra:
            raise ValueError("scale_by_density works inside mast.sparsity.sparse or sparsify only")
        counts = {
            name: Count(mask.sum(dtype=jnp.float32), mask.size)
            for name, mask in extra["masks"].items()
        }
        factors = step_factors(counts, rule)

        def scaled(path: tuple[Any, ...], leaf: Any) -> Any:
            name = leaf_path(path)
            factor = factors.masked.get(name)
            if factor is None:
                factor = factors.beside.get(_parent(name), factors.elsewhere)
            return (leaf * factor).astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(scaled, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def _parent(name: str) -> str:
    """The path of the node that holds a leaf."""
    return name.rpartition(".")[0]
