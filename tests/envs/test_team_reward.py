"""Individual rewards: the contract, and one reward made of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.config import Config
from mast.envs.contract import check_contract
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.envs.team_reward import TeamReward
from mast.errors import UserError
from mast.execution.environment import with_rewards
from mast.networks.agent import recurrent_agent
from mast.networks.spec import Sizes, recurrent_agent_spec
from mast.training.rollout import play, players_for

SPEC = EnvironmentSpec(
    id="two",
    agents=2,
    actions=2,
    observation=1,
    state=2,
    episode_limit=3,
    has_win=False,
    is_jax=True,
    agent_names=("a", "b"),
    unit_types=("", ""),
    reward_scale=1.0,
    identity="two",
    max_return=None,
    rewards="agent",
)


class Two:
    """Agent 0 is paid 1 and agent 1 is paid 3 at each of three steps."""

    spec = SPEC

    def _seen(self) -> TimeStep:
        return TimeStep(jnp.ones((2, 1)), jnp.ones((2, 2), bool), jnp.ones(2))

    def reset(self, key):
        return jnp.int32(0), self._seen()

    def step(self, key, state, actions):
        over = state == 2
        outcome = Outcome(jnp.array([1.0, 3.0]), jnp.asarray(False), over, jnp.asarray(False))
        return state + 1, self._seen(), outcome


class PaysTheTeam(Two):
    def step(self, key, state, actions):
        state, seen, outcome = super().step(key, state, actions)
        return state, seen, outcome._replace(reward=jnp.float32(4.0))


def test_the_contract_takes_a_reward_for_each_agent_where_the_spec_says_so():
    check_contract(Two(), "two")
    with pytest.raises(UserError, match=r"reward: has shape \[\], must be \[2\]"):
        check_contract(PaysTheTeam(), "two")


@pytest.mark.parametrize(("how", "reward"), [("sum", 4.0), ("mean", 2.0)])
def test_value_decomposition_learns_from_the_sum_or_the_mean(how, reward):
    config = Config(environment="own:Two", team_reward=how)
    wrapped = with_rewards(Two(), config)
    assert isinstance(wrapped, TeamReward)
    assert wrapped.spec.rewards == "team"
    assert how in wrapped.spec.identity
    state, _ = wrapped.reset(jax.random.key(0))
    assert float(wrapped.step(jax.random.key(0), state, jnp.zeros(2, int))[2].reward) == reward
    check_contract(wrapped, "two")


def test_an_environment_with_one_reward_stays_itself():
    class Team(Two):
        spec = dataclasses.replace(SPEC, rewards="team")

    team = Team()
    assert with_rewards(team, Config(environment="own:Team")) is team


def test_the_return_of_an_episode_is_the_sum_over_agents():
    sizes = Sizes(observation=1, state=2, actions=2, agents=2, hidden_size=4)
    agent = recurrent_agent(jax.random.key(0), recurrent_agent_spec(sizes), 1, 2)
    keys = jax.random.split(jax.random.key(1), 2)
    totals = play(players_for(Two(), "float32"), agent, keys, jnp.float32(0), 2)
    np.testing.assert_array_equal(totals.return_, [12.0, 12.0])
