"""Every environment, held to the protocol by whole random games; every breach, told in one line."""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.envs.contract import check_contract
from mast.envs.names import ENTRIES
from mast.envs.protocol import Environment, Outcome, TimeStep
from mast.envs.registry import make
from mast.errors import UserError

ROOT = Path(__file__).parents[2]
SHORT = 12
PLAYED: dict[str, dict[str, Any]] = {
    "smax/3m": {"episode_limit": SHORT},
    "smax/2s3z": {"state_last_action": True},
    "smax/5m_vs_6m": {},
    "smax/smacv2_5_units": {},
    "smax/MMM2": {"episode_limit": 60},
    "smax/2c_vs_64zg": {"episode_limit": 40},
    "mpe/simple_spread": {},
    "lbf/lbf1": {},
    "lbf/5x7-8p-2f-coop-sight2": {"reward_scale": 3.0},
    "examples.pursuit:Pursuit": {},
}
GAMES = 8
QUICKLY_COMPILED = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


@cache
def environment(id: str) -> Environment:
    if str(ROOT) not in sys.path:  # examples/ lies in the root
        sys.path.insert(0, str(ROOT))
    return make(id, **PLAYED[id])


class Games(NamedTuple):
    """Random legal games, arrays [time, games, ...], stepped on past their ends."""

    seen: TimeStep  # one more in time than outcome
    outcome: Outcome
    ends: np.ndarray  # number of steps of each game, 0 where it did not end

    def until_end(self, array: Any) -> np.ndarray:
        """Only what lies within the games."""
        return array[np.arange(len(array))[:, None] <= self.ends]


@cache
def random_games(id: str) -> Games:
    env, random = environment(id), np.random.default_rng(0)

    def compiled(function: Any, *arguments: Any) -> Any:
        function = jax.jit(jax.vmap(function))
        return function.lower(*arguments).compile(QUICKLY_COMPILED)

    keys = jax.random.split(jax.random.key(7), (env.spec.episode_limit + 1, GAMES))
    reset = compiled(env.reset, keys[0])
    env_state, seen = reset(keys[0])
    nothing = np.zeros((GAMES, env.spec.agents), np.int32)
    step = compiled(env.step, keys[0], env_state, nothing)
    all_seen, outcomes = [seen], []
    for key in keys[1:]:
        liking = random.random(seen.available.shape)
        actions = np.where(seen.available, liking, -1).argmax(-1).astype(np.int32)
        env_state, seen, outcome = step(key, env_state, actions)
        all_seen.append(seen)
        outcomes.append(outcome)
    seen, outcome = (jax.tree.map(lambda *x: np.stack(x), *each) for each in (all_seen, outcomes))
    over = outcome.terminated | outcome.truncated
    return Games(seen, outcome, np.where(over.any(0), over.argmax(0) + 1, 0))


@pytest.mark.parametrize("id", [id for id in PLAYED if "smax" not in id or "MMM2" in id])
def test_keeps_the_contract(id: str) -> None:
    check_contract(environment(id), id)


@pytest.mark.parametrize("id", PLAYED)
def test_shapes_and_types(id: str) -> None:
    spec, games = environment(id).spec, random_games(id)
    time = (spec.episode_limit + 1, GAMES)
    assert games.seen.observation.shape == (*time, spec.agents, spec.observation)
    assert games.seen.available.shape == (*time, spec.agents, spec.actions)
    assert games.seen.state.shape == (*time, spec.state)
    assert games.seen.observation.dtype == games.seen.state.dtype == np.float32
    assert games.outcome.reward.dtype == np.float32


@pytest.mark.parametrize("id", PLAYED)
def test_every_agent_always_has_an_action(id: str) -> None:
    # After the end, too: the steps go on, and nothing may crash or become undefined.
    assert random_games(id).seen.available.any(-1).all()
    assert np.isfinite(random_games(id).seen.observation).all()


@pytest.mark.parametrize("id", PLAYED)
def test_ends_are_told_apart_and_within_the_limit(id: str) -> None:
    spec, games = environment(id).spec, random_games(id)
    outcome = games.outcome
    assert (games.ends > 0).all()
    assert (games.ends <= spec.episode_limit).all()
    assert not (outcome.terminated & outcome.truncated).any()
    assert not (outcome.won & ~outcome.terminated).any()
    assert spec.has_win or not outcome.won.any()
    first_end = (games.ends - 1, np.arange(GAMES))
    cut = outcome.truncated[first_end]
    assert (games.ends[cut] == spec.episode_limit).all()


@pytest.mark.parametrize("id", PLAYED)
def test_returns_stay_below_the_largest(id: str) -> None:
    spec, games = environment(id).spec, random_games(id)
    within = np.arange(spec.episode_limit)[:, None] < games.ends
    reward = games.outcome.reward.reshape(*within.shape, -1).sum(-1)
    returns = np.where(within, reward, 0).sum(0)
    assert spec.max_return is not None
    assert (returns <= spec.max_return + 1e-4).all()


@pytest.mark.parametrize("id", [id for id in PLAYED if not id.startswith("mpe")])
def test_what_networks_see_is_about_unit_sized(id: str) -> None:
    games = random_games(id)
    state = games.until_end(games.seen.state)
    # smacv2 draws places up to two units, 1/16 of the map, beyond the edge.
    assert state.min() >= -0.1
    assert state.max() <= 1.1
    if not id.startswith("lbf"):  # which has its observations from lbforaging
        assert np.abs(games.until_end(games.seen.observation)).max() <= 1.1


def test_the_episode_limit_is_the_true_number_of_steps() -> None:
    # Twelve steps are too few for anybody to die.
    games = random_games("smax/3m")
    assert (games.ends == SHORT).all()
    assert games.outcome.truncated[-1].all()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_the_table_of_names_holds(entry: Any) -> None:
    spec = make(entry.id).spec
    fields = ("id", "agents", "actions", "observation", "state", "episode_limit")
    assert [getattr(spec, f) for f in fields] == [getattr(entry, f) for f in fields]
    assert len(spec.agent_names) == len(spec.unit_types) == spec.agents
    assert f"limit {spec.episode_limit}, reward x{spec.reward_scale:g}" in spec.identity


def test_the_numpy_example_of_the_docs_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "environments.md").read_text()
    code = re.search(r"```python\n(# levers.py.*?)```", text, re.DOTALL)
    assert code is not None
    (tmp_path / "levers.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    env: Any = make("levers:Levers", reward_scale=3.0)
    env_state, seen = env.reset(5)
    total, steps, cut = 0.0, 0, False
    while not cut:
        lit = seen.observation.argmax(1)
        env_state, seen, outcome = env.step(steps, env_state, lit)
        total, steps, cut = total + outcome.reward, steps + 1, bool(outcome.truncated)
    assert (total, steps) == (30.0, env.spec.episode_limit)


class Faulty:
    """The NumPy way of an environment, with one thing at a time made wrong."""

    def __init__(self, **wrong: Any) -> None:
        self.wrong = wrong
        spec = replace(
            make("mpe/simple_spread").spec,
            agents=2,
            actions=3,
            observation=4,
            state=5,
            is_jax=False,
            agent_names=("a", "b"),
            unit_types=("", ""),
            has_win=True,
        )
        self.spec = wrong["spec"](spec) if "spec" in wrong else spec

    def time_step(self) -> TimeStep:
        new: Any = TimeStep
        good: TimeStep = new(np.zeros((2, 4), np.float32), np.ones((2, 3), bool), np.zeros(5, "f4"))
        return good._replace(**{k: v for k, v in self.wrong.items() if k in TimeStep._fields})

    def reset(self, key: int) -> Any:
        self.turn = 0
        return self.wrong.get("reset", (None, self.time_step()))

    def step(self, key: int, env_state: Any, actions: Any) -> Any:
        new: Any = Outcome
        self.turn += 1
        if self.turn == self.wrong.get("raises_at"):
            raise RuntimeError("boom")
        is_last = self.turn == self.spec.episode_limit and "endless" not in self.wrong
        reward = float("nan") if self.turn == self.wrong.get("nan_at") else 0.0
        outcome = new(reward, False, is_last, False)._replace(
            **{k: v for k, v in self.wrong.items() if k in Outcome._fields}
        )
        return self.wrong.get("step", (None, self.time_step(), outcome))


def test_a_faultless_one_passes() -> None:
    check_contract(Faulty(), "good")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"endless": True},
            "step: neither terminated nor truncated after spec.episode_limit = 26 steps",
        ),
        ({"nan_at": 7}, "step 7 of an episode: reward: holds a NaN or an infinity"),
        ({"raises_at": 7}, "step 7 of an episode failed: RuntimeError: boom"),
        ({"spec": lambda _: 3}, "spec must be an EnvironmentSpec, not int"),
        ({"spec": lambda spec: replace(spec, actions=0)}, "spec.actions is 0, must be at least 1"),
        ({"spec": lambda s: replace(s, unit_types=())}, "spec.unit_types has 0 entries for 2"),
        ({"reset": 3}, "reset: must return (env_state, TimeStep)"),
        ({"reset": (None, 3)}, "reset: must return a TimeStep second, not int"),
        ({"step": (None, 3)}, "step: must return (env_state, TimeStep, Outcome)"),
        (
            {"observation": np.zeros((2, 5), "f4")},
            "observation: has shape [2, 5], must be [2, 4]",
        ),
        ({"observation": np.full((2, 4), np.nan)}, "observation: holds a NaN or an infinity"),
        ({"observation": np.zeros((2, 4), int)}, "observation: has type int64, must be float32"),
        ({"state": np.zeros((1, 5), "f4")}, "state: has shape [1, 5], must be [5]"),
        ({"available": np.ones((2, 3))}, "available: has type float64, must be bool"),
        (
            {"available": np.array([[True] * 3, [False] * 3])},
            "available: agent 1 has no action, must have at least one",
        ),
        ({"reward": np.zeros(2)}, "reward: has shape [2], must be []"),
        ({"terminated": 1.0}, "terminated: has type float64, must be bool"),
        ({"terminated": True, "truncated": True}, "terminated and truncated are both True"),
        ({"won": True}, "won is True without terminated"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_breach_is_told_in_one_line(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        check_contract(Faulty(**wrong), "faulty:Faulty")
    assert told in str(error.value)
    assert str(error.value).startswith("faulty:Faulty: ")
    assert "\n" not in str(error.value)


def test_a_jax_state_that_changes_its_type_is_refused() -> None:
    class Growing:
        def __init__(self) -> None:
            self.spec = replace(make("mpe/simple_spread").spec, id="growing:Growing")

        def reset(self, key: Any) -> Any:
            return {"steps": jnp.zeros((), jnp.int32)}, self.time_step()

        def step(self, key: Any, env_state: Any, actions: Any) -> Any:
            no = jnp.zeros((), bool)
            steps = env_state["steps"] + 0.5
            return {"steps": steps}, self.time_step(), Outcome(jnp.zeros(()), no, no, no)

        def time_step(self) -> TimeStep:
            return TimeStep(jnp.zeros((3, 18)), jnp.ones((3, 5), bool), jnp.zeros(54))

    with pytest.raises(
        UserError, match=r"env_state\['steps'\]: is int32\[\] after reset but float"
    ):
        check_contract(Growing(), "growing:Growing")
