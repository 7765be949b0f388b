"""How many weights each layer keeps: the split of one network's sparsity over its layers.

Pure Python, so that a sparsity can be refused before JAX is imported. The names of the layers are
the caller's; both GRU matrices are layers of their own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mast.errors import UserError


@dataclass(frozen=True)
class LayerShape:
    """A weight matrix, `outputs` × `inputs`, biases not counted; or `copies` of it, one per agent."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1

    @property
    def sum_of_axes(self) -> int:
        """Erdős–Rényi's measure of a layer: inputs + outputs, of each copy."""
        return self.copies * (self.inputs + self.outputs)

    @property
    def weights(self) -> int:
        """Number of entries of the matrix."""
        return self.copies * self.inputs * self.outputs


@dataclass(frozen=True)
class TensorShape:
    """A weight with any number of axes, such as a convolution's kernel."""

    name: str
    dimensions: tuple[int, ...]

    @property
    def sum_of_axes(self) -> int:
        """Erdős–Rényi's measure of a layer; the order of the axes does not matter."""
        return sum(self.dimensions)

    @property
    def weights(self) -> int:
        """Number of entries."""
        return math.prod(self.dimensions)


Layers = Sequence[LayerShape | TensorShape]


def erdos_renyi(layers: Layers, sparsity: float) -> dict[str, float]:
    """Erdős–Rényi densities: a layer's active weights are in proportion to inputs + outputs.

    density_l = min(1, ε (I_l + O_l) / (I_l O_l)) with ε such that the active weights of all layers
    together are exactly (1 − sparsity) Σ I_l O_l. A layer with more than two axes counts the sum of
    all of them over their product (the "Erdős–Rényi-kernel").

    Args:
        layers: the weights of one network, with different names.
        sparsity: share of all weights that are zero, in [0, 1).

    Returns:
        Density of each layer, in (0, 1], in the order of `layers`; real-valued (before rounding).

    Raises:
        UserError: the sparsity is outside [0, 1).
        ValueError: two layers have one name.

    Source: Mocanu et al. 2018 (SET), which MAST follows; rounds and kernels are RigL's (Evci et al. 2020).
    """
    _check(layers, sparsity)
    if sparsity == 0.0:
        return {layer.name: 1.0 for layer in layers}  # not 1 ± a rounding error
    budget = (1.0 - sparsity) * sum(layer.weights for layer in layers)
    uncapped = list(layers)
    epsilon = 0.0
    # Each round makes every layer that passes 1 dense and solves for the rest. That the layers of
    # a round go together does not matter: capping takes nothing from ε, it only grows from round
    # to round, so a layer that passes 1 once would pass it at the final ε too.
    while uncapped:
        epsilon = budget / sum(layer.sum_of_axes for layer in uncapped)
        full = [layer for layer in uncapped if epsilon * _erdos_renyi_rate(layer) > 1.0]
        if not full:
            break
        budget -= sum(layer.weights for layer in full)
        uncapped = [layer for layer in uncapped if layer not in full]
    return {layer.name: min(1.0, epsilon * _erdos_renyi_rate(layer)) for layer in layers}


def uniform(layers: Layers, sparsity: float) -> dict[str, float]:
    """The same density, 1 − sparsity, for every layer.

    Args, raises and result as in `erdos_renyi`.

    Source: the "uniform" of Evci et al. 2020 (RigL), Section 3, here without a dense first layer.
    """
    _check(layers, sparsity)
    return {layer.name: 1.0 - sparsity for layer in layers}


ALLOCATIONS: dict[str, Callable[[Layers, float], dict[str, float]]] = {
    "erdos_renyi": erdos_renyi,
    "uniform": uniform,
}


def allocate(layers: Layers, sparsity: float, allocation: str = "erdos_renyi") -> dict[str, float]:
    """Densities by the allocation of that name; see `ALLOCATIONS`.

    Raises:
        UserError: the allocation is unknown, or the sparsity is outside [0, 1).
    """
    if allocation not in ALLOCATIONS:
        raise UserError(f"allocation {allocation!r} is unknown: one of {', '.join(ALLOCATIONS)}")
    return ALLOCATIONS[allocation](layers, sparsity)


def active_counts(layers: Layers, densities: Mapping[str, float]) -> dict[str, int]:
    """Number of active weights of each layer, n_l = round(density · weights), at least 1.

    The rounding is Python's: halves go to the even neighbour. These counts never change while
    training; their sum differs from the network's budget by at most half a weight per layer, and
    by what layers rounded up to 1 add.

    Args:
        layers: the weights of one network.
        densities: density of each layer by name, in [0, 1].

    Raises:
        ValueError: a density is outside [0, 1].
    """
    counts = {}
    for layer in layers:
        density = densities[layer.name]
        if not 0.0 <= density <= 1.0:
            raise ValueError(f"density of {layer.name} is {density}, not in [0, 1]")
        counts[layer.name] = max(1, round(density * layer.weights))
    return counts


def _erdos_renyi_rate(layer: LayerShape | TensorShape) -> float:
    return layer.sum_of_axes / layer.weights


def _check(layers: Layers, sparsity: float) -> None:
    if not 0.0 <= sparsity < 1.0:  # False for NaN too
        raise UserError(f"sparsity is {sparsity}: it must be at least 0 and below 1")
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"two layers have one name: {', '.join(repeated)}")
