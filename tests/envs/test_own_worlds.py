"""Environments that break their contract late: each breach is one line with environment, step and agent."""

from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from envs import own_worlds
from fresh_networks import recurrent_agent
from mast.config import Config
from mast.envs.contract import check_contract, check_spec
from mast.envs.protocol import Outcome, TimeStep
from mast.errors import EnvironmentFailure, EnvironmentNaN, UserError
from mast.execution.environment import with_rewards
from mast.training.rollout import episodes, players_for
from mast.training.run import Run

LATE = [
    ("Idle", "step 2 of an episode: available: agent 0 has no action, must have at least one"),
    ("IdleOne", "step 2 of an episode: available: agent 1 has no action, must have at least one"),
    ("LateShape", "step 2 of an episode: observation: has shape [1, 4], must be [2, 4]"),
    ("LateRewardPerAgent", "step 1 of an episode: reward: has shape [1], must be []"),
    ("ResetRaises", "reset failed: ConnectionError: simulator gone"),
    ("StepRaises", "step 1 of an episode failed: ConnectionError: simulator gone"),
    ("LateNotTimeStep", "step 1 of an episode: must return a TimeStep second, not tuple"),
    ("NeverEnds", "step: neither terminated nor truncated after spec.episode_limit = 5 steps"),
    ("BothEnds", "step 5 of an episode: terminated and truncated are both True"),
    ("Ragged", "step 2 of an episode: observation of agent 1: has shape [3], must be [4]"),
    ("RaggedArray", "observation of agent 0: is no array of shape [4]"),
    ("FewRows", "step 2 of an episode: observation: has 1 rows for 2 agents"),
    ("AvailableNumbers", "step 2 of an episode: available: has type float64, must be bool"),
    ("LateInfinity", "step 2 of an episode: observation of agent 1: holds an infinity"),
    ("WinsWithoutAnEnd", "step 1 of an episode: won is True without terminated, or although"),
    ("LateNothing", "step 1 of an episode: must return (env_state, TimeStep, Outcome)"),
    ("Leaves", "step 1 of an episode failed: SystemExit: 0"),
]
NAN = [
    ("LateNaN", "step 3 of an episode: observation of agent 0: holds a NaN"),
    ("LateNaNReward", "step 1 of an episode: reward: holds a NaN"),
    ("LateNaNState", "step 2 of an episode: state: holds a NaN"),
]
AGENT = recurrent_agent(jax.random.key(0), features=4, actions=3, agents=2, hidden_size=8)


def play(environment: Any, count: int = 26) -> Any:
    keys = jax.random.split(jax.random.key(0), count)
    return players_for(environment, np.float32).record(AGENT, keys, jnp.float32(1.0))


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [(*case[:1], EnvironmentFailure, case[1]) for case in LATE]
    + [(*case[:1], EnvironmentNaN, case[1]) for case in NAN],
    ids=[name for name, _ in LATE + NAN],
)
def test_a_late_breach_is_one_line(name: str, error: type[Exception], told: str) -> None:
    check_contract(getattr(own_worlds, name)(), name)  # the first episode shows nothing
    with pytest.raises(error) as raised:
        play(getattr(own_worlds, name)())
    assert str(raised.value).startswith(f"envs:{name}: ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the suite's checks of types."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
def test_numpys_numbers_are_fine_as_sizes() -> None:
    environment = own_worlds.NumpySizes()
    assert {type(getattr(environment.spec, f)) for f in ("agents", "actions", "state")} == {int}
    assert type(environment.spec.max_return) is type(environment.spec.reward_scale) is float
    totals, _ = play(environment, 2)
    np.testing.assert_array_equal(totals.length, [5, 5])


def test_more_actions_than_a_recording_holds_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"spec\.actions is 40000, must be at most 32767"):
        with_rewards(own_worlds.ManyActions(), Config(environment="own_worlds:ManyActions"))


@pytest.mark.usefixtures("unchecked")
def test_sizes_that_do_not_fit_each_other_are_refused() -> None:
    class Halves(own_worlds.Base):
        kw: ClassVar[dict[str, Any]] = {"agent_features": (4, 2.5)}

    class Narrow(own_worlds.Base):
        kw: ClassVar[dict[str, Any]] = {"agent_actions": (2, 2)}

    class Few(own_worlds.Base):
        kw: ClassVar[dict[str, Any]] = {"agent_features": (4,)}

    for environment, told in (
        (Halves(), "spec.agent_features of agent 1 is 2.5, must be a whole number"),
        (Narrow(), "spec.actions is 3, the largest of spec.agent_actions 2"),
        (Few(), "spec.agent_features has 1 entries for 2 agents"),
    ):
        with pytest.raises(EnvironmentFailure, match=told):
            check_spec(environment, "own")


class Odd:
    """A JAX environment of three steps, odd from the second seed on."""

    def __init__(self, oddity: str) -> None:
        self.oddity = oddity
        self.spec = own_worlds.spec(oddity, limit=3)
        object.__setattr__(self.spec, "is_jax", True)

    def see(self, odd: Any) -> TimeStep:
        idle = odd & (self.oddity == "idle")
        available = jnp.ones((2, 3), bool).at[1].set(~idle)
        observation = jnp.where(odd & (self.oddity == "nan"), jnp.nan, jnp.ones((2, 4)))
        return TimeStep(observation, available, jnp.ones(4))

    def reset(self, key: Any) -> tuple[Any, TimeStep]:
        return jnp.int32(0), self.see(jnp.zeros((), bool))

    def step(self, key: Any, turn: Any, actions: Any) -> tuple[Any, TimeStep, Outcome]:
        odd, last = turn == 1, turn == 2
        ended = last & (self.oddity == "both") | (turn == 1) & (self.oddity == "won")
        cut = last & (self.oddity not in ("endless", "won"))
        won = (turn == 0) & (self.oddity == "won early")
        return turn + 1, self.see(odd), Outcome(jnp.float32(1), ended, cut, won)


@pytest.mark.parametrize(
    ("oddity", "told"),
    [
        ("idle", "available: agent 1 has no action at step 2 of an episode"),
        ("endless", "neither terminated nor truncated after 3 steps of an episode"),
        ("both", "both terminated and truncated after 3 steps of an episode"),
        ("won early", "won at step 3 of an episode without terminated"),
        ("nan", "observation is NaN at step 2 of an episode, agent 0"),
    ],
)
def test_a_jax_environment_is_checked_as_its_episodes_are_stored(oddity: str, told: str) -> None:
    environment: Any = Odd(oddity)
    run = Run(Config(environment="own:Odd", buffer_episodes=128), environment.spec, None)
    with pytest.raises((EnvironmentFailure, Exception)) as raised:
        run.add(episodes(*play(environment, 2)))
    assert str(raised.value).startswith(f"envs:{oddity}: {told}")
    if oddity != "nan":
        assert len(run.ring) == 0


def test_a_good_jax_environment_is_stored() -> None:
    environment: Any = Odd("good")
    run = Run(Config(environment="own:Odd", buffer_episodes=128), environment.spec, None)
    run.add(episodes(*play(environment, 2)))
    assert len(run.ring) == 2
