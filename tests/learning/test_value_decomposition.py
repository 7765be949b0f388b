"""The loss of IQL, VDN and QMIX against float64 loops over unpadded episodes."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import operators_by_definition as operators
from golden import value_decomposition_by_definition as golden
from mast.config import Config
from mast.learning.algorithms import ALGORITHMS
from mast.learning.algorithms.value_decomposition import LossMetrics, Sizes, Team
from mast.learning.method import Method, method_from_config
from mast.learning.replay import Batch, Episode

SIZES = Sizes(
    features=5, actions=3, agents=2, state=4, hidden_size=4, mixer_embed=3, hypernet_hidden=4
)
LENGTH = 5
ENDINGS = [(5, True), (5, False), (3, False), (2, True), (1, False)]
"""Steps and `terminated`: the longest ended and cut, and shorter ones of both kinds."""
STEPS, BURN_IN = 1000, 400


@dataclass(frozen=True)
class Case:
    """Settings of a run and the same in the golden code's terms."""

    settings: dict[str, Any]
    operator: golden.Operator
    lambda_: float = 0.0
    env_steps: int = STEPS
    discount: float = 0.99
    cuts_are_terminal: bool = False
    method: Method = field(init=False)

    def __post_init__(self) -> None:
        config = Config(
            environment="smax/3m",
            steps=STEPS,
            burn_in_fraction=BURN_IN / STEPS,
            discount=self.discount,
            **self.settings,
        )
        object.__setattr__(self, "method", method_from_config(config))


def of_target(operator: Callable[..., float], *parameters: float) -> golden.Operator:
    """An operator that reads the target's utilities only."""
    return lambda target_q, online_q, available: operator(target_q, available, *parameters)


SOFT_MELLOWMAX = of_target(operators.soft_mellowmax, 1.0, 10.0)
CASES = {
    "double_q": Case({"method": "dense"}, golden.double_q_max),
    "double_q_discount": Case({"method": "set"}, golden.double_q_max, discount=0.7),
    "single_q": Case({"method": "ss", "double_q": False}, golden.own_max),
    "double_q_timeout_terminal": Case(
        {"method": "rigl", "timeout": "terminal"}, golden.double_q_max, cuts_are_terminal=True
    ),
    "mast_in_burn_in": Case({"method": "mast"}, SOFT_MELLOWMAX, env_steps=BURN_IN - 1),
    "mast": Case({"method": "mast"}, SOFT_MELLOWMAX, lambda_=0.8, env_steps=BURN_IN),
    "mast_timeout_terminal": Case(
        {"method": "mast", "timeout": "terminal", "td_lambda": 0.6},
        SOFT_MELLOWMAX,
        lambda_=0.6,
        cuts_are_terminal=True,
    ),
    "softmax_monte_carlo": Case(
        {"method": "mast", "operator": "softmax", "softmax_beta": 2.0, "td_lambda": 1.0},
        of_target(operators.softmax_value, 2.0),
        lambda_=1.0,
    ),
    "mellowmax": Case(
        {"method": "mast", "operator": "mellowmax", "omega": 3.0, "td_lambda": 0.0},
        of_target(operators.mellowmax, 3.0),
    ),
}


def make_episode(rng: np.random.Generator, steps: int, terminated: bool) -> Episode:
    available = rng.random((steps + 1, SIZES.agents, SIZES.actions)) < 0.6
    available[..., 0] |= ~available.any(-1)
    return Episode(
        # Numbers that half precision holds, so that storage is no difference.
        observation=rng.normal(size=(steps + 1, SIZES.agents, SIZES.features))
        .astype(np.float16)
        .astype(np.float32),
        state=rng.normal(size=(steps + 1, SIZES.state)).astype(np.float16).astype(np.float32),
        available=available,
        action=rng.integers(0, SIZES.actions, (steps, SIZES.agents)),
        reward=rng.normal(0, 2, steps).astype(np.float32),
        terminated=terminated,
        won=False,
    )


def side_by_side(episodes: list[Episode], length: int) -> Batch:
    """The episodes in a batch, padded as its contract says."""

    def padded(rows: int, arrays: list[np.ndarray], filler: Any) -> np.ndarray:
        shape = (rows, len(arrays), *arrays[0].shape[1:])
        result = np.full(shape, filler, arrays[0].dtype)
        for column, array in enumerate(arrays):
            result[: len(array), column] = array
        return result

    ends = [
        np.arange(len(e.reward)) == (len(e.reward) - 1 if e.terminated else -1) for e in episodes
    ]
    return Batch(
        observation=padded(length + 1, [e.observation for e in episodes], 0),
        state=padded(length + 1, [e.state for e in episodes], 0),
        available=padded(length + 1, [e.available for e in episodes], True),
        action=padded(length, [e.action.astype(np.int32) for e in episodes], 0),
        reward=padded(length, [e.reward for e in episodes], 0),
        terminated=padded(length, ends, False),
        mask=padded(length, [np.ones(len(e.reward), bool) for e in episodes], False),
    )


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    rng = np.random.default_rng(0)
    return [make_episode(rng, steps, terminated) for steps, terminated in ENDINGS]


@pytest.fixture(scope="module")
def batch(episodes: list[Episode]) -> Batch:
    return side_by_side(episodes, LENGTH)


class Compiled:
    """An algorithm's networks, with weights that reach every bend, and its compiled loss."""

    def __init__(self, name: str) -> None:
        self.name, algorithm = name, ALGORITHMS[name]
        shapes = jax.eval_shape(lambda key: algorithm.init(key, SIZES), jax.random.key(0))
        rng = np.random.default_rng(3)
        self.params, self.target = (
            jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
            for _ in range(2)
        )
        self._value_and_grad = jax.jit(jax.value_and_grad(algorithm.loss, (0, 1), has_aux=True))

    def __call__(
        self, batch: Batch, case: Case, target: Team | None = None
    ) -> tuple[jax.Array, LossMetrics, tuple[Team, Team]]:
        """Loss, metrics, and gradients by online and target networks."""
        target = self.target if target is None else target
        (loss, metrics), gradients = self._value_and_grad(
            self.params, target, batch, case.method, jnp.float32(case.env_steps)
        )
        return loss, metrics, gradients

    def by_definition(
        self, episodes: list[Episode], case: Case, params: Any = None
    ) -> list[golden.Step]:
        """Every step and head of the episodes, from the golden code."""
        return [
            step
            for episode in episodes
            for step in golden.steps_of_episode(
                self.name,
                self.params if params is None else params,
                self.target,
                episode,
                case.operator,
                case.discount,
                case.lambda_,
                case.cuts_are_terminal,
            )
        ]


compiled = functools.cache(Compiled)


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest) -> Compiled:
    return compiled(request.param)


@pytest.fixture
def qmix() -> Compiled:
    """For what costs a compilation more and cannot depend on the mixer."""
    return compiled("qmix")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_loss_and_metrics_are_the_definition(
    algorithm: Compiled, episodes: list[Episode], batch: Batch, case: Case
) -> None:
    loss, metrics, _ = algorithm(batch, case)
    steps = algorithm.by_definition(episodes, case)
    heads = SIZES.agents if algorithm.name == "iql" else 1
    assert len(steps) == heads * sum(length for length, _ in ENDINGS)
    assert float(loss) == pytest.approx(golden.loss(steps), rel=2e-5)
    assert float(metrics.q_tot) == pytest.approx(np.mean([s.q_tot for s in steps]), rel=1e-4)
    assert float(metrics.target) == pytest.approx(np.mean([s.target for s in steps]), rel=1e-4)
    errors = [abs(s.target - s.q_tot) for s in steps]
    assert float(metrics.td_error) == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_cases_differ_from_each_other(algorithm: Compiled, batch: Batch) -> None:
    losses = [float(algorithm(batch, case)[0]) for case in CASES.values()]
    assert len({round(loss, 4) for loss in losses}) == len(CASES)


def test_gradient_is_the_derivative_with_targets_held(
    algorithm: Compiled, episodes: list[Episode], batch: Batch
) -> None:
    case = CASES["mast"]
    _, _, (gradient, _) = algorithm(batch, case)
    targets = [step.target for step in algorithm.by_definition(episodes, case)]
    leaves, treedef = jax.tree.flatten(algorithm.params)
    for index, slopes in enumerate(jax.tree.leaves(gradient)):
        place = np.unravel_index(int(np.abs(slopes).argmax()), slopes.shape)
        losses = []
        for sign in (+1, -1):
            moved = [np.asarray(leaf, np.float64) for leaf in leaves]
            moved[index][place] += sign * 1e-6
            steps = algorithm.by_definition(episodes, case, jax.tree.unflatten(treedef, moved))
            errors = [y - step.q_tot for y, step in zip(targets, steps, strict=True)]
            losses.append(np.mean(np.square(errors)))
        expected = (losses[0] - losses[1]) / 2e-6
        assert float(slopes[place]) == pytest.approx(expected, rel=1e-3), leaves[index].shape


def test_no_gradient_flows_through_the_target(qmix: Compiled, batch: Batch) -> None:
    """Not to the target networks, and not where the online ones stand in their place."""

    @jax.jit
    @jax.grad
    def own_target(params: Team, batch: Batch, method: Method) -> jax.Array:
        loss = ALGORITHMS[qmix.name].loss
        return loss(params, params, batch, method, jnp.float32(STEPS))[0]

    for case in (CASES["double_q"], CASES["single_q"], CASES["mast"]):
        _, _, (gradient, through_target) = qmix(batch, case, target=qmix.params)
        for leaf in jax.tree.leaves(through_target):
            np.testing.assert_array_equal(leaf, 0)
        both = own_target(qmix.params, batch, case.method)
        for ours, theirs in zip(jax.tree.leaves(both), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def with_other_padding(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with other numbers wherever nothing was recorded, and after a terminal step."""
    steps = batch.mask.sum(0)
    ended = batch.terminated.any(0)
    time = np.arange(LENGTH + 1)[:, None]
    beyond = time >= steps + ~ended  # of [length + 1]; the state after a cut is no padding
    after = ~batch.mask

    def noise(array: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
        where = where.reshape(*where.shape, *[1] * (array.ndim - 2))
        return np.where(where, values.astype(array.dtype), array)

    only_last = np.zeros(batch.available.shape, bool)
    only_last[..., -1] = True
    return Batch(
        observation=noise(batch.observation, beyond, rng.normal(0, 50, batch.observation.shape)),
        state=noise(batch.state, beyond, rng.normal(0, 50, batch.state.shape)),
        available=noise(batch.available, beyond, only_last),
        action=noise(batch.action, after, rng.integers(0, 3, batch.action.shape)),
        reward=noise(batch.reward, after, rng.normal(0, 1e4, batch.reward.shape)),
        terminated=noise(batch.terminated, after, rng.random(batch.terminated.shape) < 0.5),
        mask=batch.mask,
    )


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
