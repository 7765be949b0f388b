"""Model size and FLOPs of each algorithm's networks, absolute and against dense.

The formulas are those of the MAST paper's Appendix B.4. With SMAC's dimensions they give the three
columns "Total Size", "FLOPs (Train)" and "FLOPs (Test)" of its Table 1. FLOPs are counted, not
measured: what they mean in seconds depends on how the sparse matrices are executed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mast.sparsity.allocation import active_counts, allocate
from mast.sparsity.team_networks import (
    PYMARL_WIDTHS,
    WEIGHTED,
    Dimensions,
    Network,
    WeightMatrix,
    Widths,
    algorithm_networks,
)


def matrix_flops(layer: WeightMatrix, active: int) -> float:
    """FLOPs of one matrix in one forward pass, with that many active weights.

    An output that adds up k products takes k multiplications and k − 1 additions, so a weight costs
    (2k − 1)/k. For a linear layer this is MAST's eq. 11, (1 − S)(2I − 1)O; for both matrices of a
    GRU together its eq. 12, (1 − S)·3h·[2(h + I) − 1], with S their parameter-weighted mean.
    Biases and activations are not counted.
    """
    return active * (2 * layer.summands - 1) / layer.summands


def forward_flops(layers: Iterable[WeightMatrix], active: Mapping[str, int]) -> float:
    """FLOPs of one forward pass through these layers; `active` counts by layer name."""
    return sum((matrix_flops(layer, active[layer.shape.name]) for layer in layers), start=0.0)


def parameters(layers: Iterable[WeightMatrix], active: Mapping[str, int]) -> int:
    """Active weights and all biases (which are dense) of these layers.

    Source: MAST, eqs. 9 and 10. These leave out the biases, Table 1's sizes do not.
    """
    return sum(
        active[layer.shape.name] + layer.shape.copies * layer.shape.outputs for layer in layers
    )


@dataclass(frozen=True)
class Use:
    """Copies of a network (online, target), and its forward passes per step trained and acted."""

    copies: int
    training: int
    inference: int = 0


def network_uses(dimensions: Dimensions, algorithm: str) -> dict[str, Use]:
    """What an algorithm does with each network, by name; a backward pass counts as two forward.

    A trained network with its own target has two copies and takes 1 (target) + 1 (loss) + 2
    (backward) passes. OW-QMIX takes its targets from the unrestricted pair, so the restricted one
    has no target copy and three passes. RES evaluates online and target mixer on the n·m joint
    actions that differ from the greedy one in at most one agent: 3 + 2nm passes (eq. 25; Table 6
    prints 5 + nm, which misses Table 1's cell of 3m). The paper has no CW-QMIX: here it is OW-QMIX
    and one more pass of the unrestricted target mixer, for Q̂* at the greedy actions (the target
    utilities come from the same pass over the sequence). Not counted, as in the paper: acting
    during training, target copies, topology evolution.

    Source: MAST, Table 6 and eqs. 17, 22, 25.
    """
    if algorithm in WEIGHTED:
        return {
            "agent": Use(1, training=3, inference=1),
            "mixer": Use(1, training=3),
            "unrestricted_agent": Use(2, training=4),
            "unrestricted_mixer": Use(2, training=5 if algorithm == "cwqmix" else 4),
        }
    mixer_passes = 3 + 2 * dimensions.agents * dimensions.actions if algorithm == "res" else 4
    return {"agent": Use(2, training=4, inference=1), "mixer": Use(2, training=mixer_passes)}


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
    dimensions: Dimensions,
    algorithm: str,
    sparsity: float,
    allocation: str = "erdos_renyi",
    widths: Widths = PYMARL_WIDTHS,
    independent: bool = False,
) -> Account:
    """Size and FLOPs of an algorithm's networks, each network at this sparsity.

    The active weights are the whole numbers that a run really has (`active_counts`), not the
    real-valued densities; Table 1 comes out the same.

    Args:
        dimensions, widths: sizes set by the environment and by the user.
        algorithm, allocation: names, of `ALGORITHMS` and of `allocation.ALLOCATIONS`.
        sparsity: share of each network's weights that are zero, in [0, 1).
        independent: whether each agent has a network of its own.

    Raises:
        UserError: unknown algorithm or allocation, sparsity outside [0, 1).

    Source: MAST, Appendix B.4 and Table 1.
    """
    counts = {
        network.name: active_counts(network.shapes, allocate(network.shapes, sparsity, allocation))
        for network in algorithm_networks(dimensions, algorithm, widths, independent)
    }
    return account_active(dimensions, algorithm, counts, widths, independent)


def account_active(
    dimensions: Dimensions,
    algorithm: str,
    active: Mapping[str, Mapping[str, int]],
    widths: Widths = PYMARL_WIDTHS,
    independent: bool = False,
) -> Account:
    """Size and FLOPs for given active weights, by network and layer name, as counted from masks.

    Raises:
        UserError: unknown algorithm.
        KeyError: a network or layer with weights is missing in `active`.
    """
    uses = network_uses(dimensions, algorithm)
    networks = tuple(
        _network_account(network, uses[network.name], active.get(network.name, {}))
        for network in algorithm_networks(dimensions, algorithm, widths, independent)
    )
    return Account(networks, sum((n.costs for n in networks[1:]), start=networks[0].costs))


def _network_account(network: Network, use: Use, active: Mapping[str, int]) -> NetworkAccount:
    layers = tuple(
        LayerAccount(
            network=network.name,
            layer=layer.shape.name,
            inputs=layer.shape.inputs,
            outputs=layer.shape.outputs,
            copies=layer.shape.copies,
            active=active[layer.shape.name],
            costs=_costs(replace(network, layers=(layer,), generated_flops=0), use, active),
        )
        for layer in network.layers
    )
    return NetworkAccount(network.name, use, layers, _costs(network, use, active))


def _costs(network: Network, use: Use, active: Mapping[str, int]) -> Costs:
    dense = {shape.name: shape.weights for shape in network.shapes}
    held = Cost(parameters(network.layers, active), parameters(network.layers, dense))
    forward = Cost(
        network.passes * forward_flops(network.layers, active) + network.generated_flops,
        network.passes * forward_flops(network.layers, dense) + network.generated_flops,
    )
    return Costs(
        parameters=held,
        size=held.times(use.copies),
        flops_train=forward.times(use.training),
        flops_inference=forward.times(use.inference),
    )
