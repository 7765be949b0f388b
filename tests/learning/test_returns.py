from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import returns_by_definition as golden
from golden import rlax_returns
from mast.learning.returns import (
    discounted_returns,
    hybrid_lambda,
    n_step_returns,
    td_lambda_returns,
    treat_cuts_as_terminal,
)

TIME, EPISODES = 7, 4

td_lambda_jitted = jax.jit(td_lambda_returns)
n_step_jitted = jax.jit(n_step_returns, static_argnames="n")
discounted_jitted = jax.jit(discounted_returns)


class Columns(NamedTuple):
    """A batch as the functions take it, and as plain episodes."""

    reward: np.ndarray
    terminated: np.ndarray
    mask: np.ndarray
    value: np.ndarray
    lengths: list[int]
    terminates: list[bool]

    @property
    def arrays(self) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        reward, terminated = jnp.asarray(self.reward), jnp.asarray(self.terminated)
        return reward, terminated, jnp.asarray(self.mask), jnp.asarray(self.value)

    def expected(self, one_return: Callable[..., float]) -> np.ndarray:
        """`one_return(reward, value, terminates, t)` for each real step, 0 in the padding."""
        result = np.zeros(self.reward.shape)
        for episode, steps in enumerate(self.lengths):
            reward = self.reward[:steps, episode].astype(np.float64)
            value = self.value[: steps + 1, episode].astype(np.float64)
            for t in range(steps):
                result[t, episode] = one_return(reward, value, self.terminates[episode], t)
        return result


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    """Episodes of any length from 0 to the whole; everything that must not be read is NaN."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, TIME), min_size=EPISODES, max_size=EPISODES))
    terminates = draw(st.lists(st.booleans(), min_size=EPISODES, max_size=EPISODES))
    reward = rng.normal(0, 5, (TIME, EPISODES)).astype(np.float32)
    value = rng.normal(0, 20, (TIME + 1, EPISODES)).astype(np.float32)
    terminated = np.zeros((TIME, EPISODES), bool)
    for episode, steps in enumerate(lengths):
        reward[steps:, episode] = np.nan
        value[steps + 1 :, episode] = np.nan
        if steps and terminates[episode]:
            terminated[steps - 1, episode] = True
            value[steps, episode] = np.nan
    mask = np.arange(TIME)[:, None] < np.array(lengths)
    return Columns(reward, terminated, mask, value, lengths, terminates)


# Two episodes with γ = 1/2, every number below computed by hand. Episode 0 ends by the rules at its
# third step: 99, what a learner holds for the state after that, belongs to no return. Episode 1 is
# cut after two steps: 32, the value of its last observation, belongs to the returns.
REWARD = jnp.array([[1.0, 1.0], [2.0, 3.0], [4.0, 0.0], [0.0, 0.0]])
TERMINATED = jnp.array([[False, False], [False, False], [True, False], [False, False]])
MASK = jnp.array([[True, True], [True, True], [True, False], [False, False]])
VALUE = jnp.array([[10.0, 8.0], [20.0, 16.0], [30.0, 32.0], [99.0, 77.0], [88.0, 66.0]])

# fmt: off
ONE_STEP = [
    [1 + 20 / 2, 1 + 16 / 2],
    [2 + 30 / 2, 3 + 32 / 2],
    [4.0,        0.0],
    [0.0,        0.0],
]  # [[11, 9], [17, 19], [4, 0], [0, 0]]
TWO_STEP = [
    [1 + 2 / 2 + 30 / 4, 1 + 3 / 2 + 32 / 4],
    [2 + 4 / 2,          3 + 32 / 2],
    [4.0,                0.0],
    [0.0,                0.0],
]  # [[9.5, 10.5], [4, 19], [4, 0], [0, 0]]
MONTE_CARLO = [
    [1 + 2 / 2 + 4 / 4, 1 + 3 / 2 + 32 / 4],
    [2 + 4 / 2,         3 + 32 / 2],
    [4.0,               0.0],
    [0.0,               0.0],
]  # [[3, 10.5], [4, 19], [4, 0], [0, 0]]
LAMBDA_HALF = [
    [11 / 2 + 9.5 / 4 + 3 / 4, 9 / 2 + 10.5 / 2],
    [17 / 2 + 4 / 2,           19.0],
    [4.0,                      0.0],
    [0.0,                      0.0],
]  # [[8.625, 9.75], [10.5, 19], [4, 0], [0, 0]]
WITHOUT_BOOTSTRAP = [
    [3.0, 2.5],
    [4.0, 3.0],
    [4.0, 0.0],
    [0.0, 0.0],
]
# fmt: on


@pytest.mark.parametrize(
    ("n", "expected"), [(1, ONE_STEP), (2, TWO_STEP), (3, MONTE_CARLO), (50, MONTE_CARLO)]
)
def test_n_step_returns_of_two_episodes_by_hand(n: int, expected: list[list[float]]) -> None:
    returns = n_step_returns(REWARD, TERMINATED, MASK, VALUE, 0.5, n)
    np.testing.assert_array_equal(returns, expected)


@pytest.mark.parametrize(
    ("lambda_", "expected"), [(0.0, ONE_STEP), (0.5, LAMBDA_HALF), (1.0, MONTE_CARLO)]
)
def test_td_lambda_returns_of_two_episodes_by_hand(
    lambda_: float, expected: list[list[float]]
) -> None:
    returns = td_lambda_returns(REWARD, TERMINATED, MASK, VALUE, 0.5, lambda_)
    np.testing.assert_array_equal(returns, expected)


def test_discounted_returns_of_two_episodes_by_hand() -> None:
    returns = discounted_returns(REWARD, MASK, 0.5)
    np.testing.assert_array_equal(returns, WITHOUT_BOOTSTRAP)


def test_a_cut_treated_as_terminal_is_not_bootstrapped() -> None:
    terminated = treat_cuts_as_terminal(TERMINATED, MASK)
    expected = [[False, False], [False, True], [True, False], [False, False]]
    np.testing.assert_array_equal(terminated, expected)
    returns = td_lambda_returns(REWARD, terminated, MASK, VALUE, 0.5, 1.0)
    np.testing.assert_array_equal(returns, WITHOUT_BOOTSTRAP)


@pytest.mark.parametrize("steps", [0, 1, TIME])
def test_treat_cuts_as_terminal_marks_the_last_real_step_whatever_the_length(steps: int) -> None:
    mask = (jnp.arange(TIME) < steps)[:, None]
    terminated = treat_cuts_as_terminal(jnp.zeros((TIME, 1), bool), mask)
    expected = np.zeros((TIME, 1), bool)
    expected[steps - 1 : steps] = steps > 0
    np.testing.assert_array_equal(terminated, expected)


def test_a_terminal_step_one_row_off_would_be_seen() -> None:
    """The hand-computed batch tells `terminated` from its two neighbours (the usual slip)."""
    for shift in (-1, 1):
        shifted = jnp.roll(TERMINATED, shift, axis=0)
        returns = td_lambda_returns(REWARD, shifted, MASK, VALUE, 0.5, 0.5)
        assert not np.allclose(returns[:, 0], np.array(LAMBDA_HALF)[:, 0])
        returns = n_step_returns(REWARD, shifted, MASK, VALUE, 0.5, 1)
        assert not np.allclose(returns[:, 0], np.array(ONE_STEP)[:, 0])


@given(
    columns(),
    st.floats(0, 1, width=32),
    st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
)
@settings(max_examples=150, deadline=None)
def test_td_lambda_returns_are_the_double_sum(
    batch: Columns, discount: float, lambda_: float
) -> None:
    returns = td_lambda_jitted(*batch.arrays, discount, lambda_)
    expected = batch.expected(
        lambda reward, value, terminates, t: golden.td_lambda_return(
            reward, value, terminates, discount, t, lambda_
        )
    )
    np.testing.assert_allclose(returns, expected, rtol=2e-5, atol=1e-4)


@given(columns(), st.floats(0, 1, width=32), st.integers(1, TIME + 1))
@settings(max_examples=150, deadline=None)
def test_n_step_returns_are_the_sum_of_the_definition(
    batch: Columns, discount: float, n: int
) -> None:
    returns = n_step_jitted(*batch.arrays, discount, n=n)
    expected = batch.expected(
        lambda reward, value, terminates, t: golden.n_step_return(
            reward, value, terminates, discount, t, n
        )
    )
    np.testing.assert_allclose(returns, expected, rtol=2e-5, atol=1e-4)


@given(columns(), st.floats(0, 1, width=32))
@settings(max_examples=50, deadline=None)
def test_discounted_returns_are_the_sum_of_the_definition(batch: Columns, discount: float) -> None:
    returns = discounted_jitted(jnp.asarray(batch.reward), jnp.asarray(batch.mask), discount)
    expected = batch.expected(
        lambda reward, value, terminates, t: golden.discounted_return(reward, discount, t)
    )
    np.testing.assert_allclose(returns, expected, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("lambda_", rlax_returns.LAMBDAS)
@pytest.mark.parametrize("terminates", [True, False])
def test_td_lambda_returns_agree_with_rlax_on_a_full_column(
    lambda_: float, terminates: bool
) -> None:
    stored = rlax_returns.stored()
    reward, value = (
        jnp.asarray(stored[name], jnp.float32)[:, None] for name in ("reward", "value")
    )
    terminated = jnp.zeros(reward.shape, bool).at[-1].set(terminates)
    ours = td_lambda_jitted(
        reward, terminated, jnp.ones(reward.shape, bool), value, rlax_returns.DISCOUNT, lambda_
    )
    theirs = stored["returns"][rlax_returns.key(lambda_, terminates)]
    np.testing.assert_allclose(ours[:, 0], theirs, rtol=1e-5, atol=1e-5)


def test_lambda_zero_is_the_one_step_return_to_the_last_bit() -> None:
    rng = np.random.default_rng(6)
    value = jnp.asarray(rng.normal(size=VALUE.shape), jnp.float32)
    one_step = n_step_returns(REWARD, TERMINATED, MASK, value, 0.99, 1)
    td_zero = td_lambda_returns(REWARD, TERMINATED, MASK, value, 0.99, 0.0)
    np.testing.assert_array_equal(td_zero, one_step)


def test_lambda_and_discount_are_data_under_vmap() -> None:
    lambdas, discounts = jnp.array([0.0, 0.5, 1.0]), jnp.array([0.9, 0.5, 0.99])
    together = jax.vmap(td_lambda_returns, in_axes=(None, None, None, None, 0, 0))(
        REWARD, TERMINATED, MASK, VALUE, discounts, lambdas
    )
    for run in range(3):
        alone = td_lambda_returns(REWARD, TERMINATED, MASK, VALUE, discounts[run], lambdas[run])
        np.testing.assert_allclose(together[run], alone, rtol=1e-6)


def test_n_is_data_under_vmap() -> None:
    """Each run its own n; one that has none (0) gets numbers that nobody reads, but finite ones."""
    together = jax.jit(jax.vmap(n_step_returns, in_axes=(None, None, None, None, None, 0)))(
        REWARD, TERMINATED, MASK, VALUE, 0.5, jnp.array([1, 2, 3, 50, 0])
    )
    for run, expected in enumerate((ONE_STEP, TWO_STEP, MONTE_CARLO, MONTE_CARLO)):
        np.testing.assert_array_equal(together[run], expected)
    assert np.isfinite(together).all()


def test_gradients_reach_the_values_that_the_returns_hold_and_no_others() -> None:
    def total(value: jax.Array) -> jax.Array:
        return td_lambda_returns(REWARD, TERMINATED, MASK, value, 0.5, 0.5).sum()

    gradient = np.asarray(jax.grad(total)(VALUE))
    is_read = np.array([[0, 0], [1, 1], [1, 1], [0, 0], [0, 0]], bool)
    np.testing.assert_array_equal(gradient != 0, is_read)


def test_n_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="n >= 1, got 0"):
        n_step_returns(REWARD, TERMINATED, MASK, VALUE, 0.5, 0)


@pytest.mark.parametrize(
    ("env_steps", "expected"), [(0, 0.0), (749_999, 0.0), (750_000, 0.8), (2_000_000, 0.8)]
)
def test_hybrid_lambda_switches_at_the_end_of_the_burn_in(env_steps: int, expected: float) -> None:
    now = jax.jit(hybrid_lambda)(jnp.int32(env_steps), 750_000, jnp.float32(0.8))
    assert now.dtype == jnp.float32
    assert float(now) == pytest.approx(expected)
    assert float(hybrid_lambda(env_steps, 750_000, 0.8)) == pytest.approx(expected)


def test_hybrid_lambda_without_burn_in_is_lambda_from_the_start() -> None:
    assert float(hybrid_lambda(0, 0, 0.6)) == pytest.approx(0.6)


def test_hybrid_lambda_takes_each_run_by_its_own_env_steps() -> None:
    env_steps = jnp.array([10, 100, 1000])
    now = jax.vmap(hybrid_lambda, in_axes=(0, None, 0))(env_steps, 100, jnp.array([0.8, 0.6, 0.4]))
    np.testing.assert_allclose(now, [0.0, 0.6, 0.4], rtol=1e-6)
