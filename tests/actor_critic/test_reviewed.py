"""What a second reader found: keys, evaluations, updates and budgets of actor–critics and shared networks."""

import itertools

import jax
import numpy as np
import pytest
from rollouts import Paid, rows, small

from mast.config import Config
from mast.execution.account import account_of, sizes_of
from mast.execution.environment import with_rewards
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.networks.spec import Sizes
from mast.runs.trainer import Trainer

TEAM = Sizes(5, 6, 4, 3)


@pytest.mark.parametrize("seed", range(3))
def test_masks_of_a_recurrent_agent_do_not_follow_from_its_weights(seed):
    config = Config(
        environment="own:Game",
        method="dense",
        hidden_size=64,
        sharing="snp",
        prune_ratio=(0.25, 0.25),
    )
    agent = Learner(config, sizes_of(config, TEAM)).dense_params(jax.random.key(seed)).agent
    for name, layer in itertools.product(("fc1", "gru"), (agent.gru_input, agent.fc1)):
        kept = np.asarray(agent.parts.neurons[name])
        rows_of = [*np.asarray(layer.weight), *np.asarray(layer.bias).reshape(-1, 64)]
        for mask in kept:
            smallest = [set(np.argsort(row)[:16]) for row in rows_of if len(row) == 64]
            assert set(np.flatnonzero(~mask)) not in smallest


def test_seeds_in_one_program_may_have_rewards_of_each_agent(tmp_path):
    config = small(seeds=2, placement="vmap", steps=300, eval_interval=300)
    trainer = Trainer(config, tmp_path / "both", environment=Paid())
    trainer.run()
    agents = Paid().spec.agents
    last = rows(tmp_path / "both" / "seed-1")[-1]
    for name in (
        "return",
        "sampled_return",
    ):  # of four episodes; each step pays every agent its number
        assert last[name] > 0
        assert (4 * last[name]) % sum(range(agents)) == 0


def test_evaluations_and_updates_of_ppo_are_counted_as_they_are_asked_for(tmp_path):
    config = small(
        algorithm="ippo", rollout_steps=10, epochs=2, minibatches=2, eval_interval=400, steps=1200
    )
    trainer = Trainer(config, tmp_path / "run")
    trainer.run()
    assert [row["env_steps"] for row in rows(tmp_path / "run")] == [400, 800, 1200]
    assert trainer.counters.updates == 1200 // 40 * 4
    assert trainer.meter.updates == trainer.counters.updates


def test_each_network_of_seps_keeps_its_number_of_weights():
    config = small(sharing="seps", seps_clusters=3, seps_steps=100, sparsity=0.8, method="rigl")
    learner = Learner(config, sizes_of(config, TEAM))
    state, method = learner.init(jax.random.key(0)), method_from_config(config)

    def counts(state):
        return {name: np.asarray(m).sum((1, 2)) for name, m in state.optimizer.masks.items()}

    before = counts(state)
    # As before the agents are shared out: only network 0 has a gradient.
    trainable = learner.trainable(state)
    gradient = jax.tree.map(lambda leaf: jax.numpy.ones_like(leaf).at[1:].set(0), trainable)
    evolved, _ = learner.evolve(
        state,
        gradient,
        method,
        learner.budget(state.params),
        jax.numpy.float32(0),
        jax.random.key(1),
    )
    for name, each in counts(evolved).items():
        np.testing.assert_array_equal(each, before[name])
        assert len(set(each.tolist())) == 1
    active = sum(int(each.sum()) for each in before.values())
    account = account_of(config, TEAM)
    assert sum(layer.active for layer in account.layers) == active


def test_an_actor_critic_may_learn_from_the_teams_reward():
    assert with_rewards(Paid(), small()).spec.rewards == "agent"
    assert with_rewards(Paid(), small(rewards="team")).spec.rewards == "team"


def test_settings_that_nobody_reads_are_refused():
    with pytest.raises(ValueError, match="critic_prune_ratio: algorithm qmix has no critic"):
        Config(environment="own:Game", sharing="snp", critic_prune_ratio=(0.0, 0.1))
    assert (
        Config(environment="own:Game", algorithm="maa2c", parallel_envs=8192).parallel_envs == 8192
    )
