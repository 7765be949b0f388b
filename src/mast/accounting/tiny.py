"""The "tiny" baseline: dense networks, narrower, with as many parameters as sparse ones have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mast.accounting.costs import (
    Account,
    Cost,
    Costs,
    NetworkAccount,
    Use,
    account,
    parameters,
)
from mast.networks.spec import NetworkSpec, Sizes

_FACTORS = 2000
"""Factors that are tried: finer than any width that rounding could tell apart."""

NetworksOf = Callable[[Sizes], Mapping[str, NetworkSpec]]


@dataclass(frozen=True)
class TinyNetwork:
    """One network's parameters, biases included: of the sparse one, and of the narrow one."""

    name: str
    sparse: int
    tiny: int


@dataclass(frozen=True)
class Tiny:
    """The sizes with narrow widths, and how near they come."""

    sizes: Sizes
    networks: tuple[TinyNetwork, ...]


def tiny_sizes(
    networks_of: NetworksOf, sizes: Sizes, sparsity: float, allocation: str = "erdos_renyi"
) -> Tiny:
    """Widths of dense networks with the parameter counts nearest to those of sparse ones.

    One factor scales all the widths of a network (`NetworkSpec.widths`); each network is matched by itself,
    and networks that share widths are matched together with the first of them.

    Args:
        networks_of: an algorithm's networks at given sizes.
        sizes: with the full widths.
        sparsity, allocation: as in `account`.

    Source: MAST §5 ("Tiny"); spec §6.
    """
    full = networks_of(sizes)
    uses = dict.fromkeys(full, Use(1, 1))
    sparse = account(full, uses, sparsity, allocation)
    wanted = {network.name: int(network.costs.parameters.sparse) for network in sparse.networks}
    found, matched = sizes, set[str]()
    for name, network in full.items():
        if not wanted[name] or matched.issuperset(network.widths):
            continue
        matched.update(network.widths)

        # Many factors round to the same widths: each is counted once.
        full_widths = [getattr(sizes, width) for width in network.widths]
        narrow = dict.fromkeys(
            tuple(max(1, round(step / _FACTORS * width)) for width in full_widths)
            for step in range(1, _FACTORS + 1)
        )

        def miss(widths: tuple[int, ...], name: str = name, network: NetworkSpec = network) -> int:
            at = networks_of(_with(sizes, network.widths, widths))[name]
            return abs(_dense_parameters(at) - wanted[name])

        found = _with(found, network.widths, min(narrow, key=miss))
    reached = {name: _dense_parameters(network) for name, network in networks_of(found).items()}
    return Tiny(found, tuple(TinyNetwork(n, wanted[n], reached[n]) for n in wanted if wanted[n]))


def tiny_account(
    narrow: Mapping[str, NetworkSpec], full: Mapping[str, NetworkSpec], uses: Mapping[str, Use]
) -> Account:
    """Size and FLOPs of dense narrow networks, against dense ones of the full widths."""
    networks = tuple(
        _against(mine, other)
        for mine, other in zip(
            account(narrow, uses, 0.0).networks, account(full, uses, 0.0).networks, strict=True
        )
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


def _with(sizes: Sizes, names: tuple[str, ...], widths: tuple[int, ...]) -> Sizes:
    changes: dict[str, Any] = dict(zip(names, widths, strict=True))
    return replace(sizes, **changes)


def _dense_parameters(network: NetworkSpec) -> int:
    return parameters(network, {shape.name: shape.weights for shape in network.shapes})
