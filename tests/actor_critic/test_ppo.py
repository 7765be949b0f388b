"""IPPO and MAPPO against plain loops: advantages, loss, value statistics; and whole sparse trainings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import AGENTS, ENVS, TIME, rows, small, trajectory_of

from mast.algorithms.actor_critic.policy import generalised_advantages
from mast.algorithms.actor_critic.ppo import ValueStatistics, huber
from mast.config import Config
from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.networks.spec import Sizes
from mast.runs.trainer import Trainer

pytestmark = pytest.mark.usefixtures("shared_programs")

DISCOUNT, LAMBDA, CLIP = 0.9, 0.8, 0.2


def test_advantages_are_those_of_their_definition():
    """Â_t = Σ_k (γλ)^k δ_{t+k} to the end of the episode or of the rollout."""
    trajectory = jax.tree.map(jnp.asarray, trajectory_of(4))
    chance = np.random.default_rng(5)
    value, following = chance.normal(size=(2, TIME, ENVS, AGENTS)).astype(np.float32)
    found = generalised_advantages(
        trajectory, jnp.asarray(value), jnp.asarray(following), jnp.float32(0.9), jnp.float32(0.8)
    )
    for t, e, i in np.ndindex(TIME, ENVS, AGENTS):
        total = 0.0
        for k in range(TIME - t):
            after = 0.0 if trajectory.terminated[t + k, e] else float(following[t + k, e, i])
            delta = float(trajectory.reward[t + k, e, i]) + 0.9 * after - float(value[t + k, e, i])
            total += (0.9 * 0.8) ** k * delta
            if trajectory.ended[t + k, e]:
                break
        assert float(found[t, e, i]) == pytest.approx(total, abs=1e-5)


def test_huber_is_half_the_square_and_then_linear():
    np.testing.assert_allclose(huber(jnp.array([0.0, -2.0, 10.0, 12.0])), [0.0, 2.0, 50.0, 70.0])


def test_statistics_are_unbiased_running_means():
    statistics = ValueStatistics(
        *jnp.zeros((3, 1)).reshape(
            3,
        )
    )
    assert [float(x) for x in statistics.scale()] == [0.0, 1.0]
    for returns in ([1.0, 3.0], [5.0, 7.0]):
        statistics = statistics.with_returns(jnp.array(returns))
    mean, deviation = statistics.scale()
    assert float(mean) == pytest.approx(4.0, abs=1e-3)
    assert float(deviation) == pytest.approx(np.std([1, 3, 5, 7]), abs=1e-2)


def mlp(network, x, agent):
    layers = [
        (np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64))
        for layer in network.layers
    ]
    x = np.concatenate([x, np.eye(AGENTS)[agent]])
    for w, b in layers[:-1]:
        x = np.maximum(w @ x + b, 0)
    return layers[-1][0] @ x + layers[-1][1]


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_the_loss_is_the_definition(algorithm):
    config = Config(
        environment="own:Game",
        algorithm=algorithm,
        hidden_size=6,
        discount=DISCOUNT,
        gae_lambda=LAMBDA,
        ppo_clip=CLIP,
    )
    learner = Learner(config, sizes_of(config, Sizes(4, 2, 3, AGENTS)))
    method, params = method_from_config(config), learner.dense_params(jax.random.key(0))
    trajectory = jax.tree.map(jnp.asarray, trajectory_of(6))
    chance = np.random.default_rng(7)
    state = chance.normal(size=(TIME, ENVS, 2)).astype(np.float32)
    old = np.log(chance.uniform(0.2, 0.6, size=(TIME, ENVS, AGENTS))).astype(np.float32)
    trajectory = trajectory._replace(
        state=jnp.asarray(state), behaviour={"log_probability": jnp.asarray(old)}
    )
    after, batch = learner.entry.algorithm.targets(params, trajectory, method)
    assert float(after.statistics.share) > 0
    # The critic has moved a little since the rollout, so that clipping of values matters.
    batch = batch._replace(value=batch.value + 0.5 * jnp.sign(batch.returns))
    loss, metrics = learner.entry.algorithm.loss(after, None, batch, method, jnp.float32(0))
    expected, clipped = 0.0, 0
    advantage = np.asarray(batch.advantage, np.float64)
    assert abs(advantage.mean()) < 1e-5
    assert advantage.std() == pytest.approx(1, abs=1e-3)
    for t, e, i in np.ndindex(TIME, ENVS, AGENTS):
        logits = mlp(params.agent, np.asarray(trajectory.observation[t, e, i]), i)
        logits = np.where(trajectory.available[t, e, i], logits, -1e10)
        log_pi = logits - logits.max()
        log_pi = log_pi - np.log(np.exp(log_pi).sum())
        ratio = np.exp(log_pi[trajectory.action[t, e, i]] - old[t, e, i])
        near = min(max(ratio, 1 - CLIP), 1 + CLIP)
        clipped += abs(ratio - 1) > CLIP
        expected -= min(ratio * advantage[t, e, i], near * advantage[t, e, i])
        expected += config.entropy_coefficient * (np.exp(log_pi) * log_pi).sum()
        read = state[t, e] if algorithm == "mappo" else np.asarray(trajectory.observation[t, e, i])
        value, before = mlp(params.critic, read, i)[0], float(batch.value[t, e, i])
        moved = before + min(max(value - before, -CLIP), CLIP)
        wanted = float(batch.returns[t, e, i])
        expected += max(0.5 * (wanted - value) ** 2, 0.5 * (wanted - moved) ** 2)
    count = TIME * ENVS * AGENTS
    assert float(loss) == pytest.approx(expected / count, abs=1e-4)
    assert float(metrics["clipped"]) == pytest.approx(clipped / count)


@pytest.mark.parametrize("algorithm", ["ippo", "mappo"])
def test_a_sparse_team_trains_in_minibatches_and_is_resumed_bit_for_bit(tmp_path, algorithm):
    config = small(
        algorithm=algorithm,
        sparsity=0.5,
        rollout_steps=10,
        epochs=2,
        minibatches=4,
        hidden_layers=2,
        steps=800,
    )
    assert config.method == "rigl"
    whole = Trainer(config, tmp_path / "whole")
    whole.run()
    assert whole.counters.updates == 800 // 40 * 8
    assert whole.densities[0] == pytest.approx(0.5, abs=0.02)
    cut = Trainer(config, tmp_path / "cut")
    next(iter(cut))
    cut.save()
    cut.close()
    Trainer.resume(tmp_path / "cut").run()
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert {"clipped", "policy_loss"} <= set(rows(tmp_path / "whole")[0])
    params = whole.engine.team(whole.state, 0).params
    assert float(params.statistics.share) > 0
