"""RES's softmax over joint actions, against the true table of joint values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episode_batches import LENGTH, STEPS, Case, all_episodes, compiled, side_by_side
from hypothesis import given, settings
from hypothesis import strategies as st

from fresh_networks import q_mixer
from golden import networks_by_definition
from golden import value_decomposition_by_definition as golden
from golden.res_by_definition import LARGE_NEGATIVE, res_value
from golden.value_decomposition_by_definition import Rules
from mast.algorithms.registry import algorithm_entry
from mast.algorithms.value.res import UNAVAILABLE, res_softmax_value
from mast.networks.mixers import QMixer

AGENTS, ACTIONS, STATE = 2, 3, 4

initialised = jax.jit(lambda key: q_mixer(key, STATE, AGENTS, embed=5, hypernet_hidden=6))


def fresh(seed: int) -> QMixer:
    return jax.tree.map(lambda leaf: 3 * leaf, initialised(jax.random.key(seed)))


@jax.jit
def value_of(
    mixers: tuple[QMixer, QMixer], state: Any, q: Any, target_q: Any, available: Any, beta: Any,
    with_unavailable: Any,
) -> jax.Array:  # fmt: skip
    weights = [mixer.weights(state) for mixer in mixers]
    return res_softmax_value(*weights, q, target_q, available, beta, with_unavailable)


class State:
    """One state of a team of two with three actions each: utilities, availability, mixers."""

    def __init__(self, seed: int, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.mixers = fresh(seed % 100), fresh(seed % 100 + 100)
        self.state = rng.normal(size=STATE).astype(np.float32)
        self.q, self.target_q = (
            rng.normal(0, scale, (AGENTS, ACTIONS)).astype(np.float32) for _ in range(2)
        )
        self.available = rng.random((AGENTS, ACTIONS)) < 0.6
        self.available[..., 0] |= ~self.available.any(-1)

    def value(self, beta: float, with_unavailable: bool = False) -> float:
        """V by the library."""
        inputs = (self.mixers, self.state, self.q, self.target_q, self.available)
        return float(value_of(*inputs, np.float32(beta), np.bool_(with_unavailable)))

    def table(self, mixer: QMixer, q: np.ndarray) -> np.ndarray:
        """Q_tot of all nine joint actions, one by one."""
        table = np.zeros((ACTIONS, ACTIONS))
        for first in range(ACTIONS):
            for second in range(ACTIONS):
                utilities = np.array([q[0, first], q[1, second]], np.float64)
                table[first, second] = networks_by_definition.qmix(mixer, utilities, self.state)
        return table

    def by_definition(self, beta: float, counts_unavailable: bool = False) -> float:
        """V by the golden code."""
        online, of_target = (
            lambda utilities, mixer=mixer: networks_by_definition.qmix(mixer, utilities, self.state)
            for mixer in self.mixers
        )
        return res_value(
            online, of_target, np.float64(self.q), np.float64(self.target_q), self.available, beta,
            counts_unavailable,
        )  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 1.0, 5.0]))
@settings(max_examples=60, deadline=None)
def test_value_is_the_brute_force_over_the_joint_table(seed: int, beta: float) -> None:
    """The greedy cell of the online table, its row and its column; the cell itself twice."""
    here = State(seed)
    online = here.table(here.mixers[0], here.q)
    target = here.table(here.mixers[1], here.target_q)
    allowed = here.available[0][:, None] & here.available[1][None]
    # A monotone table: its best allowed cell is the pair of the agents' best actions.
    first, second = np.unravel_index(np.where(allowed, online, -np.inf).argmax(), online.shape)
    cells = [(row, second) for row in range(ACTIONS) if here.available[0, row]]
    cells += [(first, column) for column in range(ACTIONS) if here.available[1, column]]
    assert cells.count((first, second)) == AGENTS
    exponentials = [np.exp(beta * (online[cell] - online[first, second])) for cell in cells]
    expected = np.dot(exponentials, [target[cell] for cell in cells]) / sum(exponentials)
    assert here.value(beta) == pytest.approx(expected, rel=1e-5, abs=1e-4)
    assert here.by_definition(beta) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 5.0]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_value_is_stable_at_ten_thousand(seed: int, beta: float, with_unavailable: bool) -> None:
    here = State(seed, scale=1e4)
    largest = max(np.abs(here.table(mixer, np.float32(q))).max()
                  for mixer, q in zip(here.mixers, (here.q, here.target_q), strict=True))  # fmt: skip
    expected = here.by_definition(beta, with_unavailable)
    value = here.value(beta, with_unavailable)
    assert value == pytest.approx(expected, abs=2e-6 * largest + 1e-3)


def test_limits_of_the_inverse_temperature() -> None:
    """β = 0: the plain mean of the target's values; β → ∞: that of the best joint action."""
    here = State(3)
    here.available[:] = True
    target = here.table(here.mixers[1], here.target_q)
    first, second = here.q.argmax(axis=1)
    mean = (target[:, second].sum() + target[first].sum()) / (AGENTS * ACTIONS)
    assert here.value(0.0) == pytest.approx(mean, rel=1e-5)
    assert here.value(1e6) == pytest.approx(target[first, second], rel=1e-5)


@pytest.mark.parametrize("junk", [1e30, -1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("with_unavailable", [False, True])
def test_what_unavailable_actions_hold_has_no_influence(
    junk: float, with_unavailable: bool
) -> None:
    here = State(1)
    here.available[:] = [[True, False, True], [False, True, True]]
    before = here.value(5.0, with_unavailable)
    for q in (here.q, here.target_q):
        q[~here.available] = junk
    assert here.value(5.0, with_unavailable) == before


def test_unavailable_joint_actions_leak_in_as_in_the_original() -> None:
    """−9999999 saturates in the ELU: a joint action that cannot be played gets weight all the same."""
    assert UNAVAILABLE == LARGE_NEGATIVE
    here = State(1)
    here.available[:] = [[True, False, True], [False, True, True]]
    leaked, clean = here.value(0.05, True), here.value(0.05)
    assert leaked == pytest.approx(here.by_definition(0.05, counts_unavailable=True), rel=1e-5)
    assert clean == pytest.approx(here.by_definition(0.05), rel=1e-5)
    assert abs(leaked - clean) > 0.01
    here.available[:] = True
    assert here.value(0.05, True) == here.value(0.05)


def test_online_utilities_weigh_and_target_utilities_count() -> None:
    here = State(2)
    here.available[:] = True
    before = here.value(5.0)
    here.q[0] = here.q[0][::-1].copy()
    assert here.value(5.0) != before
    here.target_q[:] = here.target_q[0, 0]  # all joint actions are then worth the same
    worth = here.table(here.mixers[1], here.target_q)[0, 0]
    for beta in (0.0, 0.05, 5.0):
        assert here.value(beta) == pytest.approx(worth, rel=1e-5)


def test_the_operator_is_data_under_vmap() -> None:
    """One program: RES's own operator and a per-agent one side by side."""
    algorithm = compiled("res")
    batch = jax.tree.map(jnp.asarray, side_by_side(all_episodes(), LENGTH))
    cases = [
        Case({"algorithm": "res", "method": "mast"}, Rules(None, lambda_=0.8)),
        Case({"method": "rlx2"}, Rules(golden.double_q_max, n_step=3)),
    ]
    methods = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(case.method for case in cases))

    @jax.jit
    @jax.vmap
    def together(method: Any) -> jax.Array:
        loss = algorithm_entry("res").algorithm.loss
        return loss(algorithm.params, algorithm.target, batch, method, jnp.float32(STEPS))[0]

    for loss, case in zip(together(methods), cases, strict=True):
        assert float(loss) == pytest.approx(float(algorithm(batch, case)[0]), rel=1e-5)
