"""What a run's networks cost, from its settings and the environment's sizes. Imports no JAX."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

from mast.config import Config
from mast.sparsity.accounting import (
    Account,
    Costs,
    account,
    account_active,
)
from mast.sparsity.allocation import active_counts_per_copy
from mast.sparsity.team_networks import (
    Dimensions,
    Widths,
    algorithm_networks,
)
from mast.sparsity.tiny import Tiny, tiny_account, tiny_widths


@runtime_checkable
class TeamSizes(Protocol):
    """What must be known of an environment; `EnvironmentSpec` has all of it."""

    @property
    def observation(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def actions(self) -> int: ...
    @property
    def agents(self) -> int: ...


def account_of(config: Config, team: TeamSizes) -> Account:
    """Size and FLOPs of a run's networks (MAST, Appendix B.4)."""
    dimensions, widths = _dimensions(team), full_widths(config)
    algorithm, independent = _counted_as(config), config.sharing == "independent"
    if config.widths == "tiny":
        tiny = tiny_of(config, team).widths
        return tiny_account(dimensions, algorithm, tiny, widths, independent)
    sparsity = 0.0 if config.stays_dense else config.sparsity
    final = account(dimensions, algorithm, sparsity, config.allocation, widths, independent)
    if config.density_per_agent is not None:
        return _with_density_per_agent(final, dimensions, config.density_per_agent, config)
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
    training = account_active(dimensions, algorithm, mean, widths, independent)
    return _with_training_of(final, training)


def _counted_as(config: Config) -> str:
    """The algorithm whose passes are counted: RES without its joint operator makes QMIX's."""
    joint = config.algorithm != "res" or config.operator == "res_softmax"
    return config.algorithm if joint else "qmix"


def _with_density_per_agent(
    shared: Account, dimensions: Dimensions, densities: tuple[float, ...], config: Config
) -> Account:
    """The account with the agents' own counts in the place of one budget."""
    widths, algorithm = full_widths(config), _counted_as(config)
    active: dict[str, dict[str, int]] = {}
    for network in algorithm_networks(dimensions, algorithm, widths, independent=True):
        if network.layers and network.layers[0].shape.copies > 1:
            counts = active_counts_per_copy(network.shapes, densities, config.allocation)
            active[network.name] = {name: sum(each) for name, each in counts.items()}
    for known in shared.networks:
        active.setdefault(known.name, {layer.layer: layer.active for layer in known.layers})
    return account_active(dimensions, algorithm, active, widths, independent=True)


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


def tiny_of(config: Config, team: TeamSizes) -> Tiny:
    """The widths of the dense networks that have a sparse team's number of parameters."""
    return tiny_widths(
        _dimensions(team),
        config.algorithm,
        config.sparsity,
        config.allocation,
        full_widths(config),
        config.sharing == "independent",
    )


def size_notices(config: Config, team: TeamSizes) -> list[str]:
    """What is to be said about the sizes before training: how near a tiny team comes."""
    if config.widths != "tiny":
        return []
    tiny = tiny_of(config, team)
    widths = ", ".join(f"{name} {value}" for name, value in vars(tiny.widths).items())
    counts = ", ".join(f"{n.name} {n.tiny:,} for {n.sparse:,}" for n in tiny.networks)
    return [f"tiny: parameters of {counts} of the sparse team ({widths})"]


def _dimensions(team: TeamSizes) -> Dimensions:
    return Dimensions(team.observation, team.state, team.actions, team.agents)


def full_widths(config: Config) -> Widths:
    """The widths that the settings name; a tiny team's are narrower."""
    return Widths(
        hidden=config.hidden_size,
        mixer_embed=config.mixer_embed,
        hyper_hidden=config.hypernet_hidden,
        unrestricted_hidden=config.unrestricted_hidden,
    )
