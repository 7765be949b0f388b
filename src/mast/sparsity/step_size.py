"""Steps that fit the density: updates of a sparse network are larger, as few weights share the work.

RMSProp and Adam move every weight by about the learning rate, whatever its gradient, so what one update does
to a neuron shrinks with the number of its weights. A learning rate that was tuned on dense networks is then
too small for sparse ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

EXPONENT = 0.77
CAP = 50.0


def density_factor(
    density: Float[ArrayLike, ""],
    exponent: Float[ArrayLike, ""] = EXPONENT,
    cap: Float[ArrayLike, ""] = CAP,
    annealed: Float[ArrayLike, ""] = 0.0,
    final: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, ""]:
    """What steps are multiplied by: min(cap, ρ^−exponent), exactly 1 for a dense network.

    Large steps learn fast and end noisy, so in the end they may go back to a dense network's: in a straight
    line from that factor to `final`.

    Args:
        density: ρ, share of active weights of all masked layers together; biases do not count.
        exponent: 0 leaves every step as it is.
        cap: the largest factor.
        annealed: how far they are on that line, from 0 to 1.
        final: the factor at its end.

    Source: measured (docs/experiments.md). SμPar (Dey, Bergsma and Hestness 2024, Table 1) has exponent 1,
    for static masks of many weights per neuron, and each layer by its own density; here that did worse.
    """
    grown = jnp.power(jnp.asarray(density, jnp.float32), -jnp.asarray(exponent, jnp.float32))
    factor = jnp.minimum(jnp.asarray(cap, jnp.float32), grown)
    return factor + jnp.asarray(annealed, jnp.float32) * (final - factor)


def scale_by_density(
    exponent: Float[ArrayLike, ""] = EXPONENT,
    cap: Float[ArrayLike, ""] = CAP,
    annealed: Float[ArrayLike, ""] = 0.0,
    final: Float[ArrayLike, ""] = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Multiplies all updates by `density_factor`, inside an optimizer that `sparse` wraps.

    In a chain it belongs behind what normalises by the gradient's size (RMSProp, Adam), where its place does
    not matter but for decoupled weight decay: before `optax.add_decayed_weights` the decay stays as it is.

    Args:
        exponent, cap, annealed, final: as in `density_factor`; may be data.
    """

    def update(
        updates: Any, state: optax.EmptyState, params: Any = None, **extra: Any
    ) -> tuple[Any, optax.EmptyState]:
        if "masks" not in extra:
            raise ValueError("scale_by_density works inside mast.sparsity.sparse or sparsify only")
        masks = extra["masks"].values()
        if not masks:
            return updates, state
        active = sum((mask.sum(dtype=jnp.float32) for mask in masks), start=jnp.float32(0))
        density = active / sum(mask.size for mask in masks)
        factor = density_factor(density, exponent, cap, annealed, final)
        return jax.tree.map(lambda leaf: (leaf * factor).astype(leaf.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
