"""Algorithms by name. One more value decomposition is one new file and one line here."""

from mast.learning.algorithms.value_decomposition import ValueDecomposition
from mast.networks.mixers import IndependentMixer, SumMixer, q_mixer

ALGORITHMS = {
    "iql": ValueDecomposition(lambda key, sizes: IndependentMixer()),
    "vdn": ValueDecomposition(lambda key, sizes: SumMixer()),
    "qmix": ValueDecomposition(
        lambda key, sizes: q_mixer(
            key, sizes.state, sizes.agents, sizes.mixer_embed, sizes.hypernet_hidden
        )
    ),
}
