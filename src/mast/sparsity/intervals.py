"""Evolve now and then, without bookkeeping in the training loop."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mast.sparsity.compacting import masked
from mast.sparsity.topology import Evolution


def every(
    interval: int, evolve: Callable[..., tuple[Any, Any, Evolution]]
) -> Callable[..., tuple[Any, Any, Evolution | None]]:
    """A function that evolves at every `interval`-th step and does nothing at the others.

    It is called at each step, on the host: `model, state, done = evolve(model, state, gradient, step=step,
    total=total, key=key)`. Steps count from 0, so the first evolution is at step `interval` − 1. `key` may be
    the same at all steps. `done` is None where nothing was done. The evolution is compiled once.

    Args:
        interval: steps from one evolution to the next.
        evolve: `SparseOptimizer.evolve`, or a function with its arguments.

    Where `gradient` is a function it is called only when it is needed, with the model (of a compact network:
    with the masked one). So a gradient that the training step does not give costs nothing at other steps.

    Raises:
        ValueError: the interval is below 1.
    """
    if interval < 1:
        raise ValueError(f"interval is {interval}: must be at least 1")
    compiled = eqx.filter_jit(evolve)

    def now_and_then(
        model: Any,
        state: Any,
        gradient: Any,
        *,
        step: int,
        total: float | int,
        key: PRNGKeyArray,
        **plugs: Any,
    ) -> tuple[Any, Any, Evolution | None]:
        if (step + 1) % interval:
            return model, state, None
        # A module's gradient may be callable as the module is, but it has arrays.
        if callable(gradient) and not any(map(eqx.is_array, jax.tree.leaves(gradient))):
            gradient = gradient(masked(model))
        # Arrays: a Python number would be compiled into the program, a new one for each.
        numbers = {"step": jnp.asarray(step), "total": jnp.asarray(total)}
        own_key = jax.random.fold_in(key, step)
        return compiled(model, state, gradient, **numbers, key=own_key, **plugs)

    return now_and_then
