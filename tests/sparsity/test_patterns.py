"""Patterns: exact counts, kept by any number of evolutions, the worst dropped and the best grown."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import patterns_by_definition as golden
from mast.errors import UserError
from mast.sparsity import (
    Blocks,
    FanIn,
    Layout,
    LeafPattern,
    Matrix,
    Neurons,
    NOfM,
    Pattern,
    Unstructured,
    density,
    every,
    held_counts,
    pattern_of,
    random_score,
    sparse_counts,
    sparsify,
)

MATRICES = [
    Matrix(12, 10),
    Matrix(12, 10, is_output=True),
    Matrix(12, 8, copies=2),
    Matrix(12, 7, gates=3),
    Matrix(12, 6, copies=2, gates=3),
]
PATTERNS: list[Any] = [
    Unstructured(),
    FanIn(),
    FanIn(salient_share=0.0),
    NOfM(4),
    NOfM(4, 2),
    NOfM(16),
    NOfM(16, 8),
    Blocks(2, 5),
    Blocks(4, 4),
    Neurons(),
]
CASES = list(itertools.product(PATTERNS, MATRICES))


def _programs(pattern: Pattern, matrix: Matrix) -> tuple[Any, Any]:
    best = jax.jit(lambda score, active: pattern.best(score, active, matrix))
    evolve = jax.jit(lambda *operands: pattern.evolve(*operands, matrix))
    return best, evolve


PROGRAMS: dict[Any, Any] = {}


def programs(pattern: Pattern, matrix: Matrix) -> tuple[Any, Any]:
    if (pattern, matrix) not in PROGRAMS:
        PROGRAMS[pattern, matrix] = _programs(pattern, matrix)
    return PROGRAMS[pattern, matrix]


def _scores(rng: np.random.Generator, matrix: Matrix) -> np.ndarray:
    """With ties, and some that are no numbers."""
    score = rng.integers(0, 40, (matrix.rows, matrix.inputs)).astype(np.float32)
    score[rng.random(score.shape) < 0.05] = np.nan
    score[rng.random(score.shape) < 0.02] = np.inf
    return score


@given(st.sampled_from(CASES), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=150, deadline=None)
def test_counts_are_exact_and_the_pattern_is_kept_by_every_evolution(
    case: tuple[Pattern, Matrix], seed: int, data: st.DataObject
) -> None:
    pattern, matrix = case
    rng = np.random.default_rng(seed)
    counts = pattern.counts(matrix)
    assert counts[0] >= 1
    assert counts[-1] <= matrix.weights
    active = counts[data.draw(st.integers(0, len(counts) - 1))]
    best, evolve = programs(pattern, matrix)
    mask = best(_scores(rng, matrix), active)
    for _ in range(4):
        assert mask.sum() == active
        assert pattern.holds(np.asarray(mask), matrix)
        drop = math.floor(data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])) * active)
        mask = evolve(mask, _scores(rng, matrix), _scores(rng, matrix), drop, drop)
    assert mask.sum() == active
    assert pattern.holds(np.asarray(mask), matrix)


@given(st.sampled_from(CASES), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=60, deadline=None)
def test_pruning_ends_with_a_count_that_the_pattern_can_have(
    case: tuple[Pattern, Matrix], seed: int, data: st.DataObject
) -> None:
    pattern, matrix = case
    rng = np.random.default_rng(seed)
    counts = pattern.counts(matrix)
    first, second = sorted(
        data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=2, max_size=2))
    )
    best, evolve = programs(pattern, matrix)
    mask = best(_scores(rng, matrix), counts[second])
    drop = counts[second] - counts[first]
    mask = evolve(mask, _scores(rng, matrix), _scores(rng, matrix), drop, 0)
    assert mask.sum() == counts[first]
    assert pattern.holds(np.asarray(mask), matrix)


def _units(pattern: Blocks | Neurons, matrix: Matrix) -> list[list[tuple[int, int]]]:
    if isinstance(pattern, Blocks):
        r, c = pattern.block(matrix)
        corners = itertools.product(range(0, matrix.rows, r), range(0, matrix.inputs, c))
        return [[(a + i, b + j) for i in range(r) for j in range(c)] for a, b in corners]
    per_copy = matrix.rows // matrix.copies
    per_gate = per_copy // matrix.gates
    return [
        [
            (copy * per_copy + gate * per_gate + neuron, j)
            for gate in range(matrix.gates)
            for j in range(matrix.inputs)
        ]
        for copy in range(matrix.copies)
        for neuron in range(per_gate)
    ]


def _by_definition(pattern: Any, matrix: Matrix, mask: Any, scores: Any, drop: int) -> Any:
    lists = [np.asarray(each).tolist() for each in (mask, *scores)]
    if isinstance(pattern, NOfM):
        n = pattern.n or pattern.counts(matrix).index(int(mask.sum())) + 1
        length = pattern.m if pattern.n else min(pattern.m, matrix.inputs)
        return golden.evolve_n_of_m(*lists, drop, n, length)
    if isinstance(pattern, FanIn):
        share = pattern.salient_share if pattern.ablates(matrix) else 0.0
        fewest = math.ceil(matrix.rows / matrix.copies / 16)
        return golden.evolve_fan_in(*lists, drop, share, fewest, matrix.copies)
    if isinstance(pattern, Neurons) and matrix.is_output:
        return golden.evolve_fan_in(*lists, drop, 0.0, 1)
    units, parts = _units(pattern, matrix), matrix.copies
    if isinstance(pattern, Blocks) and matrix.is_output:
        parts = len({unit[0][0] for unit in units})
    fewest = math.ceil(len(units) / parts / 16) if isinstance(pattern, Neurons) else 1
    return golden.evolve_units(*lists, drop, units, parts, fewest)


@given(
    st.sampled_from([case for case in CASES if not isinstance(case[0], Unstructured)]),
    st.integers(0, 2**32 - 1),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_the_worst_units_are_dropped_and_the_best_grown(
    case: tuple[Pattern, Matrix], seed: int, data: st.DataObject
) -> None:
    pattern, matrix = case
    rng = np.random.default_rng(seed)
    counts = pattern.counts(matrix)
    best, evolve = programs(pattern, matrix)
    mask = best(_scores(rng, matrix), counts[data.draw(st.integers(0, len(counts) - 1))])
    for fraction in (0.3, 0.5):
        scores = [_scores(rng, matrix) for _ in range(2)]
        drop = math.floor(fraction * int(mask.sum()))
        expected = _by_definition(pattern, matrix, mask, scores, drop)
        mask = evolve(mask, *scores, drop, drop)
        np.testing.assert_array_equal(mask, expected)


def test_a_neuron_without_salient_weights_is_ablated_and_the_others_have_its_weights() -> None:
    matrix = Matrix(4, 8)
    mask = np.zeros((4, 8), bool)
    mask[:, :2] = True
    drop_score = np.ones((4, 8), np.float32)
    drop_score[2:] = 0.1  # both weights of neurons 2 and 3 go
    growth_score = np.zeros((4, 8), np.float32)
    growth_score[:2, 4:] = 1.0  # and what is wanted is elsewhere
    growth_score[2:, 0] = 1e-6
    operands = *(jnp.asarray(each) for each in (mask, drop_score, growth_score)), 4, 4
    evolved = np.asarray(FanIn().evolve(*operands, matrix))
    np.testing.assert_array_equal(evolved.sum(1), [4, 4, 0, 0])
    assert evolved[:2, :2].all()
    assert evolved[:2, 4:6].all()
    kept = FanIn().evolve(*operands, matrix._replace(is_output=True))
    np.testing.assert_array_equal(np.asarray(kept).sum(1), [2, 2, 2, 2])


def test_a_dead_neuron_keeps_its_weights_and_uses_up_none_of_the_drop() -> None:
    """Nothing in it has a gradient: what it grew would stay zero, and be dropped first next time."""
    rng = np.random.default_rng(0)
    mask = np.zeros((4, 8), bool)
    mask[:, ::2] = True
    drop_score = rng.random((4, 8), np.float32) + 1
    growth_score = rng.random((4, 8), np.float32)
    growth_score[1] = drop_score[1] = 0.0
    for pattern in (FanIn(salient_share=0.0), NOfM(8, 4)):
        operands = *(jnp.asarray(each) for each in (mask, drop_score, growth_score)), 8, 8
        evolved = np.asarray(pattern.evolve(*operands, Matrix(4, 8)))
        np.testing.assert_array_equal(evolved[1], mask[1])
        living = [0, 2, 3]
        worst = np.sort(drop_score[living][mask[living]])[:6]  # 8 of 16, so 6 of 12
        gone = mask & ~evolved
        assert gone.any()
        assert np.isin(drop_score[gone], worst).all()


def test_a_dead_neuron_is_ablated_first() -> None:
    mask, growth_score = np.zeros((4, 8), bool), np.ones((4, 8), np.float32)
    mask[:, ::2] = True
    growth_score[:, 1] = 2.0
    growth_score[1:3] = 0.0
    operands = (
        *(jnp.asarray(each) for each in (mask, np.ones((4, 8), np.float32), growth_score)),
        4,
        4,
    )
    evolved = np.asarray(FanIn().evolve(*operands, Matrix(4, 8)))
    np.testing.assert_array_equal(evolved.sum(1), [8, 0, 0, 8])


@pytest.mark.parametrize("pattern", [FanIn(), Neurons(floor=0.25), Blocks(2, 4)])
def test_no_copy_loses_a_whole_layer(pattern: Any) -> None:
    """Two agents: everything that the first has is the worst, and nothing of it is wanted."""
    matrix = Matrix(16, 8, copies=2)
    first = np.repeat([[0.0], [1.0]], 8, axis=0) + np.zeros((16, 8))
    score = jnp.asarray(first, jnp.float32)
    count = pattern.counts(matrix)[2]
    mask = pattern.best(score, count, matrix)
    for _ in range(3):
        each = np.asarray(mask).reshape(2, 8, 8)
        assert each.sum() == count
        assert pattern.holds(np.asarray(mask), matrix)
        assert each.any((1, 2)).all()
        mask = pattern.evolve(mask, score, score, count // 2, count // 2, matrix)


def test_no_result_of_a_network_loses_all_its_blocks() -> None:
    matrix = Matrix(8, 8, is_output=True)
    pattern = Blocks(2, 4)
    score = jnp.asarray(np.repeat(np.arange(4.0), 2)[:, None] + np.zeros((8, 8)))
    assert pattern.counts(matrix) == range(32, 65, 8)
    mask = pattern.best(score, 40, matrix)
    for _ in range(3):
        assert mask.sum() == 40
        assert np.asarray(mask).any(1).all()
        mask = pattern.evolve(mask, score, score, 40, 40, matrix)
    without = np.array(mask)
    without[:2] = False
    assert not pattern.holds(without, matrix)


def test_the_budget_is_rounded_to_what_the_pattern_can_have() -> None:
    wanted = {"a": 300, "b": 100, "c": 10}
    possible = {"a": range(64, 4097, 64), "b": range(64, 4097, 64), "c": range(16, 129, 16)}
    held = held_counts(wanted, possible)
    assert held == {"a": 320, "b": 64, "c": 16}
    assert abs(sum(held.values()) - sum(wanted.values())) <= 32
    assert held_counts(wanted, {}) == wanted
    assert held_counts({"a": 1}, {"a": [8, 9]}) == {"a": 8}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("unstructured", Unstructured()),
        ("fan-in", FanIn()),
        ("n:16", NOfM(16)),
        ("2:4", NOfM(4, 2)),
        ("block-4x8", Blocks(4, 8)),
        ("neuron", Neurons()),
        (f"{__name__}:MINE", Blocks(3, 1)),
    ],
)
def test_patterns_are_found_by_name(name: str, pattern: Pattern) -> None:
    assert pattern_of(name) == pattern
    assert pattern_of(pattern) is pattern


MINE = Blocks(3, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("block", "must be one of unstructured, fan-in"),
        ("5:4", "N must be from 1 to M"),
        ("0:4", "N must be from 1 to M"),
        ("block-0x4", "at least one row"),
        (f"{__name__}:MATRICES", "has no pattern MATRICES"),
    ],
)
def test_what_is_no_pattern_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        pattern_of(name)
    assert "\n" not in str(error.value)


# --- in models ---


@pytest.mark.parametrize("layout", [Layout(), Layout(axis=1), Layout(axis=-1, stacked=True)])
def test_a_leaf_is_read_by_its_outputs_and_put_back(layout: Layout) -> None:
    leaf = jnp.arange(24).reshape(2, 3, 4)
    rows = layout.rows(leaf)
    matrix = layout.matrix(leaf.shape)
    assert rows.shape == (matrix.rows, matrix.inputs)
    np.testing.assert_array_equal(layout.leaf(rows, leaf.shape), leaf)
    if layout.stacked:
        np.testing.assert_array_equal(rows[4], leaf[1, :, 0])
    else:
        np.testing.assert_array_equal(rows[1], jnp.take(leaf, 1, axis=layout.axis).ravel())


NAMES = ("fan-in", "n:8", "block-4x2", "neuron")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("leaf", ["weight", "kernel"])
def test_a_model_keeps_the_pattern_through_training(name: str, leaf: str) -> None:
    key = jax.random.key(3)
    params = {"one": {leaf: jax.random.normal(key, (24, 32))}, "bias": jnp.zeros(32)}
    params, optimizer = sparsify(
        params, optax.adam(0.1), 0.8, key=key, pattern=name, initial_mask="largest"
    )
    state = optimizer.init(params)
    of_leaf = optimizer.patterns[f"one.{leaf}"]
    first = state.masks[f"one.{leaf}"]
    assert float(density(state)) == pytest.approx(0.2, abs=0.06)
    evolve = every(2, optimizer.evolve)
    evolutions = 0
    for step in range(6):
        shift = float(step)
        gradient = jax.tree.map(lambda x, shift=shift: jnp.sin(7 * x + shift), params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        params, state, done = evolve(params, state, gradient, step=step, total=100, key=key)
        evolutions += done is not None
        assert of_leaf.holds(state.masks[f"one.{leaf}"])
        assert int(state.masks[f"one.{leaf}"].sum()) == int(first.sum())
    assert evolutions == 3
    assert (state.masks[f"one.{leaf}"] != first).any()
    outputs = of_leaf.layout.rows(state.masks[f"one.{leaf}"]).sum(1)
    if name == "fan-in":
        assert len(set(np.asarray(outputs[outputs > 0]).tolist())) == 1


def test_a_function_chooses_each_leafs_pattern_and_one_axis_has_none() -> None:
    params = {"a": jnp.ones((8, 8)), "b": jnp.ones((8, 8)), "c": jnp.ones(8)}
    _, optimizer = sparsify(
        params,
        optax.sgd(0.1),
        0.5,
        key=jax.random.key(0),
        include=lambda path, leaf: True,
        pattern=lambda path, leaf: "unstructured" if path == "b" else FanIn(),
        layout=lambda path, leaf: Layout(is_output=True),
    )
    assert dict(optimizer.patterns) == {"a": LeafPattern(FanIn(), Layout(is_output=True))}


def test_unstructured_masks_are_as_they_always_were() -> None:
    params = {"a": jax.random.normal(jax.random.key(1), (9, 8))}
    key = jax.random.key(0)
    plain = sparsify(params, optax.sgd(0.1), 0.7, key=key)[0]["a"]
    named = sparsify(params, optax.sgd(0.1), 0.7, key=key, pattern="unstructured")[0]["a"]
    np.testing.assert_array_equal(plain, named)


def test_given_masks_are_taken_and_evolve() -> None:
    params = {"a": jnp.ones((4, 8)), "b": jnp.ones((4, 8))}
    mask = np.zeros((4, 8), bool)
    mask[:, ::4] = True
    made, optimizer = sparsify(params, optax.sgd(0.1), masks={"a": mask}, pattern="1:4")
    np.testing.assert_array_equal(made["a"], mask)
    assert made["b"].all()
    state = optimizer.init(made)
    gradient = jax.tree.map(lambda x: jnp.arange(32.0).reshape(4, 8), params)
    made, state, _ = optimizer.evolve(
        made, state, gradient, step=0, total=1, key=jax.random.key(0), initial_drop_fraction=1.0
    )
    np.testing.assert_array_equal(state.masks["a"], np.arange(32).reshape(4, 8) % 4 == 3)


@pytest.mark.parametrize(
    ("masks", "arguments", "message"),
    [
        ({}, {}, "masks are empty"),
        ({"z": np.ones((4, 8))}, {}, "masks name no leaf"),
        ({"a": np.ones((4, 4))}, {}, r"the mask of a has shape \(4, 4\)"),
        ({"a": np.eye(4, 8)}, {"pattern": "1:4"}, "the mask of a does not have the pattern 1:4"),
        ({"a": np.eye(4, 8)}, {"sparsity": 0.5}, "both sparsity and masks"),
    ],
)
def test_given_masks_that_do_not_fit_are_refused(
    masks: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sparsify({"a": jnp.ones((4, 8))}, optax.sgd(0.1), masks=masks, **arguments)


def test_a_fixed_density_and_another_sparsity_are_refused() -> None:
    params = {"a": jnp.ones((4, 8))}
    assert sparse_counts(params, 0.75, pattern="1:4") == {"a": 8}
    with pytest.raises(
        UserError, match=r"pattern 1:4 has 0\.75; for N by the sparsity: pattern n:4"
    ):
        sparse_counts(params, 0.5, pattern="1:4")


def test_an_evolution_now_and_then_asks_for_the_gradient_only_then() -> None:
    params, optimizer = sparsify(
        {"a": jnp.ones((4, 8))}, optax.sgd(0.1), 0.5, key=jax.random.key(0)
    )
    state, asked = optimizer.init(params), []

    def gradient(params: Any) -> Any:
        asked.append(step)
        return params

    evolve = every(3, eqx.filter_jit(optimizer.evolve))
    for step in range(9):
        params, state, _ = evolve(
            params,
            state,
            gradient,
            step=step,
            total=9,
            key=jax.random.key(1),
            growth_score=random_score,
        )
    assert asked == [2, 5, 8]
    with pytest.raises(ValueError, match="interval is 0"):
        every(0, optimizer.evolve)
