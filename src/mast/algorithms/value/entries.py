"""The value-based algorithms, declared without JAX; their losses stand in the files beside."""

from mast.accounting.costs import Use
from mast.algorithms.entry import AlgorithmEntry, pair_uses
from mast.networks.spec import (
    NetworkSpec,
    Sizes,
    duplex_mixer_spec,
    feed_forward_mixer_spec,
    monotonic_mixer_spec,
    recurrent_agent_spec,
    sum_mixer_spec,
)

_HERE = "mast.algorithms.value"


def monotonic_networks(sizes: Sizes) -> dict[str, NetworkSpec]:
    """QMIX's: an agent and a monotonic mixer."""
    return {"agent": recurrent_agent_spec(sizes), "mixer": monotonic_mixer_spec(sizes)}


def weighted_networks(sizes: Sizes) -> dict[str, NetworkSpec]:
    """QMIX's pair, and an unrestricted one."""
    return monotonic_networks(sizes) | {
        "unrestricted_agent": recurrent_agent_spec(sizes),
        "unrestricted_mixer": feed_forward_mixer_spec(sizes),
    }


def _weighted_uses(unrestricted_mixer_passes: int) -> dict[str, Use]:
    """Targets come from the unrestricted pair, so the restricted one has no target copy and three passes."""
    return {
        "agent": Use(1, training=3, inference=1),
        "mixer": Use(1, training=3),
        "unrestricted_agent": Use(2, training=4),
        "unrestricted_mixer": Use(2, training=unrestricted_mixer_passes),
    }


def joint_uses(sizes: Sizes, operator: str) -> dict[str, Use]:
    """Online and target mixer are evaluated on the n·m joint actions: 3 + 2nm passes; else as QMIX.

    Source: MAST eq. 25; its Table 6 prints 5 + nm, which misses Table 1's cell of 3m.
    """
    joint = 3 + 2 * sizes.agents * sizes.actions
    passes = joint if operator == "res_softmax" else 4
    return {"agent": Use(2, training=4, inference=1), "mixer": Use(2, training=passes)}


IQL = AlgorithmEntry(
    name="iql",
    about="each agent learns its own values from the team's reward (Tan 1993)",
    implementation=f"{_HERE}.decomposition:IQL",
    networks=lambda sizes: {"agent": recurrent_agent_spec(sizes)},
    uses=lambda sizes, operator: {"agent": Use(2, training=4, inference=1)},
    compact_speedup=1.0,
)
VDN = AlgorithmEntry(
    name="vdn",
    about="the team's value is the sum of the agents' (Sunehag et al. 2018)",
    implementation=f"{_HERE}.decomposition:VDN",
    networks=lambda sizes: {
        "agent": recurrent_agent_spec(sizes),
        "mixer": sum_mixer_spec(sizes),
    },
    uses=pair_uses,
    compact_speedup=1.0,
)
QMIX = AlgorithmEntry(
    name="qmix",
    about="the team's value is a monotonic function of the agents' (Rashid et al. 2018)",
    implementation=f"{_HERE}.decomposition:QMIX",
    networks=monotonic_networks,
    uses=pair_uses,
    compact_speedup=1.0,
)
OWQMIX = AlgorithmEntry(
    name="owqmix",
    about="QMIX that an unrestricted value teaches, more where it is too low (Rashid et al. 2020)",
    implementation=f"{_HERE}.weighted:OPTIMISTIC",
    networks=weighted_networks,
    uses=lambda sizes, operator: _weighted_uses(4),
    compact_speedup=0.8,
    defaults={"epsilon_steps": 100_000, "td_lambda": 0.6},
)
# The paper has no CW-QMIX: OW-QMIX and one more pass of the unrestricted target mixer, for Q̂* at the greedy
# actions (the target utilities come from the same pass over the sequence).
CWQMIX = AlgorithmEntry(
    name="cwqmix",
    about="QMIX that an unrestricted value teaches, more at the best actions (Rashid et al. 2020)",
    implementation=f"{_HERE}.weighted:CENTRAL",
    networks=weighted_networks,
    uses=lambda sizes, operator: _weighted_uses(5),
    compact_speedup=0.8,
    defaults={"epsilon_steps": 100_000, "td_lambda": 0.6},
)
QPLEX = AlgorithmEntry(
    name="qplex",
    about="advantages weighed by state and joint action (Wang et al. 2021); masked only",
    implementation=f"{_HERE}.qplex:QPLEX",
    networks=lambda sizes: {
        "agent": recurrent_agent_spec(sizes),
        "mixer": duplex_mixer_spec(sizes),
    },
    uses=pair_uses,
)
RES = AlgorithmEntry(
    name="res",
    about="QMIX with a softmax over joint actions and a pull to the return (Pan et al. 2021)",
    implementation=f"{_HERE}.res:RES",
    networks=monotonic_networks,
    uses=joint_uses,
    compact_speedup=0.8,
    defaults={"operator": "res_softmax"},
    mast_defaults={"operator": "res_softmax"},
)
ENTRIES = (IQL, VDN, QMIX, OWQMIX, CWQMIX, QPLEX, RES)
