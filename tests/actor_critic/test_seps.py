"""SePS: the encoder's loss by definition, planted groups found, Davies–Bouldin by hand, agents shared out."""

import json

import jax
import numpy as np
import pytest

from mast.config import resolve
from mast.errors import UserError
from mast.learning.seps import (
    KL_WEIGHT,
    Transitions,
    agent_codes,
    clusters_of,
    encoder_loss,
    fresh_encoder,
    transitions_of,
)
from mast.learning.trajectory import Trajectory
from mast.runs.trainer import Trainer

pytestmark = pytest.mark.usefixtures("shared_programs")

AGENTS, FEATURES, ACTIONS = 8, 3, 2


def chance_transitions(rows: int, seed: int = 0) -> Transitions:
    """Even agents are pushed one way, odd ones the other; rewards differ likewise."""
    chance = np.random.default_rng(seed)
    agent = chance.integers(AGENTS, size=rows).astype(np.int32)
    observation = chance.normal(size=(rows, FEATURES))
    action = np.eye(ACTIONS)[chance.integers(ACTIONS, size=rows)]
    push = np.where(agent % 2, 1.0, -1.0)[:, None]
    following = np.concatenate([observation + push, push], -1)
    given = np.concatenate([observation, action], -1)
    return Transitions(agent, given.astype(np.float16), following.astype(np.float16))


def test_the_loss_is_the_definition():
    encoder = fresh_encoder(jax.random.key(0), AGENTS, FEATURES + ACTIONS, FEATURES + 1)
    batch = chance_transitions(5)
    noise = np.random.default_rng(1).normal(size=(5, 10)).astype(np.float32)
    given, following = (np.asarray(x, np.float32) for x in (batch.given, batch.following))
    jnp = jax.numpy
    found = encoder_loss(
        encoder,
        jnp.asarray(batch.agent),
        jnp.asarray(given),
        jnp.asarray(following),
        jnp.asarray(noise),
    )
    layers = [
        (np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64))
        for layer in (*encoder.encoder, *encoder.decoder)
    ]
    expected = 0.0
    for row in range(5):
        hidden = np.maximum(layers[0][0] @ np.eye(AGENTS)[batch.agent[row]] + layers[0][1], 0)
        both = layers[1][0] @ hidden + layers[1][1]
        mean, log_variance = both[:10], both[10:]
        x = np.concatenate([mean + np.exp(log_variance / 2) * noise[row], given[row]])
        x = np.maximum(layers[2][0] @ x + layers[2][1], 0)
        x = np.maximum(layers[3][0] @ x + layers[3][1], 0)
        expected += ((layers[4][0] @ x + layers[4][1] - following[row]) ** 2).sum()
        divergence = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()
        expected += KL_WEIGHT * divergence
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_one_step_episodes_tell_no_agents_apart():
    nothing = Transitions(*(each[:0] for each in chance_transitions(20)))
    with pytest.raises(UserError, match="sharing = seps: every step has ended its episode"):
        agent_codes(jax.random.key(0), nothing, AGENTS)


def test_planted_groups_are_found():
    codes = agent_codes(jax.random.key(0), chance_transitions(20_000), AGENTS)
    assert codes.shape == (AGENTS, 10)
    clusters = clusters_of(codes, None, 10, seed=0)
    assert clusters.network_of == [0, 1] * 4
    assert clusters.davies_bouldin[2] < clusters.davies_bouldin[3]
    assert clusters_of(codes, 3, 3, seed=0).network_of[:2] == [0, 1]
    assert len(set(clusters_of(codes, 3, 3, seed=0).network_of)) == 3
    assert clusters_of(codes, 1, 1, seed=0).network_of == [0] * AGENTS


def test_the_davies_bouldin_index_is_that_of_its_definition():
    codes = np.random.default_rng(3).normal(size=(6, 10))
    clusters = clusters_of(codes, 3, 10, seed=1)
    labels = np.array(clusters.network_of)
    centres = np.array([codes[labels == k].mean(0) for k in range(3)])
    spread = [np.linalg.norm(codes[labels == k] - centres[k], axis=1).mean() for k in range(3)]
    worst = [
        max(
            (spread[i] + spread[j]) / np.linalg.norm(centres[i] - centres[j])
            for j in range(3)
            if j != i
        )
        for i in range(3)
    ]
    assert clusters.davies_bouldin[3] == pytest.approx(np.mean(worst))


def trajectory_of(scale: float) -> Trajectory:
    ended = np.array([[False, True], [False, False]])
    observation = np.arange(2 * 2 * 3 * 1, dtype=np.float32).reshape(2, 2, 3, 1) * scale
    return Trajectory(
        observation=observation,
        available=np.ones((2, 2, 3, 2), bool),
        state=np.zeros((2, 2, 1), np.float32),
        action=np.ones((2, 2, 3), np.int32),
        reward=np.full((2, 2, 1), 7.0, np.float32),
        next_observation=observation + 100,
        next_state=np.zeros((2, 2, 1), np.float32),
        terminated=ended,
        ended=ended,
        behaviour={},
    )


def test_rows_that_end_an_episode_are_left_out():
    rows = transitions_of(trajectory_of(1.0), 2)
    np.testing.assert_array_equal(rows.agent, [0, 1, 2] * 3)
    kept = [0, 1, 2, 6, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(rows.given[:, 0], kept)
    np.testing.assert_array_equal(rows.given[:, 1:], [[0, 1]] * 9)
    np.testing.assert_array_equal(rows.following, [[100 + x, 7] for x in kept])
    assert rows.given.dtype == np.float16


def test_numbers_beyond_half_precision_are_kept():
    rows = transitions_of(trajectory_of(1e5), 2)
    np.testing.assert_array_equal(rows.given[:3, 0], [0, 1e5, 2e5])
    assert np.isfinite(agent_codes(jax.random.key(0), rows, 3)).all()


@pytest.mark.parametrize("algorithm", ["maa2c", "vdn"])
def test_agents_are_shared_out_once_and_the_run_is_resumed_bit_for_bit(tmp_path, algorithm):
    config = resolve(
        {
            "environment": "examples.pursuit:Pursuit",
            "algorithm": algorithm,
            "method": "dense",
            "sharing": "seps",
            "seps_clusters": 2,
            "seps_steps": 300,
            "steps": 700,
            "hidden_size": 8,
            "parallel_envs": 4,
            "batch_size": 4,
            "eval_interval": 200,
            "eval_episodes": 4,
            "checkpoint_interval": 0,
        }
    )
    trainer = Trainer(config, tmp_path / "run")
    fresh = np.asarray(trainer.engine.team(trainer.state, 0).params.agent.parts.network_of)
    np.testing.assert_array_equal(fresh, [0, 0])
    trainer.run()
    found = json.loads((tmp_path / "run" / "seps.json").read_text())
    team = trainer.engine.team(trainer.state, 0)
    assert found["network_of"] == np.asarray(team.params.agent.parts.network_of).tolist() == [0, 1]
    cut = Trainer(config, tmp_path / "cut")
    for metrics in cut:
        if metrics.env_steps > 450:
            cut.save()
            break
    cut.close()
    Trainer.resume(tmp_path / "cut").run()
    both = [(tmp_path / run / "policy.safetensors").read_bytes() for run in ("run", "cut")]
    assert both[0] == both[1]
