"""Settings of the networks and of which weights they have."""

from typing import Literal

from pydantic import BaseModel

from mast.configuration.settings.declaration import named, setting
from mast.sparsity.pattern_names import NAME_PATTERN as PATTERN_EXPRESSION
from mast.sparsity.pattern_names import NAMES as PATTERN_NAMES

NETWORK = "networks"
TOPOLOGY = "sparse topology"


class NetworkSettings(BaseModel):
    """Widths, sharing and first weights."""

    hidden_size: int = setting(
        64,
        NETWORK,
        "width of the agent's first layer and of its GRU",
        "MAST Table 5",
        ge=1,
        le=65_536,
    )
    mixer_embed: int = setting(
        32, NETWORK, "width of the mixing layer", "MAST Table 5", ge=1, le=65_536
    )
    hypernet_hidden: int = setting(
        64, NETWORK, "width of the mixer's hypernetworks", "MAST Table 5", ge=1, le=65_536
    )
    unrestricted_hidden: int = setting(
        256, NETWORK, "width of the unrestricted mixer (owqmix, cwqmix)", "WQMIX", ge=1, le=65_536
    )
    widths: Literal["full", "tiny"] = setting(
        "full",
        NETWORK,
        "the widths above, or dense networks scaled down to the parameter count of sparse ones",
        "MAST §5",
    )
    hidden_layers: int = setting(
        3, NETWORK, "hidden layers of feed-forward actors and critics", "SNP-PS §5.1", ge=1, le=64
    )
    sharing: Literal[
        "shared", "fups", "seps", "snp", "snp+id", "usnp", "snp-nps", "independent"
    ] = setting(
        "shared",
        NETWORK,
        "whose parameters an agent uses: shared (or fups+id) one network that reads the agent's id; fups "
        "without id; seps one of seps_clusters networks; snp, snp+id one without the neurons that it lacks; "
        "usnp without random weights; snp-nps without the same neurons for all; independent its own",
        "MAST, agent roles; SNP-PS",
    )
    prune_ratio: tuple[float, ...] | None = setting(
        None,
        NETWORK,
        "share of each hidden layer that an agent lacks under snp and usnp, such as 0-0.1-0.9; none = 0-0.1 "
        "of a recurrent agent, 0-0.1-0.1 of an actor",
        "SNP-PS §5.1",
    )
    critic_prune_ratio: tuple[float, ...] | None = setting(
        None, NETWORK, "the same of the critic; none = 0-0.1-0.9", "SNP-PS §5.1"
    )
    seps_clusters: int | None = setting(
        3,
        NETWORK,
        "networks that the agents share out under seps, K; none = as many as give the smallest "
        "Davies–Bouldin index, at most 10",
        "SNP-PS §5.1",
        ge=1,
        le=1000,
    )
    seps_steps: int = setting(
        200_000,
        NETWORK,
        "seps: environment steps with one network for all, from which agents are told apart",
        "SNP-PS §5.1",
        ge=1,
        le=10**12,
    )
    initial_weights: Literal["fresh", "initial", "final"] = setting(
        "fresh",
        NETWORK,
        "drawn from the seed, or those that --from's run began with or ended with",
        "our choice",
    )
    init_scale: Literal["dense", "sparse"] = setting(
        "dense",
        NETWORK,
        "initial range 1/√fan_in, with the fan-in of the dense layer or of the active weights",
        "our choice",
    )


class TopologySettings(BaseModel):
    """Which weights exist, and how that changes."""

    allocation: Literal["erdos_renyi", "uniform"] = setting(
        "erdos_renyi", TOPOLOGY, "how the density is shared out among the layers", "MAST §4.1"
    )
    pattern: str = named(
        "unstructured",
        PATTERN_NAMES,
        TOPOLOGY,
        "which weights may be active together: any; as many in each row (fan-in); N of M inputs, n:16 with N "
        "by the sparsity; whole blocks such as block-4x4; whole neurons. Evolution keeps it",
        "SRigL; ours",
        own="pattern",
        expression=PATTERN_EXPRESSION,
    )
    initial_mask: Literal["random", "largest", "run", "ones"] = setting(
        "random",
        TOPOLOGY,
        "first active weights: random, the largest of the initial weights (RLx2), those that are active "
        "at the end of --from's run, or all",
        "our choice",
    )
    density_per_agent: tuple[float, ...] | None = setting(
        None,
        TOPOLOGY,
        "with sharing = independent, fixed densities such as 0.14,0.06,0.06; none = one budget for "
        "all, so that each agent's density emerges",
        "MAST, agent roles",
    )
    evolve_interval: int = setting(
        200, TOPOLOGY, "updates between two topology evolutions, Δ", "MAST Table 5", ge=1, le=10**9
    )
    drop_fraction: float = setting(
        0.5,
        TOPOLOGY,
        "share of a layer's active weights dropped at first, ζ_0; falls to 0 by drop_schedule",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    drop_schedule: str = named(
        "cosine",
        ("cosine", "linear", "constant"),
        TOPOLOGY,
        "how ζ falls to 0 by the end of training, or stays (SET)",
        "MAST §4.1",
    )
    drop: str = named(
        "magnitude",
        ("magnitude", "random", "sensitivity"),
        TOPOLOGY,
        "which weights are dropped: the smallest, any, or those of smallest |weight × gradient|",
        "RigL, SET; SNIP",
    )
    growth: str = named(
        "none",
        ("gradient", "random", "relative_gradient", "none"),
        TOPOLOGY,
        "where weights grow: at the largest gradients, anywhere, or at the largest for their row and column "
        "(what gradient methods do with patterns fan-in, n:M, N:M and block-RxC, where no preset is named); "
        "none = the mask stays",
        "RigL, SET; ours",
    )
    pruning: Literal["none", "cubic"] = setting(
        "none",
        TOPOLOGY,
        "from the initial mask down to the sparsity by a cubic law",
        "Zhu & Gupta",
    )
    prune_begin_fraction: float = setting(
        0.1, TOPOLOGY, "share of the steps after which pruning begins", "ours", ge=0, le=1
    )
    prune_end_fraction: float = setting(
        0.75,
        TOPOLOGY,
        "share of the steps after which it has ended",
        "ours; RigL's T_end",
        gt=0,
        le=1,
    )
    grown_state: Literal["grad", "zero", "mean", "keep"] = setting(
        "grad",
        TOPOLOGY,
        "second moment of a grown weight: its squared gradient, zero (a first step ~10 × the "
        "learning rate), the layer's mean, or what was left there (RLx2)",
        "our choice",
    )
    evolve_order: Literal["after", "replace"] = setting(
        "after",
        TOPOLOGY,
        "evolution after the optimizer step (MAST Algorithm 2) or in its place (RigL, RLx2)",
        "our choice",
    )
