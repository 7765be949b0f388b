"""The "tiny" baseline: dense networks, narrower, with as many parameters as sparse ones have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mast.sparsity.accounting import (
    Account,
    Cost,
    Costs,
    NetworkAccount,
    account,
    parameters,
)
from mast.sparsity.team_networks import (
    PYMARL_WIDTHS,
    Dimensions,
    Network,
    Widths,
    algorithm_networks,
)

_FACTORS = 2000
"""Factors that are tried: finer than any width that rounding could tell apart."""


@dataclass(frozen=True)
class TinyNetwork:
    """One network's parameters, biases included: of the sparse one, and of the narrow one."""

    name: str
    sparse: int
    tiny: int


@dataclass(frozen=True)
class Tiny:
    """The narrow widths and how near they come."""

    widths: Widths
    networks: tuple[TinyNetwork, ...]


def tiny_widths(
    dimensions: Dimensions,
    algorithm: str,
    sparsity: float,
    allocation: str = "erdos_renyi",
    widths: Widths = PYMARL_WIDTHS,
    independent: bool = False,
) -> Tiny:
    """Widths of dense networks with the parameter counts nearest to those of sparse ones.

    One factor scales all hidden widths of a network (Linear = GRU; hypernetworks and embedding; the
    unrestricted mixer); the agent and each mixer are matched by themselves.

    Args:
        dimensions, algorithm, sparsity, allocation, widths, independent: as in `account`.

    Source: MAST §5 ("Tiny"); spec §6.
    """
    sparse = account(dimensions, algorithm, sparsity, allocation, widths, independent)
    wanted = {network.name: int(network.costs.parameters.sparse) for network in sparse.networks}

    def count(of: Widths) -> Mapping[str, int]:
        return {
            network.name: _dense_parameters(network)
            for network in algorithm_networks(dimensions, algorithm, of, independent)
        }

    def nearest(network: str, scaled: Callable[[float], Widths]) -> Widths:
        if not wanted.get(network):
            return widths

        def miss(narrow: Widths) -> int:
            return abs(count(narrow)[network] - wanted[network])

        # Many factors round to the same widths: each is counted once.
        narrow = dict.fromkeys(scaled(step / _FACTORS) for step in range(1, _FACTORS + 1))
        return min(narrow, key=miss)

    agent = nearest("agent", lambda f: replace(widths, hidden=_scaled(widths.hidden, f)))
    mixer = nearest(
        "mixer",
        lambda f: replace(
            widths,
            mixer_embed=_scaled(widths.mixer_embed, f),
            hyper_hidden=_scaled(widths.hyper_hidden, f),
        ),
    )
    unrestricted = nearest(
        "unrestricted_mixer",
        lambda f: replace(widths, unrestricted_hidden=_scaled(widths.unrestricted_hidden, f)),
    )
    found = replace(
        mixer, hidden=agent.hidden, unrestricted_hidden=unrestricted.unrestricted_hidden
    )
    reached = count(found)
    return Tiny(
        found,
        tuple(TinyNetwork(n, wanted[n], reached[n]) for n in wanted if wanted[n]),
    )


def tiny_account(
    dimensions: Dimensions,
    algorithm: str,
    tiny: Widths,
    widths: Widths = PYMARL_WIDTHS,
    independent: bool = False,
) -> Account:
    """Size and FLOPs of dense networks of the narrow widths, against dense ones of the full widths.

    Args:
        tiny: the narrow widths.
        dimensions, algorithm, widths, independent: as in `account`.
    """
    narrow = account(dimensions, algorithm, 0.0, widths=tiny, independent=independent)
    full = account(dimensions, algorithm, 0.0, widths=widths, independent=independent)
    networks = tuple(
        _against(mine, other) for mine, other in zip(narrow.networks, full.networks, strict=True)
    )
    return Account(networks, sum((n.costs for n in networks[1:]), start=networks[0].costs))


def _against(narrow: NetworkAccount, full: NetworkAccount) -> NetworkAccount:
    layers = tuple(
        replace(mine, costs=_mixed(mine.costs, other.costs))
        for mine, other in zip(narrow.layers, full.layers, strict=True)
    )
    return replace(narrow, layers=layers, costs=_mixed(narrow.costs, full.costs))


def _mixed(narrow: Costs, full: Costs) -> Costs:
    def cost(name: str) -> Cost:
        return Cost(getattr(narrow, name).sparse, getattr(full, name).dense)

    return Costs(
        parameters=cost("parameters"),
        size=cost("size"),
        flops_train=cost("flops_train"),
        flops_inference=cost("flops_inference"),
    )


def _scaled(width: int, factor: float) -> int:
    return max(1, round(factor * width))


def _dense_parameters(network: Network) -> int:
    every = {shape.name: shape.weights for shape in network.shapes}
    return parameters(network.layers, every)
