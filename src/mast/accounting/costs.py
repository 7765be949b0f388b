"""Model size and FLOPs of networks, absolute and against dense, from their declarations alone.

The formulas are those of the MAST paper's Appendix B.4. With SMAC's dimensions they give the three
columns "Total Size", "FLOPs (Train)" and "FLOPs (Test)" of its Table 1. FLOPs are counted, not
measured: what they mean in seconds depends on how the sparse matrices are executed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mast.networks.spec import LayerSpec, NetworkSpec
from mast.sparsity.allocation import active_counts, allocate
from mast.sparsity.pattern_names import held_counts, pattern_of
from mast.sparsity.patterns import UNSTRUCTURED


def matrix_flops(summands: int, active: int) -> float:
    """FLOPs of one matrix in one forward pass, with that many active weights.

    Args:
        summands: how many products one of its outputs adds up (`NetworkSpec.summands`).
        active: its active weights.

    An output that adds up k products takes k multiplications and k − 1 additions, so a weight costs
    (2k − 1)/k. For a linear layer this is MAST's eq. 11, (1 − S)(2I − 1)O; for both matrices of a
    GRU together its eq. 12, (1 − S)·3h·[2(h + I) − 1], with S their parameter-weighted mean.
    Biases and activations are not counted.
    """
    return active * (2 * summands - 1) / summands


def forward_flops(network: NetworkSpec, active: Mapping[str, int]) -> float:
    """FLOPs of one forward pass through a network's layers; `active` counts by layer name."""
    return sum(
        (matrix_flops(network.summands(layer), active[layer.name]) for layer in network.layers),
        start=0.0,
    )


def parameters(network: NetworkSpec, active: Mapping[str, int]) -> int:
    """Active weights and all biases (which are dense) of a network.

    Source: MAST, eqs. 9 and 10. These leave out the biases, Table 1's sizes do not.
    """
    return sum(active[layer.name] + network.copies * layer.outputs for layer in network.layers)


@dataclass(frozen=True)
class Use:
    """Copies of a network (online, target), and its forward passes per step trained and acted.

    A backward pass counts as two forward. Not counted, as in the paper: acting during training, target
    copies, topology evolution.

    Source: MAST, Table 6 and eqs. 17, 22, 25.
    """

    copies: int
    training: int
    inference: int = 0


@dataclass(frozen=True)
class Cost:
    """One quantity, of the sparse networks and of dense ones of the same widths."""

    sparse: int | float
    dense: int | float

    @property
    def ratio(self) -> float | None:
        """Sparse over dense; None where the dense one is 0 (a mixer does not run at inference)."""
        return self.sparse / self.dense if self.dense else None

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.sparse + other.sparse, self.dense + other.dense)

    def times(self, factor: int) -> "Cost":
        """Both numbers, that many times."""
        return Cost(self.sparse * factor, self.dense * factor)


@dataclass(frozen=True)
class Costs:
    """Parameters online, in all copies ("size"), and FLOPs per step of the whole team."""

    parameters: Cost
    size: Cost
    flops_train: Cost
    flops_inference: Cost

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(
            self.parameters + other.parameters,
            self.size + other.size,
            self.flops_train + other.flops_train,
            self.flops_inference + other.flops_inference,
        )


@dataclass(frozen=True)
class LayerAccount:
    """One weight matrix and its bias."""

    network: str
    layer: str
    inputs: int
    outputs: int
    copies: int
    active: int
    costs: Costs

    @property
    def weights(self) -> int:
        """Number of entries of the matrix, of all copies together."""
        return self.copies * self.inputs * self.outputs

    @property
    def density(self) -> float:
        """Share of the matrix's weights that are active."""
        return self.active / self.weights


@dataclass(frozen=True)
class NetworkAccount:
    """One network; beyond its layers its costs hold the FLOPs of a generated pass."""

    name: str
    use: Use
    layers: tuple[LayerAccount, ...]
    costs: Costs


@dataclass(frozen=True)
class Account:
    """What an algorithm's networks hold and compute."""

    networks: tuple[NetworkAccount, ...]
    costs: Costs

    @property
    def layers(self) -> tuple[LayerAccount, ...]:
        """All weight matrices, network by network: the per-layer table."""
        return tuple(layer for network in self.networks for layer in network.layers)

    @property
    def parameters(self) -> int:
        """Active weights and biases of the online networks, unrestricted ones too."""
        return int(self.costs.parameters.sparse)

    @property
    def parameters_dense(self) -> int:
        """The same if every weight were active."""
        return int(self.costs.parameters.dense)

    @property
    def density(self) -> float:
        """Share of all weights (biases aside) of the online networks that are active."""
        weights = sum(layer.weights for layer in self.layers)
        return sum(layer.active for layer in self.layers) / weights

    @property
    def size_ratio(self) -> float:
        """Table 1's "Total Size": all copies, biases included, against dense."""
        return self.costs.size.sparse / self.costs.size.dense

    @property
    def flops_train_ratio(self) -> float:
        """Table 1's "FLOPs (Train)"."""
        return self.costs.flops_train.sparse / self.costs.flops_train.dense

    @property
    def flops_inference_ratio(self) -> float:
        """Table 1's "FLOPs (Test)"."""
        return self.costs.flops_inference.sparse / self.costs.flops_inference.dense


def account(
    networks: Mapping[str, NetworkSpec],
    uses: Mapping[str, Use],
    sparsity: float,
    allocation: str = "erdos_renyi",
    pattern: str = "unstructured",
) -> Account:
    """Size and FLOPs of networks, each at this sparsity.

    The active weights are the whole numbers that a run really has (`active_counts`), not the
    real-valued densities; Table 1 comes out the same.

    Args:
        networks: by name.
        uses: of each of them.
        sparsity: share of each network's weights that are zero, in [0, 1).
        allocation: a name of `allocation.ALLOCATIONS`.
        pattern: that the weights have, as `sparsity.patterns.pattern_of` takes it.

    Raises:
        UserError: unknown allocation or pattern, sparsity outside [0, 1).

    Source: MAST, Appendix B.4 and Table 1.
    """
    counts = {
        name: held_counts(
            active_counts(network.shapes, allocate(network.shapes, sparsity, allocation)),
            possible_counts(network, pattern),
        )
        for name, network in networks.items()
    }
    return account_active(networks, uses, counts)


def possible_counts(network: NetworkSpec, pattern: str) -> dict[str, Sequence[int]]:
    """Every number of active weights that a pattern allows, by layer; of "unstructured" none is named."""
    found = pattern_of(pattern)
    if found == UNSTRUCTURED:
        return {}
    return {name: found.counts(matrix) for name, matrix in network.matrices.items()}


def account_active(
    networks: Mapping[str, NetworkSpec],
    uses: Mapping[str, Use],
    active: Mapping[str, Mapping[str, int]],
) -> Account:
    """Size and FLOPs for given active weights, by network and layer name, as counted from masks.

    Raises:
        KeyError: a network or layer with weights is missing in `active`.
    """
    accounts = tuple(
        _network_account(name, network, uses[name], active.get(name, {}))
        for name, network in networks.items()
    )
    return Account(accounts, sum((n.costs for n in accounts[1:]), start=accounts[0].costs))


def _network_account(
    name: str, network: NetworkSpec, use: Use, active: Mapping[str, int]
) -> NetworkAccount:
    dense = {shape.name: shape.weights for shape in network.shapes}

    def costs(parts: NetworkSpec) -> Costs:
        def forward(counts: Mapping[str, int], used: Callable[[LayerSpec], float]) -> float:
            each = (
                matrix_flops(network.summands(layer), counts[layer.name]) * used(layer)
                for layer in parts.layers
            )
            return network.passes * sum(each, start=0.0) + parts.generated_flops

        held = Cost(parameters(parts, active), parameters(parts, dense))
        once = Cost(forward(active, network.used), forward(dense, lambda layer: 1.0))
        return Costs(
            parameters=held,
            size=held.times(use.copies),
            flops_train=once.times(use.training),
            flops_inference=once.times(use.inference),
        )

    layers = tuple(
        LayerAccount(
            network=name,
            layer=layer.name,
            inputs=layer.inputs,
            outputs=layer.outputs,
            copies=network.copies,
            active=active[layer.name],
            costs=costs(network._replace(layers=(layer,), generated_flops=0)),
        )
        for layer in network.layers
    )
    return NetworkAccount(name, use, layers, costs(network))
