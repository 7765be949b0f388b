"""Agents with other numbers of features and actions than their mates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fresh_networks import recurrent_agent
from mast.envs.contract import check_contract
from mast.envs.protocol import AgentSpec, EnvironmentSpec, Outcome, TimeStep
from mast.errors import EnvironmentFailure
from mast.training.rollout import players_for

TEAM = (AgentSpec("talker_0", 2, 3, "talker"), AgentSpec("walker_0", 4, 5, "walker"))
LIMIT = 6


def spec_of(is_jax: bool) -> EnvironmentSpec:
    return EnvironmentSpec.of_team(
        TEAM,
        id="pair",
        state=1,
        episode_limit=LIMIT,
        has_win=False,
        is_jax=is_jax,
        identity="pair",
        rewards="agent",
    )


class Pair:
    """Agents are paid what they do; what they see is how many steps there were, or padding that is wrong."""

    def __init__(self, is_jax: bool, form: str) -> None:
        self.spec, self.form = spec_of(is_jax), form
        self.xp: Any = jnp if is_jax else np

    def see(self, turn: Any) -> TimeStep:
        xp = self.xp
        rows = [xp.full(agent.features, turn + 1, "float32") for agent in TEAM]
        available = [xp.ones(agent.actions, bool) for agent in TEAM]
        state = xp.full(1, turn, "float32")
        if self.form == "rows":
            return TimeStep(rows, available, state)  # type: ignore[arg-type]
        if self.form == "tuples":
            return TimeStep(tuple(rows), tuple(available), state)  # type: ignore[arg-type]
        padded = xp.full((2, 4), turn + 1, "float32")  # the padding is not zero
        return TimeStep(padded, xp.ones((2, 5), bool), state)

    def reset(self, key: Any) -> tuple[Any, TimeStep]:
        turn = self.xp.int32(0)
        return turn, self.see(turn)

    def step(self, key: Any, turn: Any, actions: Any) -> tuple[Any, TimeStep, Outcome]:
        turn = turn + self.xp.int32(1)
        no = self.xp.zeros((), bool)
        outcome = Outcome(self.xp.asarray(actions, "float32"), no, turn >= LIMIT, no)
        return turn, self.see(turn), outcome


def test_the_widest_agent_gives_the_sizes() -> None:
    spec = spec_of(True)
    assert (spec.agents, spec.observation, spec.actions) == (2, 4, 5)
    assert (spec.agent_names, spec.unit_types) == (("talker_0", "walker_0"), ("talker", "walker"))
    assert spec.team == TEAM
    assert not spec.is_uniform


def test_agents_that_are_alike_need_no_more_than_before() -> None:
    alike = EnvironmentSpec(
        "alike", 2, 3, 4, 5, 6, False, True, ("a", "b"), ("x", ""), 1.0, "alike", None
    )
    assert alike.team == (AgentSpec("a", 4, 3, "x"), AgentSpec("b", 4, 3))
    assert alike.is_uniform


@pytest.mark.parametrize("is_jax", [True, False], ids=["jax", "python"])
@pytest.mark.parametrize("form", ["rows", "tuples", "padded"])
def test_padding_is_zero_and_never_available(is_jax: bool, form: str) -> None:
    environment: Any = Pair(is_jax, form)
    with np.errstate(all="raise"):
        try:
            check_contract(environment, "pair")
        except TypeError as error:  # the suite's types; users' rows are checked by the contract
            pytest.fail(str(error))
    agent = recurrent_agent(jax.random.key(0), features=4, actions=5, agents=2, hidden_size=8)
    keys = jax.random.split(jax.random.key(1), 16)
    totals, recording = players_for(environment, np.float32).record(agent, keys, jnp.float32(1.0))
    observation, available, action = (
        np.asarray(each) for each in (recording.observation, recording.available, recording.action)
    )
    steps = np.arange(1, LIMIT + 2, dtype=np.float32)[:, None, None]
    np.testing.assert_array_equal(observation[:, :, 0, :2], np.tile(steps, (1, 16, 2)))
    assert not observation[:, :, 0, 2:].any()
    np.testing.assert_array_equal(observation[:, :, 1], np.tile(steps, (1, 16, 4)))
    assert available[:, :, 0, :3].all()
    assert not available[:, :, 0, 3:].any()
    assert available[:, :, 1].all()
    assert action[..., 0].max() == 2  # of 96 random ones
    assert action[..., 1].max() == 4
    np.testing.assert_array_equal(totals.return_, action.sum((0, 2)))


def test_rows_of_other_lengths_are_one_line() -> None:
    class Short(Pair):
        def see(self, turn: Any) -> TimeStep:
            seen = super().see(turn)
            return seen._replace(available=[seen.available[0], seen.available[1][:4]])

    with pytest.raises(EnvironmentFailure, match=r"available of agent 1: has shape \[4\], must be"):
        check_contract(Short(False, "rows"), "pair")
