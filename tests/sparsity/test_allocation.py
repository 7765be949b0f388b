"""Densities per layer: a hand-solved case, exact totals, and what must hold for every network."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mast.errors import UserError
from mast.sparsity.allocation import (
    ALLOCATIONS,
    LayerShape,
    TensorShape,
    active_counts,
    allocate,
    erdos_renyi,
    uniform,
)

shapes = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=8).map(
    lambda sizes: [LayerShape(f"layer{k}", i, o) for k, (i, o) in enumerate(sizes)]
)
sparsities = st.floats(0.0, 0.999)


def total(layers: list[LayerShape], densities: dict[str, float]) -> float:
    return math.fsum(densities[layer.name] * layer.weights for layer in layers)


def erdos_renyi_one_layer_per_round(layers: list[LayerShape], sparsity: float) -> dict[str, float]:
    """The other reading of "solved again" (RigL's code): only the largest density is capped."""
    dense: set[str] = set()
    while True:
        free = [layer for layer in layers if layer.name not in dense]
        budget = (1 - sparsity) * sum(layer.weights for layer in layers) - sum(
            layer.weights for layer in layers if layer.name in dense
        )
        epsilon = budget / sum(layer.inputs + layer.outputs for layer in free)
        densities = {la.name: epsilon * (la.inputs + la.outputs) / la.weights for la in free}
        largest = max(densities, key=lambda name: densities[name])
        if densities[largest] <= 1:
            return densities | dict.fromkeys(dense, 1.0)
        dense.add(largest)


def test_hand_solved_without_a_capped_layer() -> None:
    # 700 weights, 140 wanted: epsilon = 140 / (50 + 20) = 2
    layers = [LayerShape("a", 20, 30), LayerShape("b", 10, 10)]
    assert erdos_renyi(layers, 0.8) == pytest.approx({"a": 2 * 50 / 600, "b": 2 * 20 / 100})


def test_hand_solved_with_a_capped_layer() -> None:
    # 1112 weights at 0.75: 278. First epsilon = 278 / (110 + 13 + 20) = 1.944: "b" passes 1
    # (1.944 * 13 / 12 = 2.106). Then epsilon = (278 - 12) / (110 + 20) = 2.046: "c" stays at 0.409.
    layers = [LayerShape("a", 10, 100), LayerShape("b", 12, 1), LayerShape("c", 10, 10)]
    epsilon = 266 / 130
    assert erdos_renyi(layers, 0.75) == pytest.approx(
        {"a": epsilon * 110 / 1000, "b": 1.0, "c": epsilon * 20 / 100}
    )


def test_a_layer_may_pass_one_only_after_another_was_capped() -> None:
    # 1320.72 of 11006 weights. Round 1: epsilon = 1320.72 / 1206 = 1.095, only "wide" passes 1
    # (1.095 * 1001 / 1000); "small" stays at 1.095 * 5 / 6 = 0.913. Round 2: epsilon =
    # 320.72 / 205 = 1.564, "small" passes 1 (1.304). Round 3: "large" takes the rest.
    layers = [
        LayerShape("wide", 1, 1000),
        LayerShape("small", 2, 3),
        LayerShape("large", 100, 100),
    ]
    assert erdos_renyi(layers, 0.88) == pytest.approx(
        {"wide": 1.0, "small": 1.0, "large": (1320.72 - 1006) / 10000}
    )


def test_tensors_count_the_sum_of_their_axes() -> None:
    # 1152 + 600 weights at 0.75: 438. epsilon = 438 / ((3 + 3 + 8 + 16) + 50) = 5.475
    layers = [TensorShape("conv", (3, 3, 8, 16)), LayerShape("dense", 20, 30)]
    expected = {"conv": 5.475 * 30 / 1152, "dense": 5.475 * 50 / 600}
    assert erdos_renyi(layers, 0.75) == pytest.approx(expected)
    matrices = [TensorShape("a", (100, 10)), TensorShape("b", (1, 12)), TensorShape("c", (10, 10))]
    same = [LayerShape("a", 10, 100), LayerShape("b", 12, 1), LayerShape("c", 10, 10)]
    assert erdos_renyi(matrices, 0.75) == erdos_renyi(same, 0.75)


def test_copies_have_the_density_of_one() -> None:
    layers = [LayerShape("a", 20, 30), LayerShape("b", 10, 10)]
    copied = [LayerShape("a", 20, 30, copies=3), LayerShape("b", 10, 10, copies=3)]
    assert erdos_renyi(copied, 0.8) == pytest.approx(erdos_renyi(layers, 0.8))


def test_uniform() -> None:
    layers = [LayerShape("a", 3, 4), LayerShape("b", 5, 6)]
    assert uniform(layers, 0.75) == {"a": 0.25, "b": 0.25}


@given(shapes, sparsities)
def test_erdos_renyi_meets_the_budget_exactly(layers: list[LayerShape], sparsity: float) -> None:
    densities = erdos_renyi(layers, sparsity)
    assert list(densities) == [layer.name for layer in layers]
    assert all(0 < density <= 1 for density in densities.values())
    wanted = (1 - sparsity) * sum(layer.weights for layer in layers)
    assert total(layers, densities) == pytest.approx(wanted, rel=1e-12)


@given(shapes, sparsities)
def test_layers_below_one_share_one_epsilon(layers: list[LayerShape], sparsity: float) -> None:
    densities = erdos_renyi(layers, sparsity)
    natural = {la.name: (la.inputs + la.outputs) / la.weights for la in layers}
    epsilons = [densities[name] / natural[name] for name in densities if densities[name] < 1]
    if epsilons:
        assert max(epsilons) == pytest.approx(min(epsilons), rel=1e-12)
        # no layer is dense that one more round would have left below 1
        capped = [natural[name] for name in densities if densities[name] == 1]
        assert all(epsilons[0] * rate >= 1 - 1e-12 for rate in capped)


@given(shapes, sparsities)
def test_capping_all_at_once_or_one_by_one_is_the_same(
    layers: list[LayerShape], sparsity: float
) -> None:
    assume(sparsity > 1e-6)  # below, the oracle's own rounding decides what passes 1
    expected = erdos_renyi_one_layer_per_round(layers, sparsity)
    assert erdos_renyi(layers, sparsity) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@given(layers=shapes, pair=st.tuples(sparsities, sparsities))
def test_more_sparsity_never_makes_a_layer_denser(
    allocation: str, layers: list[LayerShape], pair: tuple[float, float]
) -> None:
    sparse = allocate(layers, max(pair), allocation)
    fuller = allocate(layers, min(pair), allocation)
    assert all(sparse[name] <= fuller[name] * (1 + 1e-9) for name in sparse)


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@given(layers=shapes, sparsity=sparsities)
def test_active_counts_are_at_least_one_and_nearest(
    allocation: str, layers: list[LayerShape], sparsity: float
) -> None:
    densities = allocate(layers, sparsity, allocation)
    counts = active_counts(layers, densities)
    for layer in layers:
        assert 1 <= counts[layer.name] <= layer.weights
        if counts[layer.name] > 1:
            assert abs(counts[layer.name] - densities[layer.name] * layer.weights) <= 0.5


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@given(layers=shapes)
def test_zero_sparsity_is_exactly_dense(allocation: str, layers: list[LayerShape]) -> None:
    assert set(allocate(layers, 0.0, allocation).values()) == {1.0}


def test_active_counts_round_halves_to_even() -> None:
    layers = [LayerShape("a", 5, 1), LayerShape("b", 7, 1), LayerShape("c", 2, 1)]
    counts = active_counts(layers, {"a": 0.5, "b": 0.5, "c": 0.1})
    assert counts == {"a": 2, "b": 4, "c": 1}


@pytest.mark.parametrize("density", [-0.1, 1.1, math.nan])
def test_active_counts_refuse_what_is_no_density(density: float) -> None:
    with pytest.raises(ValueError, match="density"):
        active_counts([LayerShape("a", 5, 1)], {"a": density})


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
@pytest.mark.parametrize("sparsity", [1.0, 1.5, -1.0, -1e-9, math.nan, math.inf])
def test_sparsity_outside_its_range_is_one_line(allocation: str, sparsity: float) -> None:
    with pytest.raises(UserError, match=r"^sparsity[^\n]*$"):
        allocate([LayerShape("a", 5, 5)], sparsity, allocation)


def test_unknown_allocation_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^allocation 'erk'[^\n]*erdos_renyi, uniform$"):
        allocate([LayerShape("a", 5, 5)], 0.5, "erk")


def test_two_layers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="fc1"):
        erdos_renyi([LayerShape("fc1", 5, 5), LayerShape("fc1", 6, 6)], 0.5)


@pytest.mark.parametrize("allocation", sorted(ALLOCATIONS))
def test_a_network_without_weights_has_no_densities(allocation: str) -> None:
    assert allocate([], 0.5, allocation) == {}
