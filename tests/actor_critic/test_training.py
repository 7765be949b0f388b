"""Whole trainings of an actor–critic: resumed bit for bit, sparse, shared in every way, several at once."""

import jax
import numpy as np
import pytest
from examples.pursuit import Pursuit
from rollouts import Paid, rows, small

from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.networks.agent import NO_ACTION
from mast.policy import Policy, save_policy
from mast.runs.trainer import Trainer

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.mark.always
def test_an_interrupted_run_is_resumed_bit_for_bit(tmp_path):
    settings = {"method": "rigl", "sparsity": 0.5, "sharing": "snp+id"}
    Trainer(small(**settings), tmp_path / "whole").run()
    trainer = Trainer(small(**settings), tmp_path / "cut")
    for metrics in trainer:
        if metrics.env_steps >= 500:  # in the middle of episodes
            trainer.save()
            break
    trainer.close()
    Trainer.resume(tmp_path / "cut").run()
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    policies = [(tmp_path / run / "policy.safetensors").read_bytes() for run in ("whole", "cut")]
    assert policies[0] == policies[1]
    columns = set(rows(tmp_path / "whole")[0])
    assert {"policy_loss", "value_loss", "entropy", "value", "sampled_return"} <= columns
    assert rows(tmp_path / "whole")[0]["epsilon"] is None


@pytest.mark.parametrize("algorithm", ["maa2c", "qmix"])
@pytest.mark.parametrize(
    "sharing", ["shared", "fups", "snp", "snp+id", "snp-nps", "usnp", "seps", "independent"]
)
def test_a_saved_policy_plays_as_the_network_that_was_saved(tmp_path, sharing, algorithm):
    spec = Pursuit().spec
    config = small(
        algorithm=algorithm, sharing=sharing, sparsity=0.6, seps_clusters=2, seps_steps=40
    )
    state = Learner(config, sizes_of(config, spec)).init(jax.random.key(0))
    acting = state.params.agent
    save_policy(tmp_path / "policy.safetensors", acting, state.optimizer.masks, spec, {})
    policy = Policy.load(tmp_path / "policy.safetensors")
    chance = np.random.default_rng(0)
    observation = chance.normal(size=(spec.agents, spec.observation))
    observation = jax.numpy.asarray(observation, jax.numpy.float32)
    last_action = jax.numpy.full(spec.agents, NO_ACTION)
    memory = acting.initial_hidden(spec.agents)
    values, after = acting.step(observation, last_action, memory)
    action, found = policy.act(observation, np.ones((spec.agents, spec.actions), bool))
    np.testing.assert_array_equal(action, np.argmax(values, -1))
    np.testing.assert_allclose(found.hidden, after, atol=1e-6)
    values, _ = acting.step(observation, jax.numpy.asarray(action), after)
    action, _ = policy.act(observation, np.ones((spec.agents, spec.actions), bool), found)
    np.testing.assert_array_equal(action, np.argmax(values, -1))
    assert policy.density < 1


@pytest.mark.parametrize("method", ["dense", "tiny", "ss", "set", "mast", "magnitude"])
def test_every_method_keeps_inactive_weights_at_zero(method):
    trainer = Trainer(small(method=method, sparsity=0.6, steps=900, eval_interval=900))
    trainer.run()
    state = trainer.engine.team(trainer.state, 0)
    first = trainer.engine._learners[0].init(jax.random.key(0)).optimizer.masks
    assert state.target is None
    for name, mask in state.optimizer.masks.items():
        network, _, index, _ = name.split(".")
        weight = np.asarray(getattr(state.params, network).layers[int(index)].weight)
        assert not weight[~np.asarray(mask)].any()
        assert mask.shape == first[name].shape
    expected = {"dense": 1.0, "tiny": 1.0}.get(method, 0.4)
    assert trainer.densities[0] == pytest.approx(expected, abs=0.02)


def test_several_seeds_are_one_program(tmp_path):
    config = small(seeds=2, placement="vmap", steps=300)
    Trainer(config, tmp_path / "both").run()
    Trainer(small(seed=1, steps=300), tmp_path / "alone").run()
    together, alone = rows(tmp_path / "both" / "seed-1"), rows(tmp_path / "alone")
    assert [row["env_steps"] for row in together] == [row["env_steps"] for row in alone]
    for name in ("loss", "value_loss", "entropy", "return"):
        assert together[-1][name] == pytest.approx(alone[-1][name], rel=1e-3, abs=1e-4)


def test_each_agent_learns_from_its_own_reward():
    config = small(discount=0.01, learning_rate=1e-2, steps=6000)
    trainer = Trainer(config, environment=Paid())
    trainer.run()
    params = trainer.engine.team(trainer.state, 0).params
    _, seen = Paid().reset(jax.random.key(0))
    values = np.asarray(params.values(seen.observation))
    agents = np.arange(trainer.environment.spec.agents)
    np.testing.assert_allclose(values, agents / 0.99, atol=0.2)
