"""Rollouts by chance, and trainings of seconds, for the tests of actor–critics."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from examples.pursuit import Pursuit

from mast.config import Config, resolve
from mast.envs.protocol import Outcome, TimeStep
from mast.learning.trajectory import Trajectory
from mast.training.logging import WALL_CLOCK, read_metrics

TIME, ENVS, AGENTS, FEATURES, ACTIONS = 5, 3, 3, 4, 3


def trajectory_of(seed: int, rewards: int = AGENTS) -> Trajectory:
    """Chance, with an end by the rules, a cut, and an environment in which neither happens."""
    chance = np.random.default_rng(seed)
    terminated, ended = np.zeros((2, TIME, ENVS), bool)
    terminated[1, 0] = ended[1, 0] = ended[3, 1] = True
    available = chance.random((TIME, ENVS, AGENTS, ACTIONS)) < 0.7
    available[..., 0] = True
    action = np.argmax(available * chance.random(available.shape), -1).astype(np.int32)
    return Trajectory(
        observation=chance.normal(size=(TIME, ENVS, AGENTS, FEATURES)).astype(np.float32),
        available=available,
        state=np.zeros((TIME, ENVS, 2), np.float32),
        action=action,
        reward=chance.normal(size=(TIME, ENVS, rewards)).astype(np.float32),
        next_observation=chance.normal(size=(TIME, ENVS, AGENTS, FEATURES)).astype(np.float32),
        next_state=np.zeros((TIME, ENVS, 2), np.float32),
        terminated=terminated,
        ended=ended,
        behaviour={},
    )


SMALL = {
    "environment": "examples.pursuit:Pursuit",
    "algorithm": "maa2c",
    "steps": 1200,
    "hidden_size": 8,
    "parallel_envs": 4,
    "evolve_interval": 20,
    "eval_interval": 400,
    "eval_episodes": 4,
    "checkpoint_interval": 0,
}


def small(**settings: Any) -> Config:
    return resolve(SMALL | settings)


def rows(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in read_metrics(run)]


class Paid(Pursuit):
    """Each agent is paid its number: what a critic must learn is known."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = dataclasses.replace(self.spec, rewards="agent", max_return=None)

    def step(self, key: Any, env_state: Any, actions: Any) -> tuple[Any, TimeStep, Outcome]:
        state, seen, outcome = super().step(key, env_state, actions)
        reward = jax.numpy.arange(self.spec.agents, dtype=jax.numpy.float32)
        return state, seen, outcome._replace(reward=reward)
