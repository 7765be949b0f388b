"""How much changes at which time: drop fractions, and the counts of gradual magnitude pruning.

Steps are in any unit (updates, env steps) as long as all of a call are in the same one.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mast.sparsity.masks import Masks

Number = Float[Array, "..."] | Int[Array, "..."] | float | int
DropSchedule = Callable[[Number, Number, Number], Float[Array, "..."]]
"""From ζ_0, the step and the total number of steps to ζ_t."""


def cosine_drop_fraction(initial: Number, step: Number, total: Number) -> Float[Array, "..."]:
    """ζ_t = ζ_0/2 · (1 + cos(π t / T_end)); 0 from T_end on (MAST §4.1; RigL's, Evci et al. 2020)."""
    return 0.5 * initial * (1.0 + jnp.cos(jnp.pi * _progress(step, total)))


def constant_drop_fraction(initial: Number, step: Number, total: Number) -> Float[Array, "..."]:
    """ζ_t = ζ_0 at all times, after T_end too (SET, Mocanu et al. 2018)."""
    return initial * jnp.ones_like(_progress(step, total))


def linear_drop_fraction(initial: Number, step: Number, total: Number) -> Float[Array, "..."]:
    """ζ_t = ζ_0 (1 − t / T_end); 0 from T_end on (Evci et al. 2020, Appendix G: inverse power, k = 1)."""
    return initial * (1.0 - _progress(step, total))


SCHEDULES: dict[str, DropSchedule] = {
    "cosine": cosine_drop_fraction,
    "linear": linear_drop_fraction,
    "constant": constant_drop_fraction,
}
"""Drop fractions over time, by name. A number of a schedule is its place here."""


def schedule_by_number(
    number: Int[Array, ""] | int, schedules: Sequence[DropSchedule]
) -> DropSchedule:
    """The schedule at that place, which may be data.

    Args:
        number: a place in `schedules`.
        schedules: to choose from.
    """

    def drop_fraction(initial: Number, step: Number, total: Number) -> Float[Array, "..."]:
        each = [jnp.asarray(of(initial, step, total), jnp.float32) for of in schedules]
        return jax.lax.select_n(jnp.asarray(number, jnp.int32), *each)

    return drop_fraction


def cubic_density(
    final: Number, step: Number, begin: Number, end: Number, initial: Number = 1.0
) -> Float[Array, "..."]:
    """Density of gradual magnitude pruning: falls fast first, ever more slowly towards the end.

    s_t = s_f + (s_i − s_f)(1 − (t − t_0)/(t_1 − t_0))³ for sparsities s = 1 − density; before t_0 it is
    the initial one and from t_1 on the final one.

    Args:
        final, initial: densities at the end and at the beginning.
        step, begin, end: t, t_0 and t_1.

    Source: Zhu and Gupta 2017, eq. 1.
    """
    return final + (initial - final) * _still_to_prune(step, begin, end)


def cubic_count(
    weights: int, final: Int[Array, "..."] | int, step: Number, begin: Number, end: Number
) -> Int[Array, "..."]:
    """Active weights of a layer at a time, by `cubic_density`: all before `begin`, `final` from `end` on.

    Args:
        weights: size of the layer.
        final: its active weights in the end.
        step, begin, end: as in `cubic_density`.
    """
    share = _still_to_prune(step, begin, end)
    count = final + jnp.round((weights - final) * share).astype(jnp.int32)
    # Float32 holds no count above 2²⁴ exactly, so the first one is set and the others are bounded.
    return jnp.where(share >= 1.0, weights, jnp.minimum(count, weights))


def pruning_counts(
    masks: Masks, final: Mapping[str, int], step: Number, begin: Number, end: Number
) -> dict[str, Int[Array, ""]]:
    """`cubic_count` of each layer, as `evolve` takes it for `active`.

    With a drop fraction of zero and masks of ones at the start that is gradual magnitude pruning.

    Args:
        masks: the layers.
        final: active weights in the end by leaf path, for example of `sparse_counts`.
        step, begin, end: as in `cubic_density`.
    """
    return {
        name: cubic_count(masks[name].size, count, step, begin, end)
        for name, count in final.items()
    }


def _progress(step: Number, total: Number) -> Float[Array, "..."]:
    return jnp.clip(jnp.asarray(step, jnp.float32) / total, 0.0, 1.0)


def _still_to_prune(step: Number, begin: Number, end: Number) -> Float[Array, "..."]:
    """(1 − (t − t_0)/(t_1 − t_0))³, from exactly 1 to exactly 0; a step where t_0 = t_1."""
    step, begin, end = (jnp.asarray(each, jnp.float32) for each in (step, begin, end))
    duration = jnp.where(end > begin, end - begin, 1.0)
    progress = jnp.clip((step - begin) / duration, 0.0, 1.0)
    return jnp.where(step >= end, 0.0, (1.0 - progress) ** 3)
