"""Random arrays of many layers, drawn together: the same numbers from far fewer instructions to compile.

JAX's random numbers are the hash of a counter, so the n-th depends on the key and n alone, and a short
array is the beginning of a longer one (`jax_threefry_partitionable`, JAX's default).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped, UInt32

Keys = Key[Array, " arrays"] | UInt32[Array, "arrays 2"]

LARGEST = 2**16
"""Larger arrays are drawn one by one: those that are drawn together are all made as long as the longest."""


def uniforms(
    keys: Keys, sizes: Sequence[int], bounds: Float[np.ndarray, " arrays"]
) -> list[Shaped[Array, " entries"]]:
    """`jax.random.uniform(key, (size,), minval=-bound, maxval=bound)` of several keys."""

    def draw(key: Any, size: int, bound: Any) -> Array:
        return jax.random.uniform(key, (size,), minval=-bound, maxval=bound)

    return _draws(draw, keys, sizes, bounds)


def permutations(keys: Keys, sizes: Sequence[int]) -> list[Int[Array, " entries"]]:
    """`jax.random.permutation(key, size)` of several keys, all in the sorts of the longest.

    Source: JAX's `permutation`, which sorts a range by random numbers, twice where it has more than 1,625
    entries and equal numbers are likely.
    """
    small = _small(keys, sizes)
    found = {each: jnp.arange(sizes[each]) for each in small}
    rounds = {each: _rounds(sizes[each]) for each in small}
    left = keys
    for turn in range(max(rounds.values(), default=0)):
        pairs = jax.vmap(jax.random.split)(left)
        left, now = pairs[:, 0], np.array([each for each in small if rounds[each] > turn])
        bits = _draws(_bits, pairs[now, 1], [sizes[each] for each in now])
        found |= dict(zip(now, _sorted([found[each] for each in now], bits), strict=True))
    return [
        found[each] if each in found else jax.random.permutation(keys[each], size)
        for each, size in enumerate(sizes)
    ]


def _draws(
    draw: Callable[..., Shaped[Array, " entries"]], keys: Keys, sizes: Sequence[int], *numbers: Any
) -> list[Shaped[Array, " entries"]]:
    """`draw(key, size, *numbers)` of several keys; of each array, one of each of `numbers`."""
    small = _small(keys, sizes)
    found: dict[int, Array] = {}
    if small.size:
        longest = max(sizes[each] for each in small)
        rows = jax.vmap(lambda key, *own: draw(key, longest, *own))(
            keys[small], *(each[small] for each in numbers)
        )
        found = {each: row[: sizes[each]] for each, row in zip(small, rows, strict=True)}
    return [
        found[each] if each in found else draw(keys[each], size, *(own[each] for own in numbers))
        for each, size in enumerate(sizes)
    ]


def _small(keys: Keys, sizes: Sequence[int]) -> Int[np.ndarray, " small"]:
    """Which arrays are drawn together."""
    hashed = jax.config.values["jax_threefry_partitionable"]
    if not hashed or str(jax.random.key_impl(keys)) != "threefry2x32":
        return np.zeros(0, int)
    return np.flatnonzero(np.asarray(sizes) <= LARGEST)


def _bits(key: Any, size: int) -> UInt32[Array, " entries"]:
    return jax.random.bits(key, (size,))


def _sorted(values: Sequence[Array], by: Sequence[Array]) -> list[Array]:
    """Each array in the order of the numbers beside it, in one sort."""
    sizes = [each.size for each in values]
    array = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    operands = (jnp.asarray(array), jnp.concatenate(by), jnp.concatenate(values))
    ordered = jax.lax.sort(operands, num_keys=2, is_stable=True)[2]
    return jnp.split(ordered, np.cumsum(sizes)[:-1])


def _rounds(size: int) -> int:
    return int(np.ceil(3 * np.log(max(1, size)) / np.log(np.iinfo(np.uint32).max)))
