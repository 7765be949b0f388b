"""What a run's networks are and cost, from its settings and the environment's sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from mast.accounting.costs import (
    Account,
    Costs,
    Use,
    account,
    account_active,
    possible_counts,
)
from mast.accounting.tiny import Tiny, tiny_account, tiny_sizes
from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.configuration.checks import PRUNING
from mast.errors import UserError
from mast.networks.spec import Lacks, NetworkSpec, Sizes, TeamSizes
from mast.sparsity.allocation import active_counts_per_copy
from mast.sparsity.pattern_names import held_counts

FAR_DENSER = 1.1
"""A pattern's density over the one asked for, from which a run is told."""
MOST_NETWORKS = 10
"""Of SePS where K is not given: as many as its authors' code makes."""


def full_sizes(config: Config, team: TeamSizes) -> Sizes:
    """The sizes with the widths that the settings name; a tiny team's are narrower."""
    return Sizes(
        observation=team.observation,
        state=team.state,
        actions=team.actions,
        agents=team.agents,
        hidden_size=config.hidden_size,
        mixer_embed=config.mixer_embed,
        hypernet_hidden=config.hypernet_hidden,
        unrestricted_hidden=config.unrestricted_hidden,
        hidden_layers=config.hidden_layers,
        independent=config.sharing == "independent",
        agent_id=config.sharing in ("shared", "snp+id"),
        clusters=min(config.seps_clusters or MOST_NETWORKS, team.agents)
        if config.sharing == "seps"
        else None,
        lacks=_lacks(config, config.prune_ratio, "prune_ratio", team),
        critic_lacks=_lacks(config, config.critic_prune_ratio, "critic_prune_ratio", team),
    )


def densities_per_copy(config: Config, copies: int) -> tuple[float, ...] | None:
    """Where each of the stacked networks has a budget of its own: their densities; else None.

    Those of SePS are alike: until agents are shared out only one of them learns, and under one budget drop
    and growth would move the others' weights to it.
    """
    if config.sharing == "seps":
        return (1.0 if config.stays_dense else 1 - config.sparsity,) * copies
    return config.density_per_agent


def _lacks(
    config: Config, ratio: tuple[float, ...] | None, setting: str, team: TeamSizes
) -> Lacks | None:
    """What an agent lacks of a network; the ratio is left empty where the network's own default holds."""
    if config.sharing not in PRUNING:
        return None
    of: Literal["neurons", "weights"] = "weights" if config.sharing == "usnp" else "neurons"
    alike = config.sharing == "snp-nps"
    types = () if alike or of == "weights" else getattr(team, "type_features", ())
    return Lacks(ratio, of, alike, types, setting)


def sizes_of(config: Config, team: TeamSizes) -> Sizes:
    """What fixes the shapes of a run's networks.

    Raises:
        UserError: densities are given for another number of agents.
    """
    densities = config.density_per_agent
    if densities is not None and len(densities) != team.agents:
        shown = ",".join(str(density) for density in densities)
        raise UserError(
            f"density_per_agent = {shown}: must be {team.agents} numbers, one per agent"
        )
    return tiny_of(config, team).sizes if config.widths == "tiny" else full_sizes(config, team)


def tiny_of(config: Config, team: TeamSizes) -> Tiny:
    """The widths of the dense networks that have a sparse team's number of parameters."""
    entry = algorithm_entry(config.algorithm)
    return tiny_sizes(entry.networks, full_sizes(config, team), config.sparsity, config.allocation)


def account_of(config: Config, team: TeamSizes) -> Account:
    """Size and FLOPs of a run's networks (MAST, Appendix B.4)."""
    sizes = full_sizes(config, team)
    entry = algorithm_entry(config.algorithm)
    networks, uses = entry.networks(sizes), entry.uses(sizes, config.operator)
    if config.widths == "tiny":
        return tiny_account(entry.networks(tiny_of(config, team).sizes), networks, uses)
    sparsity = 0.0 if config.stays_dense else config.sparsity
    pattern = "unstructured" if config.stays_dense else config.pattern
    final = account(networks, uses, sparsity, config.allocation, pattern)
    densities = densities_per_copy(config, sizes.copies)
    if densities is not None:
        final = _with_density_per_agent(final, networks, uses, densities, config)
    if config.pruning == "none":
        return final
    # The cubic law's mean: all weights before it begins, a quarter of those still to go while it runs.
    begin, end = config.prune_begin_fraction, config.prune_end_fraction
    still_there = begin + (end - begin) / 4
    mean = {
        network.name: {
            layer.layer: round(layer.active + still_there * (layer.weights - layer.active))
            for layer in network.layers
        }
        for network in final.networks
    }
    return _with_training_of(final, account_active(networks, uses, mean))


def counts_per_copy(
    network: NetworkSpec, densities: Sequence[float], config: Config
) -> dict[str, list[int]]:
    """Active weights of each copy's layers where each has a budget of its own."""
    counts = active_counts_per_copy(network.shapes, densities, config.allocation)
    one = network._replace(copies=1)
    possible = possible_counts(one, "unstructured" if config.stays_dense else config.pattern)
    each = [
        held_counts({layer: copies[copy] for layer, copies in counts.items()}, possible)
        for copy in range(len(densities))
    ]
    return {layer: [copy[layer] for copy in each] for layer in counts}


def parameters_of_an_agent(config: Config, team: TeamSizes) -> float:
    """How many parameters of the acting network one agent uses, the mean over masks drawn by chance.

    Weights between neurons that it has, and their biases; the columns of ids are not counted, as they come to
    a bias (`mast export --agent`).
    """
    sizes = sizes_of(config, team)
    network = algorithm_entry(config.algorithm).networks(sizes)["agent"]
    layers = [each for each in account_of(config, team).layers if each.network == "agent"]
    hidden, pruned, used = network.hidden, network.pruned, 0.0
    for layer, counted in zip(network.layers, layers, strict=True):
        ids = 0 if layer.reads else sizes.id_input
        share = network.used(layer) * (layer.inputs - ids) / layer.inputs
        lacks = pruned.get(layer.makes, 0) / hidden.get(layer.makes, 1)
        used += counted.active / network.copies * share + layer.outputs * (1 - lacks)
    return used


def _with_density_per_agent(
    shared: Account,
    networks: Mapping[str, NetworkSpec],
    uses: Mapping[str, Use],
    densities: tuple[float, ...],
    config: Config,
) -> Account:
    """The account with the agents' own counts in the place of one budget."""
    active: dict[str, dict[str, int]] = {}
    for name, network in networks.items():
        if network.per_agent:
            active[name] = {
                layer: sum(each)
                for layer, each in counts_per_copy(network, densities, config).items()
            }
    for known in shared.networks:
        active.setdefault(known.name, {layer.layer: layer.active for layer in known.layers})
    return account_active(networks, uses, active)


def _with_training_of(final: Account, training: Account) -> Account:
    """An account whose training FLOPs are another's: those of the mean over a run that is pruned."""

    def merged(mine: Costs, other: Costs) -> Costs:
        return replace(mine, flops_train=other.flops_train)

    networks = tuple(
        replace(
            mine,
            layers=tuple(
                replace(layer, costs=merged(layer.costs, during.costs))
                for layer, during in zip(mine.layers, other.layers, strict=True)
            ),
            costs=merged(mine.costs, other.costs),
        )
        for mine, other in zip(final.networks, training.networks, strict=True)
    )
    return Account(networks, merged(final.costs, training.costs))


def size_notices(config: Config, team: TeamSizes) -> list[str]:
    """What is to be said about the sizes before training.

    How near a tiny team comes to the sparse one, and where a pattern's fewest weights are more than those
    asked for.
    """
    if config.widths != "tiny":
        return _floor_notice(config, team)
    tiny = tiny_of(config, team)
    networks = algorithm_entry(config.algorithm).networks(tiny.sizes).values()
    widths = dict.fromkeys(width for network in networks for width in network.widths)
    shown = ", ".join(f"{name} {getattr(tiny.sizes, name)}" for name in widths)
    counts = ", ".join(f"{n.name} {n.tiny:,} for {n.sparse:,}" for n in tiny.networks)
    return [f"tiny: parameters of {counts} of the sparse team ({shown})"]


def _floor_notice(config: Config, team: TeamSizes) -> list[str]:
    if config.stays_dense or config.pattern == "unstructured":
        return []
    asked = account_of(config.model_copy(update={"pattern": "unstructured"}), team).density
    held = account_of(config, team).density
    if held <= FAR_DENSER * asked:
        return []
    return [
        f"pattern {config.pattern}: density {held:.3g} instead of {asked:.2g}, as layers cannot have fewer "
        "weights with it"
    ]
