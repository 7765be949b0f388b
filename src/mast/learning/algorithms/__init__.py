"""Algorithms by name. One more value decomposition is one new file and one line here."""

from mast.learning.algorithms.res import RegularizedSoftmax
from mast.learning.algorithms.value_decomposition import (
    Algorithm,
    ValueDecomposition,
    monotonic_mixer,
)
from mast.learning.algorithms.weighted import WeightedQmix, is_best_or_better, is_underestimated
from mast.networks.mixers import IndependentMixer, SumMixer

ALGORITHMS: dict[str, Algorithm] = {
    "iql": ValueDecomposition(lambda key, sizes: IndependentMixer()),
    "vdn": ValueDecomposition(lambda key, sizes: SumMixer()),
    "qmix": ValueDecomposition(monotonic_mixer),
    "owqmix": WeightedQmix(is_underestimated),
    "cwqmix": WeightedQmix(is_best_or_better),
    "res": RegularizedSoftmax(),
}
