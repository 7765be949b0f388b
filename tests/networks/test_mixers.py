import functools
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fresh_networks import feed_forward_mixer, q_mixer
from golden import networks_by_definition as golden
from mast.networks.mixers import (
    FeedForwardMixer,
    IndependentMixer,
    MixingWeights,
    QMixer,
    SumMixer,
    mix_deviations,
)

AGENTS, STATE, EMBED, HYPER = 3, 4, 5, 6


initialised = jax.jit(lambda key: q_mixer(key, STATE, AGENTS, embed=EMBED, hypernet_hidden=HYPER))


def fresh(seed: int, scale: float = 3.0) -> QMixer:
    """A mixer with weights larger than at initialisation, so that ELU bends on both sides."""
    return jax.tree.map(lambda leaf: scale * leaf, initialised(jax.random.key(seed)))


deviations = jax.jit(mix_deviations)


@jax.jit
def weights_of(mixer: QMixer, state: jax.Array) -> MixingWeights:
    return mixer.weights(state)


@functools.cache
def fresh_feed_forward(scale: float = 3.0) -> FeedForwardMixer:
    make = jax.jit(lambda key: feed_forward_mixer(key, STATE, AGENTS, hidden=HYPER))
    return jax.tree.map(lambda leaf: scale * leaf, make(jax.random.key(0)))


@jax.jit
def mixed(mixer: QMixer, utilities: jax.Array, state: jax.Array) -> jax.Array:
    return mixer(utilities, state)


@jax.jit
def slopes(mixer: QMixer, utilities: jax.Array, state: jax.Array) -> jax.Array:
    return jax.grad(lambda q: mixer(q, state)[0])(utilities)


def test_sum_mixer_adds_the_utilities() -> None:
    utilities = jnp.array([[1.0, 2.0, 4.0], [-1.0, 0.5, 0.25]])
    q_tot = SumMixer()(utilities, jnp.ones((2, STATE)))
    np.testing.assert_array_equal(q_tot, [[7.0], [-0.25]])


def test_independent_mixer_keeps_one_head_per_agent() -> None:
    utilities = jnp.arange(12.0).reshape(2, 2, AGENTS)
    np.testing.assert_array_equal(IndependentMixer()(utilities, jnp.ones((2, 2, STATE))), utilities)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_q_mixer_is_the_network_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixer = fresh(seed % 1000)
    utilities, state = rng.normal(0, 3, AGENTS), rng.normal(size=STATE)
    q_tot = mixed(mixer, jnp.asarray(utilities, jnp.float32), jnp.asarray(state, jnp.float32))
    assert q_tot.shape == (1,)
    expected = golden.qmix(mixer, np.float32(utilities), np.float32(state))
    np.testing.assert_allclose(q_tot[0], expected, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("mixer", [fresh(0), SumMixer(), IndependentMixer(), fresh_feed_forward()])
def test_leading_axes_are_independent_samples(mixer: QMixer) -> None:
    rng = np.random.default_rng(0)
    utilities = jnp.asarray(rng.normal(size=(3, 2, AGENTS)), jnp.float32)
    state = jnp.asarray(rng.normal(size=(3, 2, STATE)), jnp.float32)
    together = mixed(mixer, utilities, state)
    for t, b in product(range(3), range(2)):
        alone = mixed(mixer, utilities[t, b], state[t, b])
        np.testing.assert_allclose(together[t, b], alone, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 3.0, 10.0]))
@settings(max_examples=100, deadline=None)
def test_q_mixer_is_monotone_in_each_utility(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    mixer = fresh(seed % 1000, scale)
    utilities = jnp.asarray(rng.normal(0, 5, AGENTS), jnp.float32)
    state = jnp.asarray(rng.normal(0, 2, STATE), jnp.float32)
    gradient = slopes(mixer, utilities, state)
    assert gradient.shape == (AGENTS,)
    assert (np.asarray(gradient) >= 0).all()
    before = float(mixed(mixer, utilities, state)[0])
    for agent in range(AGENTS):
        raised = utilities.at[agent].add(abs(rng.normal()) + 0.01)
        after = float(mixed(mixer, raised, state)[0])
        assert after >= before - 1e-5 * max(1.0, abs(before))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_best_joint_action_is_the_tuple_of_best_actions(seed: int) -> None:
    """Individual-global-max by brute force over every joint action."""
    rng = np.random.default_rng(seed)
    mixer, actions = fresh(seed % 1000), 4
    q = rng.normal(0, 2, (AGENTS, actions)).astype(np.float32)
    state = jnp.asarray(rng.normal(size=STATE), jnp.float32)
    joint_actions = np.array(list(product(range(actions), repeat=AGENTS)))
    utilities = jnp.asarray(q[np.arange(AGENTS), joint_actions])
    states = jnp.broadcast_to(state, (len(joint_actions), STATE))
    q_tot = np.asarray(mixed(mixer, utilities, states))[:, 0]
    greedy = q_tot[(joint_actions == q.argmax(axis=1)).all(axis=1)]
    assert greedy.shape == (1,)
    # At most a rounding error below the best: where a weight is 0, joint actions are equally good.
    assert greedy[0] >= q_tot.max() - 1e-6 * max(1.0, np.abs(q_tot).max())


def test_best_joint_action_is_unique_where_every_agent_counts() -> None:
    mixer, actions = fresh(0), 4
    rng = np.random.default_rng(1)
    q = rng.normal(0, 2, (AGENTS, actions)).astype(np.float32)
    state = jnp.asarray(rng.normal(size=STATE), jnp.float32)
    assert (np.asarray(slopes(mixer, jnp.asarray(q.max(axis=1)), state)) > 0.1).all()
    joint_actions = list(product(range(actions), repeat=AGENTS))
    q_tot = [
        float(mixed(mixer, jnp.asarray(q[np.arange(AGENTS), joint]), state)[0])
        for joint in joint_actions
    ]
    assert joint_actions[int(np.argmax(q_tot))] == tuple(q.argmax(axis=1))


def test_the_state_changes_how_utilities_are_mixed() -> None:
    mixer = fresh(0)
    utilities = jnp.array([1.0, -1.0, 0.5])
    here, there = jnp.zeros(STATE), jnp.ones(STATE)
    assert float(mixed(mixer, utilities, here)[0]) != float(mixed(mixer, utilities, there)[0])
    assert not np.allclose(slopes(mixer, utilities, here), slopes(mixer, utilities, there))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_feed_forward_mixer_is_the_network_of_the_paper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixer = fresh_feed_forward()
    utilities, state = rng.normal(0, 3, AGENTS), rng.normal(size=STATE)
    q_tot = mixed(mixer, jnp.asarray(utilities, jnp.float32), jnp.asarray(state, jnp.float32))
    expected = golden.feed_forward_mixer(mixer, np.float32(utilities), np.float32(state))
    np.testing.assert_allclose(q_tot[0], expected, rtol=2e-5, atol=2e-4)


def test_feed_forward_mixer_is_not_monotone() -> None:
    """What it is for: it can say that an agent's best action is bad for the team."""
    rng = np.random.default_rng(0)
    mixer = fresh_feed_forward()
    signs = [
        np.sign(slopes(mixer, jnp.asarray(rng.normal(0, 3, AGENTS), jnp.float32), jnp.ones(STATE)))
        for _ in range(20)
    ]
    assert {-1.0, 1.0} <= set(np.concatenate(signs))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_deviations_are_the_joint_actions_mixed_one_by_one(seed: int, scale: float) -> None:
    """Any base and any batch of states; no deviation is the base itself."""
    rng = np.random.default_rng(seed)
    mixer, actions = fresh(seed % 1000), 4
    q = rng.normal(0, scale, (2, AGENTS, actions)).astype(np.float32)
    base = rng.normal(0, scale, (2, AGENTS)).astype(np.float32)
    state = rng.normal(size=(2, STATE)).astype(np.float32)
    values = deviations(weights_of(mixer, state), jnp.asarray(base), jnp.asarray(q))
    assert values.shape == (2, AGENTS, actions)
    for b, agent, action in product(range(2), range(AGENTS), range(actions)):
        utilities = base[b].copy()
        utilities[agent] = q[b, agent, action]
        expected = golden.qmix(mixer, utilities, state[b])
        assert values[b, agent, action] == pytest.approx(expected, rel=1e-5, abs=1e-4 * scale)


def test_default_sizes_of_the_feed_forward_mixer_are_wqmixs() -> None:
    mixer = jax.eval_shape(lambda key: feed_forward_mixer(key, STATE, AGENTS), jax.random.key(0))
    shapes = {name: layer.weight.shape for name, layer in vars(mixer).items()}
    assert shapes == {
        "fc1": (256, AGENTS + STATE),
        "fc2": (256, 256),
        "fc3": (256, 256),
        "fc4": (1, 256),
        "v_hidden": (256, STATE),
        "v_out": (1, 256),
    }


def test_default_sizes_are_pymarls() -> None:
    mixer = jax.eval_shape(lambda key: q_mixer(key, STATE, AGENTS), jax.random.key(0))
    shapes = {name: layer.weight.shape for name, layer in vars(mixer).items()}
    assert shapes == {
        "w1_hidden": (64, STATE),
        "w1_out": (AGENTS * 32, 64),
        "w_final_hidden": (64, STATE),
        "w_final_out": (32, 64),
        "b1": (32, STATE),
        "v_hidden": (32, STATE),
        "v_out": (1, 32),
    }
