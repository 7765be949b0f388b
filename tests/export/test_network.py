"""Networks as arrays: the same values as the policy's, with and without their dead neurons."""

from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from teams import make_run, policy_of

from mast.errors import UserError
from mast.export.feed_forward import LANES
from mast.export.network import Network, networks_of, padded, without_dead_neurons


def random_network(seed: int, hidden: int = 12, density: float = 0.08) -> Network:
    """So sparse that there are neurons of every kind: dead, constant, and dead after a few steps back."""
    rng = np.random.default_rng(seed)

    def sparse(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * (rng.random(shape) < density)).astype("f4")

    def bias(size: int) -> np.ndarray:
        return rng.normal(size=size).astype("f4")

    h = hidden
    return Network(
        sparse(h, 6), sparse(h, 7), bias(h), sparse(3 * h, h), bias(3 * h), sparse(3 * h, h), bias(3 * h),
        sparse(5, h), bias(5), np.arange(h),
    )  # fmt: skip


def run_along(network: Network, seed: int, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hidden, values, states = np.zeros(network.hidden), [], []
    for step in range(steps):
        last = -1 if step == 0 else int(rng.integers(5))
        q, hidden = network.step(rng.normal(size=6), last, int(rng.integers(2)), hidden)
        values.append(q)
        states.append(hidden)
    return np.stack(values), np.stack(states)


@pytest.mark.parametrize("seed", range(40))
def test_dead_neurons_go_and_nothing_changes(seed: int) -> None:
    density = 0.03 + 0.01 * (seed % 10)
    network = random_network(seed, density=density)
    small = without_dead_neurons(network)
    assert small.hidden < network.hidden or small.encoded < network.encoded or density > 0.1
    filled = padded(small)
    assert filled.hidden % LANES == filled.encoded % LANES == 0
    q, states = run_along(network, seed)
    for other in (small, filled):
        other_q, other_states = run_along(other, seed)
        np.testing.assert_allclose(other_q, q, atol=1e-6)
        real = other.units >= 0
        np.testing.assert_allclose(other_states[:, real], states[:, other.units[real]], atol=1e-6)
        np.testing.assert_array_equal(other_states[:, ~real], 0)


def test_exactly_what_the_values_depend_on_is_left() -> None:
    network = random_network(0, hidden=4, density=0)
    arrays = {name: matrix.copy() for name, matrix in network.matrices().items()}
    arrays["output"][0, 0] = 1  # unit 0 is read,
    arrays["gru_hidden"][4, 1] = 1  # unit 1 by unit 0's update gate,
    arrays["gru_hidden"][11, 3] = 1  # unit 3 only by itself, unit 2 by nobody.
    arrays["gru_input"][0, 0] = 1  # Neuron 0 is read and reads,
    arrays["observation"][0, 2] = 1
    arrays["gru_input"][5, 1] = 2  # neuron 1 is read and constant,
    arrays["observation"][2, 2] = 1  # neuron 2 reads and is not read,
    arrays["gru_input"][3, 3] = 1  # neuron 3 is read only by a dead unit.
    arrays["observation"][3, 1] = 1
    network = replace(network, **arrays, encoder_bias=np.array([1, 3, 1, 1], "f4"))
    small = without_dead_neurons(network)
    np.testing.assert_array_equal(small.units, [0, 1])
    assert small.encoded == 1
    # gate row 5 is the update gate of unit 1: row 1 of the second block of two.
    assert small.gru_input_bias[3] == pytest.approx(network.gru_input_bias[5] + 2 * 3)
    q, _ = run_along(network, 1)
    np.testing.assert_allclose(run_along(small, 1)[0], q, atol=1e-6)


@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_the_arrays_compute_what_the_policy_computes(tmp_path: Path, sharing: str) -> None:
    policy = policy_of(make_run(tmp_path, sharing=sharing))
    networks = networks_of(policy)
    rng = np.random.default_rng(0)
    seen = jnp.asarray(rng.normal(size=(2, 6)), "f4")
    hidden = jnp.asarray(rng.uniform(-1, 1, (2, 16)), "f4")
    last = jnp.array([3, -1])
    q, after = policy.agent.step(seen, last, hidden)
    for agent in range(2):
        network = networks[agent if sharing == "independent" else 0]
        ours = network.step(
            np.asarray(seen[agent]), int(last[agent]), agent, np.asarray(hidden[agent])
        )
        np.testing.assert_allclose(ours[0], q[agent], atol=1e-5)
        np.testing.assert_allclose(ours[1], after[agent], atol=1e-5)


def test_a_diverged_policy_is_refused(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        change=lambda agent: eqx.tree_at(
            lambda a: a.gru_input.bias, agent, agent.gru_input.bias.at[3].set(np.nan)
        ),
    )
    with pytest.raises(UserError, match=r"gru_input\.bias holds a NaN"):
        networks_of(policy_of(run))
