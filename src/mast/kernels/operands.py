"""Layers as the operands of native calls: values, bias, row pointers, columns of one after the other."""

from collections.abc import Sequence
from typing import Any

import jax

from mast.kernels.networks import SparseLinear

Floats = tuple[jax.Array, ...]
"""values, bias, values, bias, …: what has a gradient."""
Structure = tuple[jax.Array, ...]
"""row pointers, columns, row pointers, columns, …"""


def split(layers: Sequence[SparseLinear]) -> tuple[Floats, Structure]:
    """What has a gradient and what has none, apart."""
    floats = [part for layer in layers for part in (layer.weight.values, layer.bias)]
    structure = [
        part for layer in layers for part in (layer.weight.row_pointers, layer.weight.columns)
    ]
    return tuple(floats), tuple(structure)


def join(floats: Floats, structure: Structure) -> tuple[Any, ...]:
    """The operands of a native call: four for each layer."""
    return tuple(
        part
        for i in range(0, len(floats), 2)
        for part in (*floats[i : i + 2], *structure[i : i + 2])
    )
