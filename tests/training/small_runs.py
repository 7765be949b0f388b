"""Trainings of seconds, for the tests of the loop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from examples.pursuit import Pursuit

from mast.config import Config, resolve
from mast.envs.protocol import Outcome, TimeStep
from mast.runs.trainer import Trainer
from mast.training.logging import WALL_CLOCK, read_metrics

SMALL = {
    "environment": "examples.pursuit:Pursuit",
    "steps": 2500,
    "sparsity": 0.8,
    "batch_size": 8,
    "online_share": 0.375,
    "hidden_size": 16,
    "evolve_interval": 20,
    "eval_interval": 500,
    "eval_episodes": 8,
    "burn_in_fraction": 0.3,
    "checkpoint_interval": 0,
    "execution": "masked",
}


def small(**settings: Any) -> Config:
    return resolve(SMALL | settings)


def deterministic_metrics(run: Path) -> list[dict[str, Any]]:
    rows = read_metrics(run)
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows]


def assert_same_run(first: Path, second: Path) -> None:
    assert deterministic_metrics(first) == deterministic_metrics(second)
    for name in ("policy.safetensors", "policy-best.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def run_in_parts(
    trainer: Trainer, after: int, stopped: Callable[[Trainer], None] = lambda trainer: None
) -> Trainer:
    """Train with a stop beyond so many environment steps; the trainer that resumed and ended."""
    for metrics in trainer:
        if metrics.env_steps > after:
            break
    stopped(trainer)
    trainer.save()
    trainer.close()
    assert trainer.out is not None
    resumed = Trainer.resume(trainer.out)
    resumed.run()
    return resumed


def assert_resumed_bit_for_bit(
    given: dict[str, Any],
    folder: Path,
    after: int,
    stopped: Callable[[Trainer], None] = lambda trainer: None,
) -> None:
    """Train at once, and in two parts with a stop beyond so many environment steps: the runs are the same."""
    Trainer(resolve(given), folder / "whole", given=given).run()
    run_in_parts(Trainer(resolve(given), folder / "parts", given=given), after, stopped)
    assert_same_run(folder / "whole", folder / "parts")


class PlainPursuit:
    """The game as plain Python would write it: NumPy in and out, no JAX random keys."""

    def __init__(self) -> None:
        self.game = Pursuit()
        self.spec = dataclasses.replace(self.game.spec, is_jax=False, id="plain", has_win=False)

    def reset(self, key: int) -> tuple[Any, TimeStep]:
        return jax.tree.map(np.asarray, self.game.reset(jax.random.key(key)))

    def step(self, key: int, grid: Any, actions: Any) -> tuple[Any, TimeStep, Outcome]:
        assert isinstance(actions, np.ndarray)
        stepped = jax.tree.map(np.asarray, self.game.step(jax.random.key(key), grid, actions))
        return *stepped[:2], stepped[2]._replace(won=np.False_)  # as the spec says
