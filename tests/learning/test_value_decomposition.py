"""The loss of every algorithm against float64 loops over unpadded episodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episode_batches import (
    BURN_IN,
    ENDINGS,
    LENGTH,
    SIZES,
    STEPS,
    Case,
    Compiled,
    all_episodes,
    by_online,
    compiled,
    of_target,
    side_by_side,
    with_other_padding,
)

from golden import operators_by_definition as operators
from golden import value_decomposition_by_definition as golden
from golden.value_decomposition_by_definition import Rules
from mast.algorithms.registry import VALUE_BASED, algorithm_entry
from mast.learning.method import Method
from mast.learning.replay import Batch, Episode

SOFT_MELLOWMAX = of_target(operators.soft_mellowmax, 1.0, 10.0)
DOUBLE_Q = Rules(golden.double_q_max)
CASES = {
    "double_q": Case({"method": "dense"}, DOUBLE_Q),
    "double_q_discount": Case({"method": "set"}, Rules(golden.double_q_max, discount=0.7)),
    "single_q": Case({"method": "ss", "double_q": False}, Rules(golden.own_max)),
    "double_q_timeout_terminal": Case(
        {"method": "rigl", "timeout": "terminal"},
        Rules(golden.double_q_max, cuts_are_terminal=True),
    ),
    "mast_in_burn_in": Case({"method": "mast"}, Rules(SOFT_MELLOWMAX), env_steps=BURN_IN - 1),
    "mast": Case({"method": "mast"}, Rules(SOFT_MELLOWMAX, lambda_=0.8), env_steps=BURN_IN),
    "mast_timeout_terminal": Case(
        {"method": "mast", "timeout": "terminal", "td_lambda": 0.6},
        Rules(SOFT_MELLOWMAX, lambda_=0.6, cuts_are_terminal=True),
    ),
    "softmax_monte_carlo": Case(
        {
            "method": "ss",
            "targets": "td_lambda",
            "td_lambda": 1.0,
            "operator": "softmax",
            "softmax_beta": 2.0,
        },
        Rules(of_target(operators.softmax_value, 2.0), lambda_=1.0),
        env_steps=0,
    ),
    "mellowmax": Case(
        {"method": "mast", "operator": "mellowmax", "omega": 3.0, "td_lambda": 0.0},
        Rules(of_target(operators.mellowmax, 3.0)),
    ),
    "rlx2": Case({"method": "rlx2"}, Rules(golden.double_q_max, n_step=3), env_steps=BURN_IN),
    "two_step_timeout_terminal": Case(
        {"method": "ss", "targets": "n_step", "n_step": 2, "timeout": "terminal"},
        Rules(golden.double_q_max, n_step=2, cuts_are_terminal=True),
        env_steps=0,
    ),
}
SAME = {"rlx2_in_its_delay": Case({"method": "rlx2"}, DOUBLE_Q, env_steps=BURN_IN - 1)}
"""The definition too, but of the same numbers as one of the cases above."""
OF_ONE_ALGORITHM = {
    "res": {
        "res": Case({"algorithm": "res", "method": "ss"}, Rules(None)),
        "res_mast": Case({"algorithm": "res", "method": "mast"}, Rules(None, lambda_=0.8)),
        "res_authors": Case(
            {"algorithm": "res", "method": "rlx2", "preset": "res-authors", "res_regulariser": 0.5},
            Rules(None, n_step=3, beta=0.05, pull=0.5, counts_unavailable=True),
        ),
        "res_unavailable": Case(
            {"algorithm": "res", "method": "ss", "res_unavailable": "include", "softmax_beta": 0.5},
            Rules(None, beta=0.5, counts_unavailable=True),
        ),
    },
    "owqmix": {
        "alpha": Case({"method": "ss", "weight_alpha": 0.5}, Rules(golden.double_q_max, alpha=0.5)),
        "online_weights": Case(
            {"algorithm": "owqmix", "method": "mast", "weights_from": "online_restricted"},
            Rules(by_online(operators.weighted_soft_mellowmax, 1.0, 10.0), lambda_=0.6),
        ),
        "online_softmax": Case(
            {
                "method": "ss",
                "operator": "softmax",
                "softmax_beta": 2.0,
                "weights_from": "online_restricted",
            },
            Rules(by_online(operators.weighted_softmax_value, 2.0)),
        ),
    },
}


def cases_of(algorithm: str) -> dict[str, Case]:
    return CASES | OF_ONE_ALGORITHM.get(algorithm, {})


EVERY_CASE = [
    pytest.param(name, case, id=f"{name}-{label}")
    for name in VALUE_BASED
    for label, case in (cases_of(name) | SAME).items()
]


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return all_episodes()


@pytest.fixture(scope="module")
def batch(episodes: list[Episode]) -> Batch:
    return side_by_side(episodes, LENGTH)


@pytest.fixture(params=VALUE_BASED)
def algorithm(request: pytest.FixtureRequest) -> Compiled:
    return compiled(request.param)


@pytest.fixture
def qmix() -> Compiled:
    """For what costs a compilation more and cannot depend on the mixer."""
    return compiled("qmix")


@pytest.mark.parametrize(("name", "case"), EVERY_CASE)
def test_loss_and_metrics_are_the_definition(
    name: str, case: Case, episodes: list[Episode], batch: Batch
) -> None:
    algorithm = compiled(name)
    loss, metrics, _ = algorithm(batch, case)
    steps = algorithm.by_definition(episodes, case)
    heads = SIZES.agents if name == "iql" else 1
    assert len(steps) == heads * sum(length for length, _ in ENDINGS)
    assert float(loss) == pytest.approx(golden.loss(steps, case.rules), rel=2e-5)
    assert float(metrics["q_tot"]) == pytest.approx(np.mean([s.q_tot for s in steps]), rel=1e-4)
    assert float(metrics["target"]) == pytest.approx(np.mean([s.target for s in steps]), rel=1e-4)
    errors = [abs(s.target - s.q_tot) for s in steps]
    assert float(metrics["td_error"]) == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_cases_differ_from_each_other(algorithm: Compiled, batch: Batch) -> None:
    cases = cases_of(algorithm.name)
    losses = [float(algorithm(batch, case)[0]) for case in cases.values()]
    assert len({round(loss, 4) for loss in losses}) == len(cases)


def test_gradient_is_the_derivative_with_targets_and_weights_held(
    algorithm: Compiled, episodes: list[Episode], batch: Batch
) -> None:
    case = OF_ONE_ALGORITHM["res"]["res_mast"] if algorithm.name == "res" else CASES["mast"]
    _, _, (gradient, _) = algorithm(batch, case)
    held = algorithm.by_definition(episodes, case)
    leaves, treedef = jax.tree.flatten(algorithm.params)
    for index, slopes in enumerate(jax.tree.leaves(gradient)):
        place = np.unravel_index(int(np.abs(slopes).argmax()), slopes.shape)
        losses = []
        for sign in (+1, -1):
            moved = [np.asarray(leaf, np.float64) for leaf in leaves]
            moved[index][place] += sign * 1e-6
            steps = algorithm.by_definition(episodes, case, jax.tree.unflatten(treedef, moved))
            losses.append(golden.loss(steps, case.rules, held))
        expected = (losses[0] - losses[1]) / 2e-6
        assert float(slopes[place]) == pytest.approx(expected, rel=1e-3), leaves[index].shape


@pytest.mark.parametrize("name", ["qmix", "cwqmix", "res"])
def test_no_gradient_flows_through_the_target(name: str, batch: Batch) -> None:
    """Not to the target networks, and not where the online ones stand in their place."""
    algorithm = compiled(name)

    @jax.jit
    @jax.grad
    def own_target(params: object, batch: Batch, method: Method) -> jax.Array:
        loss = algorithm_entry(name).algorithm.loss
        return loss(params, params, batch, method, jnp.float32(STEPS))[0]

    cases = ("double_q", "single_q", "mast", "rlx2")
    for case in [CASES[each] for each in cases] + list(OF_ONE_ALGORITHM.get(name, {}).values()):
        _, _, (gradient, through_target) = algorithm(batch, case, target=algorithm.params)
        for leaf in jax.tree.leaves(through_target):
            np.testing.assert_array_equal(leaf, 0)
        both = own_target(algorithm.params, batch, case.method)
        for ours, theirs in zip(jax.tree.leaves(both), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["qmix", "owqmix"])
def test_loss_of_independent_networks_is_the_definition(
    name: str, episodes: list[Episode], batch: Batch
) -> None:
    """The unrestricted agent too is one network per agent."""
    algorithm = compiled(name, dataclasses.replace(SIZES, independent=True))
    for leaf in jax.tree.leaves([getattr(algorithm.params, f) for f in ("agent",)]):
        assert leaf.shape[0] == SIZES.agents
    loss, _, (gradient, _) = algorithm(batch, CASES["mast"])
    steps = algorithm.by_definition(episodes, CASES["mast"])
    assert float(loss) == pytest.approx(golden.loss(steps, CASES["mast"].rules), rel=2e-5)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("case", ["double_q", "mast", "mast_timeout_terminal"])
def test_padding_has_no_influence_whatsoever(algorithm: Compiled, batch: Batch, case: str) -> None:
    other = with_other_padding(batch, np.random.default_rng(1))
    assert (other.observation != batch.observation).any()
    results = [algorithm(each, CASES[case]) for each in (batch, other)]
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_state_after_a_cut_is_bootstrapped_and_that_after_an_end_is_not(
    algorithm: Compiled, batch: Batch
) -> None:
    for column, (steps, terminated) in enumerate(ENDINGS):
        observation = batch.observation.copy()
        observation[steps, column] += 1
        moved = batch._replace(observation=observation)
        for case in (CASES["double_q"], CASES["mast"]):
            changes = float(algorithm(moved, case)[0]) != float(algorithm(batch, case)[0])
            assert changes == (not terminated)
        case = CASES["mast_timeout_terminal"]
        assert float(algorithm(moved, case)[0]) == float(algorithm(batch, case)[0])


def test_compact_storage_in_a_longer_bucket_is_the_same(
    qmix: Compiled, episodes: list[Episode], batch: Batch
) -> None:
    """Half precision holds these numbers exactly, a byte these actions."""
    longer = side_by_side(episodes, LENGTH + 3)
    compact = longer._replace(
        observation=longer.observation.astype(np.float16),
        state=longer.state.astype(np.float16),
        action=longer.action.astype(np.uint8),
    )
    for case in (CASES["mast"], CASES["double_q"]):
        results = [jax.tree.leaves(qmix(each, case)) for each in (batch, compact)]
        for plain, stored in zip(*results, strict=True):
            np.testing.assert_allclose(stored, plain, rtol=1e-4, atol=1e-6)


def test_order_of_episodes_does_not_matter(algorithm: Compiled, episodes: list[Episode]) -> None:
    forwards, backwards = side_by_side(episodes, LENGTH), side_by_side(episodes[::-1], LENGTH)
    for case in (CASES["mast"], CASES["double_q"]):
        losses = [float(algorithm(batch, case)[0]) for batch in (forwards, backwards)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
