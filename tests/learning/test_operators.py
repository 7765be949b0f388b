import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import operators_by_definition as golden
from mast.learning.operators import (
    Operator,
    backup_value,
    double_q_value,
    greedy_action,
    max_value,
    mellowmax,
    soft_mellowmax,
    softmax_value,
    weighted_backup_value,
    weighted_soft_mellowmax,
    weighted_softmax_value,
)

ACTIONS = 5
Q = jnp.array([1.0, 3.0, 2.0, 3.0])
ALL = jnp.ones(4, bool)

mellowmax_jitted = jax.jit(mellowmax)
soft_mellowmax_jitted = jax.jit(soft_mellowmax)
backup_value_jitted = jax.jit(backup_value)
softmax_jitted = jax.jit(softmax_value)
weighted_softmax_jitted = jax.jit(weighted_softmax_value)
weighted_soft_mellowmax_jitted = jax.jit(weighted_soft_mellowmax)
weighted_backup_jitted = jax.jit(weighted_backup_value)
PER_AGENT = [each for each in Operator if each != Operator.RES_SOFTMAX]

SOFT_OPERATORS = {
    "softmax": jax.jit(lambda q, available: softmax_value(q, available, 5.0)),
    "mellowmax": jax.jit(lambda q, available: mellowmax(q, available, 10.0)),
    "soft_mellowmax": jax.jit(lambda q, available: soft_mellowmax(q, available, 1.0, 10.0)),
}
OPERATORS = {
    "max": jax.jit(max_value),
    "double_q": jax.jit(lambda q, available: double_q_value(q, q, available)),
    **SOFT_OPERATORS,
}
GRADIENTS = {name: jax.jit(jax.grad(operator)) for name, operator in OPERATORS.items()}


@st.composite
def states(draw: st.DrawFn, largest: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Utilities of one state in [-largest, largest] and a choice of available actions."""
    number = st.floats(-largest, largest, width=32)
    q = draw(st.lists(number, min_size=ACTIONS, max_size=ACTIONS))
    available = draw(st.lists(st.booleans(), min_size=ACTIONS, max_size=ACTIONS).filter(any))
    return np.array(q, np.float32), np.array(available)


# --- hard operators ---------------------------------------------------------------------------


def test_max_value_by_hand() -> None:
    q = jnp.array([[1.0, 5.0, 9.0], [-3.0, -2.0, -1.0]])
    available = jnp.array([[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(max_value(q, available), [5.0, -3.0])


def test_double_q_takes_the_online_choice_and_the_target_value() -> None:
    target = jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    online = jnp.array([[7.0, 8.0, 9.0], [5.0, 4.0, 5.0]])
    available = jnp.array([[True, True, False], [True, True, True]])
    # First row: the best online action is not available. Second: a tie, the lower index.
    np.testing.assert_array_equal(double_q_value(target, online, available), [2.0, 10.0])


def test_double_q_gradient_is_one_at_the_chosen_action_and_none_through_the_choice() -> None:
    target, online = jnp.array([1.0, 2.0, 3.0]), jnp.array([3.0, 5.0, 4.0])
    available = jnp.ones(3, bool)
    by_target, by_online = jax.grad(double_q_value, (0, 1))(target, online, available)
    np.testing.assert_array_equal(by_target, [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(by_online, [0.0, 0.0, 0.0])


# --- soft operators against high precision ----------------------------------------------------


# The error allowed is that of float32 in the utilities themselves: 1e-6 of the largest.
INVERSE_TEMPERATURE = st.floats(0, 100, width=32)
SHARPNESS = st.floats(2.0**-24, 2.0**10, width=32)


@given(states(), INVERSE_TEMPERATURE)
@settings(max_examples=100, deadline=None)
def test_softmax_value_is_its_definition(state: tuple[np.ndarray, np.ndarray], beta: float) -> None:
    expected = golden.softmax_value(*state, beta)
    assert float(softmax_jitted(*state, beta)) == pytest.approx(expected, abs=resolution(*state))


@given(states(), SHARPNESS)
@settings(max_examples=100, deadline=None)
def test_mellowmax_is_its_definition(state: tuple[np.ndarray, np.ndarray], omega: float) -> None:
    expected = golden.mellowmax(*state, omega)
    assert float(mellowmax_jitted(*state, omega)) == pytest.approx(expected, abs=resolution(*state))


@given(states(), INVERSE_TEMPERATURE, SHARPNESS)
@settings(max_examples=200, deadline=None)
def test_soft_mellowmax_is_its_definition(
    state: tuple[np.ndarray, np.ndarray], alpha: float, omega: float
) -> None:
    expected = golden.soft_mellowmax(*state, alpha, omega)
    value = float(soft_mellowmax_jitted(*state, alpha, omega))
    assert value == pytest.approx(expected, abs=resolution(*state))


def resolution(q: np.ndarray, available: np.ndarray) -> float:
    return 1e-6 * float(np.abs(q[available]).max()) + 1e-30


@pytest.mark.parametrize("omega", [1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_mellowmax_keeps_the_digits_of_the_gaps_at_every_scale(omega: float, scale: float) -> None:
    """Even where ωQ is far above 88 or below 1e-7."""
    q = np.array([-1.0, 0.25, 0.5, 1.0], np.float32) * np.float32(scale)
    available = np.ones(4, bool)
    omega = float(np.float32(omega))
    expected = golden.mellowmax(q, available, omega)
    assert float(mellowmax_jitted(q, available, omega)) == pytest.approx(expected, abs=3e-7 * scale)


def test_soft_mellowmax_of_two_actions_by_hand() -> None:
    """Q = (0, log 3) with α = ω = 1: (1·1 + 3·3)/4 inside, so log 2.5."""
    q = jnp.array([0.0, np.log(3.0)], jnp.float32)
    assert float(soft_mellowmax_jitted(q, jnp.ones(2, bool), 1.0, 1.0)) == pytest.approx(
        np.log(2.5)
    )


# --- weights of another network's utilities ---------------------------------------------------


@st.composite
def weighted_states(
    draw: st.DrawFn, largest: float = 30.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utilities, those that weigh them, and a choice of available actions."""
    q, available = draw(states(largest))
    return q, draw(states(largest))[0], available


@given(weighted_states(), INVERSE_TEMPERATURE)
@settings(max_examples=100, deadline=None)
def test_weighted_softmax_value_is_its_definition(
    state: tuple[np.ndarray, np.ndarray, np.ndarray], beta: float
) -> None:
    expected = golden.weighted_softmax_value(*state, beta)
    value = float(weighted_softmax_jitted(*state, beta))
    assert value == pytest.approx(expected, abs=3 * resolution(state[0], state[2]))


@given(weighted_states(), INVERSE_TEMPERATURE, SHARPNESS)
@settings(max_examples=200, deadline=None)
def test_weighted_soft_mellowmax_is_its_definition(
    state: tuple[np.ndarray, np.ndarray, np.ndarray], alpha: float, omega: float
) -> None:
    """Also where the highest utility has next to no weight, and where ω is far below 1/Q."""
    q, _, available = state
    expected = golden.weighted_soft_mellowmax(*state, alpha, omega)
    value = float(weighted_soft_mellowmax_jitted(*state, alpha, omega))
    # Twice the plain operator's: two sets of utilities are rounded here.
    assert value == pytest.approx(expected, abs=2 * resolution(q, available))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("omega", [1e-6, 1.0, 10.0, 1e4])
def test_weighted_soft_mellowmax_at_ten_thousand(alpha: float, omega: float) -> None:
    """Opposite orders too: all the weight where the utility is lowest."""
    available, omega = np.ones(3, bool), float(np.float32(omega))
    for q in EXTREME:
        for weight_q in (q, -q, np.zeros(3, np.float32)):
            value = float(weighted_soft_mellowmax_jitted(q, weight_q, available, alpha, omega))
            expected = golden.weighted_soft_mellowmax(q, weight_q, available, alpha, omega)
            assert value == pytest.approx(expected, abs=3e-7 * 1e4)


@given(states(), INVERSE_TEMPERATURE, SHARPNESS)
@settings(max_examples=50, deadline=None)
def test_own_weights_are_the_plain_operators(
    state: tuple[np.ndarray, np.ndarray], alpha: float, omega: float
) -> None:
    q, available = state
    slack = 2 * resolution(q, available)
    plain = float(soft_mellowmax_jitted(q, available, alpha, omega))
    weighted = float(weighted_soft_mellowmax_jitted(q, q, available, alpha, omega))
    assert weighted == pytest.approx(plain, abs=slack)
    assert float(weighted_softmax_jitted(q, q, available, alpha)) == float(
        softmax_jitted(q, available, alpha)
    )


@pytest.mark.parametrize("junk", [1e30, -1e30, np.inf, np.nan])
def test_weighted_operators_read_nothing_of_unavailable_actions(junk: float) -> None:
    available = jnp.array([True, False, True])
    q, weight_q = jnp.array([1.0, junk, -2.0]), jnp.array([0.5, junk, 0.25])
    plain = (q.at[1].set(0), weight_q.at[1].set(0), available)
    for operator, parameters in ((weighted_softmax_jitted, (2.0,)),
                                 (weighted_soft_mellowmax_jitted, (1.0, 10.0))):  # fmt: skip
        value = operator(q, weight_q, available, *parameters)
        np.testing.assert_array_equal(value, operator(*plain, *parameters))
        gradient = np.asarray(jax.grad(operator)(q, weight_q, available, *parameters))
        assert np.isfinite(gradient).all()
        assert gradient[1] == 0


@pytest.mark.parametrize("operator", PER_AGENT)
def test_weighted_backup_value_is_the_operator_with_that_number(operator: Operator) -> None:
    target, online, available = batch_of_utilities()
    weight_q = target[::-1]
    expected = {
        Operator.MAX: double_q_value(target, online, available),
        Operator.SOFTMAX: weighted_softmax_value(target, weight_q, available, 3.0),
        Operator.MELLOWMAX: mellowmax(target, available, 10.0),
        Operator.SOFT_MELLOWMAX: weighted_soft_mellowmax(target, weight_q, available, 1.0, 10.0),
    }[operator]
    value = weighted_backup_jitted(
        jnp.int32(operator), target, online, weight_q, available, jnp.bool_(True), 1.0, 10.0, 3.0
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_greedy_action_is_the_first_best_available_one() -> None:
    q = jnp.array([[1.0, 3.0, 9.0, 3.0], [-5.0, np.nan, -5.0, -6.0]])
    available = jnp.array([[True, True, False, True], [True, False, True, True]])
    np.testing.assert_array_equal(greedy_action(q, available), [1, 0])


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("omega", [1e-6, 1e-12, 1e-30, 0.0, -1.0])
def test_mellowmax_tends_to_the_mean_as_omega_vanishes(omega: float) -> None:
    assert float(mellowmax_jitted(Q, ALL, omega)) == pytest.approx(2.25, abs=2e-6)


@pytest.mark.parametrize("omega", [1e-6, 1e-12, 1e-30, 0.0, -1.0])
def test_soft_mellowmax_tends_to_the_softmax_value_as_omega_vanishes(omega: float) -> None:
    expected = float(softmax_jitted(Q, ALL, 0.7))
    assert float(soft_mellowmax_jitted(Q, ALL, 0.7, omega)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("omega", [1e7, 1e20])
def test_mellowmax_family_tends_to_the_maximum_as_omega_grows(omega: float) -> None:
    assert float(mellowmax_jitted(Q, ALL, omega)) == pytest.approx(3.0, abs=1e-6)
    assert float(soft_mellowmax_jitted(Q, ALL, 1.0, omega)) == pytest.approx(3.0, abs=1e-6)


@given(states(), SHARPNESS)
@settings(max_examples=50, deadline=None)
def test_soft_mellowmax_without_weights_is_mellowmax(
    state: tuple[np.ndarray, np.ndarray], omega: float
) -> None:
    expected = golden.mellowmax(*state, omega)
    value = float(soft_mellowmax_jitted(*state, 0.0, omega))
    assert value == pytest.approx(expected, abs=resolution(*state))


def test_softmax_value_is_the_mean_at_zero_and_the_maximum_at_infinity() -> None:
    assert float(softmax_jitted(Q, ALL, 0.0)) == pytest.approx(2.25)
    assert float(softmax_jitted(Q, ALL, 1e20)) == 3.0


@given(states(largest=1e4), st.floats(0, 50), st.floats(1e-3, 50))
@settings(max_examples=100, deadline=None)
def test_soft_operators_lie_between_mean_and_maximum(
    state: tuple[np.ndarray, np.ndarray], alpha: float, omega: float
) -> None:
    """Weights that favour higher utilities cannot bring the value under their mean."""
    q, available = state
    highest, mean = q[available].max(), q[available].astype(np.float64).mean()
    slack = 1e-6 * np.abs(q[available]).max() + 1e-5
    for value in (
        softmax_jitted(q, available, alpha),
        mellowmax_jitted(q, available, omega),
        soft_mellowmax_jitted(q, available, alpha, omega),
    ):
        assert mean - slack <= float(value) <= highest + slack


# --- what an unavailable action holds ---------------------------------------------------------


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("junk", [1e30, -1e30, np.inf, -np.inf, np.nan])
def test_unavailable_actions_have_no_influence(name: str, junk: float) -> None:
    operator, gradient_of = OPERATORS[name], GRADIENTS[name]
    available = jnp.array([True, False, True, True, False])
    with_junk = jnp.array([1.0, junk, -2.0, 0.5, junk])
    without = jnp.array([1.0, -2.0, 0.5])
    gradient = np.asarray(gradient_of(with_junk, available))
    expected, expected_gradient = (f(without, jnp.ones(3, bool)) for f in (operator, gradient_of))
    assert float(operator(with_junk, available)) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(gradient[[0, 2, 3]], expected_gradient, rtol=1e-5)
    np.testing.assert_array_equal(gradient[[1, 4]], 0.0)


@pytest.mark.parametrize("name", OPERATORS)
def test_a_single_available_action_has_its_own_utility(name: str) -> None:
    q = jnp.array([[5.0, -7.125, 3.0], [1e4, -1e4, 0.0]])
    available = jnp.array([[False, True, False], [False, True, False]])
    np.testing.assert_array_equal(OPERATORS[name](q, available), [-7.125, -1e4])


# --- stability and gradients ------------------------------------------------------------------

EXTREME = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -9999.0]], np.float32)


@jax.jit
def extreme_values(q: jax.Array, alpha: float, omega: float) -> jax.Array:
    available = jnp.ones(3, bool)
    values = [
        softmax_value(q, available, alpha),
        mellowmax(q, available, omega),
        soft_mellowmax(q, available, alpha, omega),
    ]
    return jnp.stack(values)


extreme_gradients = jax.jit(jax.jacrev(extreme_values))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("omega", [0.0, 1e-6, 1.0, 10.0, 1e4])
def test_values_are_right_and_gradients_finite_at_ten_thousand(alpha: float, omega: float) -> None:
    available = np.ones(3, bool)
    for q in EXTREME:
        values = extreme_values(q, alpha, omega)
        assert np.isfinite(values).all()
        gradients = np.asarray(extreme_gradients(q, alpha, omega))
        assert np.isfinite(gradients).all()
        np.testing.assert_allclose(gradients.sum(axis=1), 1.0, atol=1e-4)
        if omega > 0:
            omega = float(np.float32(omega))
            expected = [
                golden.softmax_value(q, available, alpha),
                golden.mellowmax(q, available, omega),
                golden.soft_mellowmax(q, available, alpha, omega),
            ]
            np.testing.assert_allclose(values, expected, rtol=0, atol=3e-7 * 1e4)


@pytest.mark.parametrize("name", SOFT_OPERATORS)
def test_gradients_agree_with_finite_differences_and_sum_to_one(name: str) -> None:
    """A shift of all utilities shifts the value: the highest, held constant, loses nothing."""
    operator = SOFT_OPERATORS[name]
    q = jnp.array([0.3, -0.2, 0.45, 0.1])
    available = jnp.array([True, True, True, False])
    gradient = np.asarray(GRADIENTS[name](q, available))
    step = 1e-2
    for action in range(4):
        shift = step * jnp.eye(4)[action]
        slope = (operator(q + shift, available) - operator(q - shift, available)) / (2 * step)
        assert gradient[action] == pytest.approx(float(slope), abs=2e-3)
    assert gradient.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_soft_mellowmax_gradient_is_that_of_high_precision(alpha: float) -> None:
    q = np.array([0.3, -0.2, 0.45, 0.1], np.float32)
    available = np.ones(4, bool)
    gradient = jax.grad(soft_mellowmax)(jnp.asarray(q), jnp.asarray(available), alpha, 10.0)
    step = 2.0**-20
    for action in range(4):
        shift = step * np.eye(4)[action]
        above = golden.soft_mellowmax(q + shift, available, alpha, 10.0)
        below = golden.soft_mellowmax(q - shift, available, alpha, 10.0)
        assert gradient[action] == pytest.approx((above - below) / (2 * step), abs=1e-5)


# --- the operator as data ---------------------------------------------------------------------


def test_names_in_the_configuration_are_the_members_in_lower_case() -> None:
    names = {operator.name.lower(): int(operator) for operator in Operator}
    expected = ("max", "softmax", "mellowmax", "soft_mellowmax", "res_softmax")
    assert names == {name: number for number, name in enumerate(expected)}


def batch_of_utilities(
    shape: tuple[int, ...] = (3, 2, 4),
) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    target = jnp.asarray(rng.normal(0, 5, shape), jnp.float32)
    online = jnp.asarray(rng.normal(0, 5, shape), jnp.float32)
    available = jnp.asarray(rng.random(shape) < 0.6).at[..., 0].set(True)
    return target, online, available


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("operator", PER_AGENT)
def test_backup_value_is_the_operator_with_that_number(operator: Operator, double_q: bool) -> None:
    target, online, available = batch_of_utilities()
    expected = {
        Operator.MAX: double_q_value(target, online, available)
        if double_q
        else max_value(target, available),
        Operator.SOFTMAX: softmax_value(target, available, 3.0),
        Operator.MELLOWMAX: mellowmax(target, available, 10.0),
        Operator.SOFT_MELLOWMAX: soft_mellowmax(target, available, 1.0, 10.0),
    }[operator]
    value = backup_value_jitted(
        jnp.int32(operator), target, online, available, jnp.bool_(double_q), 1.0, 10.0, 3.0
    )
    assert value.shape == (3, 2)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_backup_value_gives_each_run_its_own_operator_under_vmap() -> None:
    """One program for all methods; the zeros are what a method that lacks the parameter holds."""
    target, online, available = batch_of_utilities(shape=(5, 3, 2, 4))
    operators = jnp.array([0, 0, 1, 2, 3])
    double_q = jnp.array([True, False, False, False, False])
    alpha = jnp.array([0.0, 0.0, 0.0, 0.0, 1.0])
    omega = jnp.array([0.0, 0.0, 0.0, 10.0, 10.0])
    beta = jnp.array([0.0, 0.0, 5.0, 0.0, 0.0])
    values = jax.jit(jax.vmap(backup_value))(
        operators, target, online, available, double_q, alpha, omega, beta
    )
    expected = [
        double_q_value(target[0], online[0], available[0]),
        max_value(target[1], available[1]),
        softmax_value(target[2], available[2], 5.0),
        mellowmax(target[3], available[3], 10.0),
        soft_mellowmax(target[4], available[4], 1.0, 10.0),
    ]
    np.testing.assert_allclose(values, jnp.stack(expected), rtol=1e-6)

    @jax.jit
    def total(target: jax.Array) -> jax.Array:
        return jax.vmap(backup_value)(
            operators, target, online, available, double_q, alpha, omega, beta
        ).sum()

    assert np.isfinite(jax.grad(total)(target)).all()


def test_backup_value_keeps_the_dtype_of_the_utilities() -> None:
    target, online, available = batch_of_utilities()
    parameter = jnp.float32(1.0)
    for operator in PER_AGENT:
        value = backup_value_jitted(
            jnp.int32(operator),
            target.astype(jnp.bfloat16),
            online.astype(jnp.bfloat16),
            available,
            jnp.bool_(True),
            parameter,
            parameter,
            parameter,
        )
        assert value.dtype == jnp.bfloat16
