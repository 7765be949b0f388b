"""On-policy learning in Python environments: resuming, workers, crashes, and that something is learned."""

import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rollouts import rows

from mast.config import Config, resolve
from mast.errors import UserError
from mast.execution.environment import environment_of
from mast.runs.trainer import Trainer
from mast.training.host_streams import HostStreams
from mast.training.worker import Workers

WORLDS = """
import contextlib
import os
import signal
from pathlib import Path

import numpy as np

from envs.own_worlds import Base, spec


class Seeded(Base):
    '''Reward for action 0, all chance from the seeds; episodes of three to five steps.'''

    kw = {"rewards": "agent"}

    def reset(self, key):
        state, seen = super().reset(key)
        self.length = 3 + key % 3
        return state, seen

    def step(self, key, state, actions):
        state, seen, outcome = super().step(key, state, actions)
        reward = (actions == 0).astype(np.float32)
        cut = np.bool_(self.t >= self.length)
        return state, seen, outcome._replace(reward=reward, truncated=cut)


class Dies(Seeded):
    '''Kills its process at the second step of its fourth episode, if there is a file that is then gone.'''

    def step(self, key, state, actions):
        if self.episodes == 4 and self.t == 1:
            with contextlib.suppress(FileNotFoundError):
                Path(__file__).with_name("armed").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step(key, state, actions)
"""
SMALL = {
    "algorithm": "maa2c",
    "environment": "host_worlds:Seeded",
    "steps": 1200,
    "hidden_size": 8,
    "hidden_layers": 1,
    "parallel_envs": 4,
    "eval_interval": 400,
    "eval_episodes": 4,
    "checkpoint_interval": 0,
}


@pytest.fixture(autouse=True)
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "host_worlds.py").write_text(WORLDS)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "host_worlds", raising=False)
    return tmp_path


def small(**settings: Any) -> Config:
    return resolve(SMALL | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "algorithm": "mappo",
            "rollout_steps": 20,
            "minibatches": 2,
            "normalise_observations": True,
        },
    ],
    ids=["maa2c", "mappo"],
)
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    Trainer(small(**settings), tmp_path / "whole").run()
    trainer = Trainer(small(**settings), tmp_path / "cut")
    for metrics in trainer:
        if metrics.env_steps >= 640:  # episodes began anew at 400
            break
    trainer.close()  # as kill -9: nothing is saved
    resumed = Trainer.resume(tmp_path / "cut")
    assert resumed.runs[0].counters.env_steps == 400
    assert not any("bit-identical" in notice for notice in resumed.notices)
    resumed.run()
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    policies = [(tmp_path / run / "policy.safetensors").read_bytes() for run in ("whole", "cut")]
    assert policies[0] == policies[1]


def test_an_interrupted_run_loses_nothing_but_the_episodes_in_flight(tmp_path: Path) -> None:
    trainer = Trainer(small(), tmp_path / "run")
    for metrics in trainer:
        if metrics.env_steps >= 640:
            trainer.save()
            break
    trainer.close()
    resumed = Trainer.resume(tmp_path / "run")
    assert resumed.runs[0].counters.env_steps == 640
    assert any("the episodes in flight are dropped" in notice for notice in resumed.notices)
    resumed.run()


def streams_of(config: Config, workers: Workers | None) -> HostStreams:
    streams = HostStreams(config, environment_of(config).spec, workers)
    streams.begin(jax.random.key(3))
    return streams


def act(key: Any, seen: Any) -> Any:
    """By chance, from the key."""
    chance = jax.random.uniform(key, seen.available.shape)
    action = np.array(np.argmax(chance, -1), np.int32)
    return action, {"log_probability": np.array(chance.max(-1))}


def test_workers_play_what_one_process_plays() -> None:
    config = small(env_workers=2)
    workers = Workers(config, "worlds")
    try:
        several, one = streams_of(config, workers), streams_of(config, None)
        for seed in range(2):
            found, wanted = (each.roll(act, jax.random.key(seed), 9) for each in (several, one))
            jax.tree.map(np.testing.assert_array_equal, found, wanted)
    finally:
        workers.close()
    trajectory, finished = wanted
    assert trajectory.reward.shape == (9, 4, 2)  # each agent its own
    assert finished.episodes == trajectory.ended.sum() > 4
    goes_on = ~trajectory.ended[:-1]
    np.testing.assert_array_equal(
        trajectory.next_observation[:-1][goes_on], trajectory.observation[1:][goes_on]
    )
    begins = trajectory.ended[:-1]
    assert (trajectory.next_observation[:-1][begins] != trajectory.observation[1:][begins]).any()


def test_one_worker_holds_more_environments_than_a_pipe_holds_messages() -> None:
    """Orders and answers of all of them are more than the buffers of a pipe: each side must read in time."""
    config = small(env_workers=1, parallel_envs=1200)
    workers = Workers(config, "worlds")

    def end(*_: Any) -> None:
        workers.close()
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    try:
        trajectory, _ = streams_of(config, workers).roll(act, jax.random.key(0), 2)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        workers.close()
    assert trajectory.reward.shape == (2, 1200, 2)


def test_an_episode_whose_worker_dies_is_cut_where_it_was(worlds: Path) -> None:
    (worlds / "armed").touch()
    config = small(environment="host_worlds:Dies", env_workers=2)
    workers = Workers(config, "worlds")
    try:
        streams = streams_of(config, workers)
        trajectory, finished = streams.roll(act, jax.random.key(0), 25)
        said = workers.said()
    finally:
        workers.close()
    assert len(said) == 1
    assert f"ended by signal {int(signal.SIGKILL)}; another plays in its place" in said[0]
    dropped = trajectory.ended.sum() - finished.episodes
    assert dropped == 2  # both environments of that worker
    goes_on = ~trajectory.ended[:-1]
    np.testing.assert_array_equal(
        trajectory.next_observation[:-1][goes_on], trajectory.observation[1:][goes_on]
    )


def test_a_team_learns_in_a_python_environment() -> None:
    trainer = Trainer(small(steps=6000, learning_rate=0.01, eval_interval=6000, eval_episodes=16))
    found = trainer.run()
    assert found["return"] > 7  # of 2 agents times 3 to 5 steps; by chance 2.7


def test_an_object_is_refused(worlds: Path) -> None:
    config = small()
    with pytest.raises(UserError, match=r"is one object of this process, .* name the environment"):
        Trainer(config, worlds / "run", environment=environment_of(config))
    assert not (worlds / "run").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, None),
        ({"parallel_envs": 10}, "a checkpoint is made every 500 env steps at the soonest"),
        ({"parallel_envs": 40}, "a checkpoint is made at the end of the run only"),
    ],
)
def test_rare_checkpoints_are_said_at_the_start(
    worlds: Path, settings: dict[str, Any], told: str | None
) -> None:
    trainer = Trainer(small(**settings), worlds / "run")
    said = [notice for notice in trainer.notices if "checkpoint is made" in notice]
    assert len(said) == (told is not None)
    assert told is None or told in said[0]
    trainer.close()
