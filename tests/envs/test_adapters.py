"""Environments of other libraries, each on a real package; CI installs them all."""

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.plain_pymarl import Countdown
from fresh_networks import recurrent_agent
from mast.envs.names import ADAPTERS, check_id
from mast.envs.protocol import Environment, EnvironmentSpec
from mast.envs.registry import make
from mast.errors import EnvironmentFailure, UserError
from mast.training.rollout import players_for

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS)


def played(environment: Any, count: int = 4) -> tuple[Any, Any]:
    """Random episodes, each step held to the contract."""
    spec: EnvironmentSpec = environment.spec
    agent = recurrent_agent(
        jax.random.key(0), spec.observation, spec.actions, spec.agents, hidden_size=4
    )
    keys = jax.random.split(jax.random.key(1), count)
    return players_for(environment, np.float32).record(agent, keys, jnp.float32(1.0))


def test_a_speaker_and_a_listener_of_pettingzoo() -> None:
    mpe2 = pytest.importorskip("mpe2.simple_speaker_listener_v4")
    id = "pettingzoo/mpe2.simple_speaker_listener_v4"
    environment = make(id, env_args={"max_cycles": 7}, reward_scale=0.5)
    spec = environment.spec
    assert [tuple(agent) for agent in spec.team] == [
        ("speaker_0", 3, 3, "speaker"),
        ("listener_0", 11, 5, "listener"),
    ]
    assert (spec.episode_limit, spec.rewards, spec.has_win) == (7, "agent", False)
    assert spec.identity.startswith(id)
    assert spec.identity.endswith("limit 7, reward x0.5, max_cycles 7")
    _, seen = environment.reset(3)
    theirs = mpe2.parallel_env(max_cycles=7)
    observations, _ = theirs.reset(seed=3)
    np.testing.assert_array_equal(seen.state, theirs.state())
    for turn in range(7):
        actions = np.array([turn % 3, turn % 5])
        _, seen, outcome = environment.step(0, None, actions)
        observations, rewards, _, cut, _ = theirs.step(
            dict(zip(theirs.agents, actions, strict=True))
        )
        for row, name in zip(seen.observation, observations, strict=True):
            np.testing.assert_array_equal(row, np.asarray(observations[name], np.float32))
        np.testing.assert_allclose(outcome.reward, 0.5 * np.array([*rewards.values()]), rtol=1e-6)
        assert not outcome.terminated
        assert outcome.truncated == (turn == 6) == all(cut.values())


def test_agents_of_pettingzoo_that_die_keep_a_row() -> None:
    pytest.importorskip("pettingzoo")

    from gymnasium.spaces import Box, Discrete

    class Deaths:
        """Agent b dies at step 2 with a last reward, comes never again; a ends the game at step 4."""

        possible_agents: Any = ("a", "b")
        metadata: Any = {}  # noqa: RUF012
        max_cycles = 9
        unwrapped = property(lambda self: self)

        def __init__(self, how: str = "terminates") -> None:
            self.how = how

        def observation_space(self, agent: str) -> Any:
            return Box(-1, 1, (2,))

        def action_space(self, agent: str) -> Any:
            return Discrete(3, start=1)

        def reset(self, seed: int) -> Any:
            self.turn, self.agents, self.played = 0, ["a", "b"], []
            return {name: np.ones(2) for name in self.agents}, {name: {} for name in self.agents}

        def step(self, actions: Any) -> Any:
            self.turn += 1
            self.played.append(actions)
            acted = list(self.agents)
            last = self.turn == 4
            died = {name: (name == "b") or (last and self.how == "terminates") for name in acted}
            died = {name: dead and self.turn >= 2 for name, dead in died.items()}
            cut = dict.fromkeys(acted, last and self.how == "is cut")
            self.agents = [name for name in acted if not (died[name] or cut[name])]
            infos = {name: {"action_mask": np.array([0, 1, 1])} for name in acted}
            rewards = {name: float(self.turn) for name in acted}
            return {name: np.ones(2) for name in acted}, rewards, died, cut, infos

    for how in ("terminates", "is cut"):
        module: Any = ModuleType("deaths")
        module.parallel_env = partial(Deaths, how)
        with mock.patch.dict(sys.modules, {"deaths": module}):
            environment = make("pettingzoo/deaths")
        _, seen = environment.reset(0)
        steps = [environment.step(0, None, np.array([1, 2])) for _ in range(4)]
        inner = environment._env  # type: ignore[attr-defined]
        assert inner.played == [{"a": 2, "b": 3}] * 2 + [{"a": 2}] * 2
        rewards = np.stack([outcome.reward for _, _, outcome in steps])
        np.testing.assert_array_equal(rewards, [[1, 1], [2, 2], [3, 0], [4, 0]])
        _, seen, _ = steps[0]
        np.testing.assert_array_equal(seen.available, [[False, True, True]] * 2)
        _, seen, _ = steps[1]  # b's last observation, and nothing to do any more
        np.testing.assert_array_equal(seen.available, [[False, True, True], [True, False, False]])
        np.testing.assert_array_equal(seen.observation, np.ones((2, 2)))
        _, seen, _ = steps[2]
        np.testing.assert_array_equal(seen.observation, [[1, 1], [0, 0]])
        ends = [(bool(o.terminated), bool(o.truncated)) for _, _, o in steps]
        assert ends == [(False, False)] * 3 + [(how == "terminates", how == "is cut")]
        played(environment, 2)


def test_a_game_turn_by_turn_is_played_by_pettingzoos_own_wrapper() -> None:
    pytest.importorskip("pettingzoo.classic.tictactoe_v3")
    environment = make("pettingzoo/pettingzoo.classic.tictactoe_v3", episode_limit=9)
    assert environment.spec.team[0].features == 18
    _, recording = played(environment)
    assert (np.asarray(recording.available).sum(-1) < 9).any()  # its observation's action_mask


def test_tuples_of_spaces_of_gymnasium() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("lbforaging")
    name = "lbforaging:Foraging-8x8-2p-3f-v3"
    environment = make(f"gymnasium/{name}")
    spec = environment.spec
    assert (spec.agents, spec.observation, spec.actions, spec.state) == (2, 15, 6, 30)
    assert (spec.episode_limit, spec.rewards) == (50, "agent")
    _, seen = environment.reset(4)
    theirs = gymnasium.make(name, disable_env_checker=True)
    observations, _ = theirs.reset(seed=4)
    for turn in range(50):
        np.testing.assert_array_equal(np.stack(list(seen.observation)), np.stack(observations))
        np.testing.assert_array_equal(seen.state, np.concatenate(observations))
        actions = np.array([turn % 5, (turn + 2) % 5])
        _, seen, outcome = environment.step(0, None, actions)
        observations, reward, terminated, truncated, _ = theirs.step(tuple(actions))
        np.testing.assert_allclose(outcome.reward, reward)
        assert (outcome.terminated, outcome.truncated) == (terminated, truncated)
        if terminated or truncated:
            break
    assert truncated or terminated


def test_rware_and_a_team_of_one() -> None:
    pytest.importorskip("rware")
    environment = make("gymnasium/rware:rware-tiny-2ag-v2", episode_limit=12)
    assert (environment.spec.agents, environment.spec.observation) == (2, 71)
    totals, _ = played(environment)
    np.testing.assert_array_equal(totals.length, 12)
    one = make("gymnasium/CartPole-v1").spec
    assert (one.agents, one.rewards, one.episode_limit) == (1, "team", 500)


def test_jaxmarls_environments() -> None:
    environment = make("jaxmarl/MPE_simple_speaker_listener_v4", env_args={"max_steps": 6})
    assert [agent.features for agent in environment.spec.team] == [3, 11]
    assert [agent.actions for agent in environment.spec.team] == [3, 5]
    totals, recording = played(environment)
    np.testing.assert_array_equal(totals.length, 6)
    assert np.asarray(totals.truncated).all()
    assert not np.asarray(recording.observation)[:, :, 0, 3:].any()
    assert not np.asarray(recording.available)[:, :, 0, 3:].any()
    with pytest.raises(UserError, match="acts in a Box; only Discrete actions"):
        make("jaxmarl/MPE_simple_facmac_v1")
    with pytest.raises(UserError, match="nope is not in registered"):
        make("jaxmarl/nope")


def test_the_riddle_of_jaxmarl_ends_before_its_limit() -> None:
    totals, _ = played(make("jaxmarl/switch_riddle"), 32)
    assert np.asarray(totals.terminated | totals.truncated).all()
    assert not np.asarray(totals.terminated & totals.truncated).any()
    assert np.asarray(totals.terminated).any()


@pytest.mark.parametrize(
    ("name", "sizes", "rewards"),
    [
        ("LevelBasedForaging-v0", (2, 12, 6, 24), "agent"),
        ("Cleaner-v0", (3, 102, 4, 106), "team"),
    ],
)
def test_teams_of_jumanji(name: str, sizes: tuple[int, ...], rewards: str) -> None:
    pytest.importorskip("jumanji")
    environment = make(f"jumanji/{name}", episode_limit=8)
    spec = environment.spec
    assert (spec.agents, spec.observation, spec.actions, spec.state) == sizes
    assert (spec.rewards, spec.episode_limit) == (rewards, 8)
    totals, recording = played(environment)
    assert np.asarray(totals.terminated ^ totals.truncated).all()
    assert np.abs(recording.observation).max() <= 1


def test_an_agent_of_jumanjis_connector_tells_itself_from_the_others() -> None:
    pytest.importorskip("jumanji")
    from mast.envs.adapters.jumanji import own_and_others

    views = own_and_others(jnp.array([[0, 1, 2], [3, 4, 6]]), 2)
    np.testing.assert_allclose(
        views * 6, [[[0, 1, 2], [3, 4, 6]], [[0, 4, 5], [6, 1, 3]]], rtol=1e-6
    )


@pytest.mark.parametrize("five", [False, True], ids=["pymarl", "epymarl"])
def test_an_environment_of_pymarl(five: bool) -> None:
    id = "pymarl/envs.plain_pymarl:Countdown"
    environment = make(id, env_args={"five_results": five, "steps": 4}, reward_scale=2.0)
    spec = environment.spec
    assert (spec.agents, spec.actions, spec.observation, spec.state) == (2, 3, 3, 2)
    assert (spec.episode_limit, spec.has_win, spec.rewards) == (4, True, "team")
    first = environment.reset(5)[1]
    np.testing.assert_array_equal(first.state, environment.reset(5)[1].state)  # seeded

    def ends(*joint: tuple[int, int]) -> tuple[float, bool, bool, bool]:
        environment.reset(1)
        for actions in joint:
            _, _, outcome = environment.step(0, None, np.array(actions))
        return tuple(x.item() for x in outcome)  # type: ignore[return-value]

    wait = (0, 0)
    assert ends(wait, wait, wait, (1, 1)) == (20.0, True, False, True)
    assert ends(wait, (0, 1)) == (-2.0, True, False, False)
    assert ends(wait, wait, wait, wait) == (0.0, False, True, False)
    played(environment)
    with pytest.raises(UserError, match="has no class seed"):
        make("pymarl/envs.plain_pymarl:seed")


def test_an_environment_with_smacs_interface() -> None:
    id = "pymarl/envs.plain_smac:StarCraft2Env"
    environment = make(id, env_args={"map_name": "3m", "seed": 1})
    spec = environment.spec
    assert (spec.agents, spec.actions, spec.observation, spec.state) == (3, 7, 3, 4)
    assert (spec.episode_limit, spec.has_win, spec.rewards) == (6, True, "team")
    played(environment)

    def ends(environment: Environment, action: int) -> tuple[int, tuple[float, bool, bool, bool]]:
        _, seen = environment.reset(1)
        step = 0
        while step < 6:
            step += 1
            actions = np.where(seen.available[:, 0], 0, action)
            _, seen, outcome = environment.step(0, None, actions)
            if outcome.terminated or outcome.truncated:
                break
        return step, tuple(x.item() for x in outcome)  # type: ignore[return-value]

    steps, (reward, *won) = ends(environment, 6)
    assert steps < 6
    assert reward > 10
    assert won == [True, False, True]
    assert ends(environment, 4)[1][1:] in ((False, True, False), (True, False, False))
    crashing = make(id, env_args={"crash_at": 3})
    assert ends(crashing, 4) == (3, (0.0, False, True, False))  # the game was lost: a cut


def test_a_late_breach_in_a_library_is_one_line() -> None:
    environment = make("pymarl/envs.plain_pymarl:Countdown")
    with (
        mock.patch.object(Countdown, "get_obs", side_effect=OSError("game closed")),
        pytest.raises(
            EnvironmentFailure, match=r"pymarl/envs\.plain_pymarl:Countdown: reset failed"
        ),
    ):
        played(environment)


@pytest.mark.parametrize("prefix", ["pettingzoo", "gymnasium", "jumanji"])
def test_a_missing_package_says_what_to_install(prefix: str) -> None:
    adapter = ADAPTERS[prefix]
    check_id(adapter.example)
    with (
        mock.patch("mast.envs.registry.is_installed", return_value=False),
        pytest.raises(UserError) as error,
    ):
        make(adapter.example)
    assert str(error.value) == (
        f"{adapter.example}: {adapter.package} is not installed: pip install 'mast-marl[{prefix}]'"
    )


@pytest.mark.parametrize(
    ("id", "told"),
    [
        (
            "pettingzoo/",
            'environment "pettingzoo/" must look like pettingzoo/mpe2.simple_spread_v3',
        ),
        ("pymarl/module", 'environment "pymarl/module" must look like pymarl/package.module:Class'),
    ],
)
def test_names_of_other_libraries_have_a_form(id: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        make(id)
    assert str(error.value) == told


def test_options_that_an_adapter_does_not_take() -> None:
    with pytest.raises(UserError, match="does not take state_last_action"):
        make("jaxmarl/switch_riddle", state_last_action=True)
    with pytest.raises(UserError, match=r"making it failed: TypeError: .*nonsense"):
        make("jaxmarl/switch_riddle", env_args={"nonsense": 1})
