"""Several processes play a Python environment: the same episodes, and workers that die."""

import os
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fresh_networks import recurrent_agent
from mast.config import Config, resolve
from mast.errors import EnvironmentFailure, EnvironmentNaN, UserError
from mast.execution.environment import environment_of
from mast.runs.trainer import Trainer
from mast.training.rollout import HostPlayers
from mast.training.worker_players import WorkerPlayers

AGENT = recurrent_agent(jax.random.key(0), features=4, actions=3, agents=2, hidden_size=8)

WORLDS = """
import os
import signal
from pathlib import Path

import numpy as np

from envs.own_worlds import Base, LateNaN


class Late(LateNaN):
    pass


class Uneven(Base):
    '''Episodes of one to five steps, by their seeds.'''

    def reset(self, key):
        state, seen = super().reset(key)
        self.length = int(self.rng.integers(1, 6))
        return state, seen

    def step(self, key, state, actions):
        state, seen, outcome = super().step(key, state, actions)
        return state, seen, outcome._replace(truncated=np.bool_(self.t >= self.length))


class Dies(Uneven):
    '''Kills its process at the second step of its fourth episode, as often as a file says.'''

    def step(self, key, state, actions):
        left = Path(__file__).with_name("left")
        if self.episodes == 4 and self.t == 1 and int(left.read_text()) > 0:
            left.write_text(str(int(left.read_text()) - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(key, state, actions)


class DiesAtOnce(Base):
    def reset(self, key):
        if Path(__file__).with_name("armed").exists():
            os._exit(7)
        return super().reset(key)
"""


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "crashing_worlds.py").write_text(WORLDS)
    (tmp_path / "left").write_text("0")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "crashing_worlds", raising=False)
    return tmp_path


def config_of(name: str, workers: int = 2, **more: Any) -> Config:
    settings = {"environment": f"crashing_worlds:{name}", "env_workers": workers}
    return resolve(settings | more)


def record(players: Any, count: int = 12, seed: int = 1) -> Any:
    return players.record(AGENT, jax.random.split(jax.random.key(seed), count), jnp.float32(0.5))


@pytest.mark.usefixtures("worlds")
def test_workers_play_the_episodes_of_one_process() -> None:
    config = config_of("Uneven", workers=2)
    environment = environment_of(config)
    players = WorkerPlayers(config, environment.spec)
    try:
        several, one = record(players), record(HostPlayers(environment, config.replay_dtype))
        again = record(players)
        for (a, b), (c, d), (e, f) in zip(
            *(zip(each[0], each[1], strict=False) for each in (several, one, again)), strict=True
        ):
            for mine, theirs, later in ((a, c, e), (b, d, f)):
                np.testing.assert_array_equal(mine, theirs)
                np.testing.assert_array_equal(mine, later)
        assert len(set(several[0].length.tolist())) > 1
        assert players.said() == []
    finally:
        players.close()


def test_a_worker_that_dies_is_replaced_and_its_episode_dropped(worlds: Path) -> None:
    (worlds / "left").write_text("1")
    config = config_of("Dies")
    players = WorkerPlayers(config, environment_of(config).spec)
    try:
        totals, _ = record(players)
        assert (totals.terminated ^ totals.truncated).all()
        assert (worlds / "left").read_text() == "0"
        said = players.said()
        assert len(said) == 1
        assert f"ended by signal {int(signal.SIGKILL)}; another plays in its place" in said[0]
        assert said[0].endswith("its episode is dropped (1 so far)")
        assert players.said() == []
        intact = record(HostPlayers(environment_of(config), config.replay_dtype))[0]
        assert (totals.return_ != intact.return_).sum() == 1  # the episode with other seeds
    finally:
        players.close()


def test_three_deaths_in_a_row_end_the_run_saved(worlds: Path) -> None:
    config = config_of(
        "DiesAtOnce", workers=1, method="dense", hidden_size=8, steps=400, parallel_envs=4
    )
    out = worlds / "run"
    trainer = Trainer(config, out)
    rounds = iter(trainer)
    next(rounds)
    (worlds / "armed").touch()
    told = (
        r"3 worker processes died in a row, the last one with exit code 7; the last good checkpoint"
    )
    with pytest.raises(EnvironmentFailure, match=told):
        next(rounds)
    (worlds / "armed").unlink()
    resumed = Trainer.resume(out)
    assert resumed.counters.episodes == 4
    next(iter(resumed))
    resumed.close()


@pytest.mark.usefixtures("worlds")
def test_a_breach_in_a_worker_is_the_same_line() -> None:
    config = config_of("Late")
    players = WorkerPlayers(config, environment_of(config).spec)
    try:
        with pytest.raises(EnvironmentNaN, match="step 3 of an episode: observation of agent 0"):
            record(players, 60)
    finally:
        players.close()


def test_a_jax_environment_has_no_workers() -> None:
    config = resolve({"environment": "examples.pursuit:Pursuit", "env_workers": 2})
    with pytest.raises(UserError, match=r"env_workers = 2: .* is a JAX environment; must be 0"):
        Trainer(config)


def test_workers_end_with_their_players(worlds: Path) -> None:
    config = config_of("Uneven")
    players = WorkerPlayers(config, environment_of(config).spec)
    record(players, 2)
    pids = [worker._process.pid for worker in players._workers._workers]
    players.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.usefixtures("worlds")
def test_a_signal_to_the_whole_group_leaves_the_workers_to_their_parent() -> None:
    config = config_of("Uneven", workers=1)
    players = WorkerPlayers(config, environment_of(config).spec)
    try:
        record(players, 1)
        pid = players._workers._workers[0]._process.pid
        assert pid is not None
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, number)
        record(players, 1)
        assert players.said() == []
    finally:
        players.close()
