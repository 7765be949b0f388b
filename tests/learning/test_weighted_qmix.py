"""What OW-QMIX and CW-QMIX have beyond the definition of their loss (test_value_decomposition.py)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episode_batches import (
    LENGTH,
    STEPS,
    Case,
    Compiled,
    all_episodes,
    compiled,
    of_target,
    side_by_side,
)

from golden import operators_by_definition as operators
from golden import value_decomposition_by_definition as golden
from golden.value_decomposition_by_definition import Rules
from mast.algorithms.value.weighted import (
    Evidence,
    WeightedTeam,
    is_best_or_better,
    is_underestimated,
)
from mast.learning.replay import Batch

MAX = Case({"method": "rigl"}, Rules(golden.double_q_max))
MAST = Case({"method": "mast"}, Rules(of_target(operators.soft_mellowmax, 1.0, 10.0), lambda_=0.8))
UNWEIGHTED = Case({"method": "rigl", "weight_alpha": 1.0}, Rules(golden.double_q_max, alpha=1.0))
ONLINE_WEIGHTS = Case(
    {"method": "mast", "weights_from": "online_restricted"},
    Rules(None),  # only compared with itself
)
PAIRS = {"restricted": ("agent", "mixer"), "free": ("unrestricted_agent", "unrestricted_mixer")}


@pytest.fixture(scope="module")
def batch() -> Batch:
    return side_by_side(all_episodes(), LENGTH)


@pytest.fixture(params=["owqmix", "cwqmix"])
def algorithm(request: pytest.FixtureRequest) -> Compiled:
    return compiled(request.param)


def column(*numbers: Any) -> jax.Array:
    return jnp.asarray(numbers)[:, None, None]


def test_which_steps_have_full_weight_by_hand() -> None:
    steps = Evidence(
        q_tot=column(1.0, 3.0, 2.0, 1.0),
        target=column(2.0, 2.0, 2.0, 2.0),
        is_greedy=column(False, False, True, False),
        greedy_value=column(5.0, 1.0, 5.0, 2.0),
    )
    np.testing.assert_array_equal(
        is_underestimated(steps)[:, 0, 0],
        [True, False, False, True],  # equal is not underestimated
    )
    np.testing.assert_array_equal(
        is_best_or_better(steps)[:, 0, 0],
        [False, True, True, False],  # better than û, û itself, and equal is not better
    )


def test_the_batch_has_steps_of_both_weights(algorithm: Compiled) -> None:
    """Without them the comparison with the definition would say nothing of the weights."""
    for case in (MAX, MAST):
        steps = algorithm.by_definition(all_episodes(), case)
        light = sum(step.weight == case.rules.alpha for step in steps)
        assert 3 <= light <= len(steps) - 3


def test_unavailable_greedy_actions_are_no_greedy_actions(batch: Batch) -> None:
    """CW-QMIX's û is over the available actions: other availability, another weight."""
    algorithm = compiled("cwqmix")
    everything = batch._replace(available=np.ones_like(batch.available))
    only_first = np.zeros_like(batch.available)
    only_first[..., 0] = True
    losses = {
        float(algorithm(each, MAX)[0])
        for each in (batch, everything, batch._replace(available=only_first))
    }
    assert len(losses) == 3


def test_with_alpha_one_both_are_the_same(batch: Batch) -> None:
    losses = [float(compiled(name)(batch, UNWEIGHTED)[0]) for name in ("owqmix", "cwqmix")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] > float(compiled("owqmix")(batch, MAX)[0])


def gradients(algorithm: Compiled, batch: Batch, case: Case, params: Any = None) -> dict[str, list]:
    """Of the online networks, pair by pair."""
    _, _, (gradient, _) = algorithm(batch, case, params=params)
    return {
        pair: jax.tree.leaves([getattr(gradient, name) for name in names])
        for pair, names in PAIRS.items()
    }


def same(ours: list, theirs: list) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def with_other(params: WeightedTeam, *names: str) -> WeightedTeam:
    """The parameters with every number of these networks moved."""
    for name in names:
        moved = jax.tree.map(lambda leaf: leaf + 0.1, getattr(params, name))
        params = eqx.tree_at(lambda tree, name=name: getattr(tree, name), params, moved)
    return params


def test_each_pair_learns_from_its_own_term_only(algorithm: Compiled, batch: Batch) -> None:
    """The weights act on the restricted pair alone, and the two pairs meet in the target only."""
    plain, unweighted = (gradients(algorithm, batch, case) for case in (MAX, UNWEIGHTED))
    assert same(plain["free"], unweighted["free"])
    assert not same(plain["restricted"], unweighted["restricted"])

    moved = with_other(algorithm.params, "unrestricted_agent", "unrestricted_mixer")
    other = gradients(algorithm, batch, MAX, moved)
    assert same(plain["restricted"], other["restricted"])
    assert not same(plain["free"], other["free"])

    # The target reads the restricted utilities, for the double-Q choice, but never their mixer …
    moved = with_other(algorithm.params, "mixer")
    assert same(plain["free"], gradients(algorithm, batch, MAX, moved)["free"])
    moved = with_other(algorithm.params, "agent")
    assert not same(plain["free"], gradients(algorithm, batch, MAX, moved)["free"])
    # … and under a soft operator nothing of them, unless its weights are to be theirs.
    own, online = (gradients(algorithm, batch, case)["free"] for case in (MAST, ONLINE_WEIGHTS))
    assert same(own, gradients(algorithm, batch, MAST, moved)["free"])
    assert not same(online, gradients(algorithm, batch, ONLINE_WEIGHTS, moved)["free"])


def test_restricted_target_networks_are_not_read(algorithm: Compiled, batch: Batch) -> None:
    for case in (MAX, MAST):
        loss, _, _ = algorithm(batch, case)
        moved = with_other(algorithm.target, "agent", "mixer")
        assert float(algorithm(batch, case, target=moved)[0]) == float(loss)
        for name in ("unrestricted_agent", "unrestricted_mixer"):
            moved = with_other(algorithm.target, name)
            assert float(algorithm(batch, case, target=moved)[0]) != float(loss)


def test_the_acting_network_is_the_restricted_one(algorithm: Compiled) -> None:
    assert isinstance(algorithm.params, WeightedTeam)
    assert MAX.env_steps == STEPS
    names = {name for pair in PAIRS.values() for name in pair}
    assert vars(algorithm.params).keys() == names
