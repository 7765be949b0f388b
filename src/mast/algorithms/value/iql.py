"""IQL: each agent learns its own action values from the team's reward (Tan 1993)."""

from mast.accounting.costs import Use
from mast.algorithms.entry import AlgorithmEntry
from mast.algorithms.value.decomposition import ValueDecomposition
from mast.networks.mixers import IndependentMixer
from mast.networks.spec import recurrent_agent_spec

ENTRY = AlgorithmEntry(
    name="iql",
    about="each agent learns its own values; there is no joint one (Tan 1993)",
    algorithm=ValueDecomposition(lambda key, networks: IndependentMixer()),
    networks=lambda sizes: {"agent": recurrent_agent_spec(sizes)},
    uses=lambda sizes, operator: {"agent": Use(2, training=4, inference=1)},
    compact_speedup=1.0,
)
