"""VDN: the team's value is the sum of the agents' (Sunehag et al. 2018)."""

from mast.algorithms.entry import AlgorithmEntry, pair_uses
from mast.algorithms.value.decomposition import ValueDecomposition
from mast.networks.mixers import SumMixer
from mast.networks.spec import recurrent_agent_spec, sum_mixer_spec

ENTRY = AlgorithmEntry(
    name="vdn",
    about="the team's value is the sum of the agents' (Sunehag et al. 2018)",
    algorithm=ValueDecomposition(lambda key, networks: SumMixer()),
    networks=lambda sizes: {
        "agent": recurrent_agent_spec(sizes),
        "mixer": sum_mixer_spec(sizes),
    },
    uses=pair_uses,
    compact_speedup=1.0,
)
