"""QMIX: the team's value is a monotonic function of the agents' (Rashid et al. 2018)."""

from mast.algorithms.entry import AlgorithmEntry, pair_uses
from mast.algorithms.value.decomposition import ValueDecomposition, monotonic_mixer
from mast.networks.spec import NetworkSpec, Sizes, monotonic_mixer_spec, recurrent_agent_spec


def monotonic_networks(sizes: Sizes) -> dict[str, NetworkSpec]:
    """An agent and a monotonic mixer."""
    return {"agent": recurrent_agent_spec(sizes), "mixer": monotonic_mixer_spec(sizes)}


ENTRY = AlgorithmEntry(
    name="qmix",
    about="the team's value is a monotonic function of the agents' (Rashid et al. 2018)",
    algorithm=ValueDecomposition(monotonic_mixer),
    networks=monotonic_networks,
    uses=pair_uses,
    compact_speedup=1.0,
)
