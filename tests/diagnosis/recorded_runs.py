"""A tiny run of which everything is recorded."""

from typing import Any

from mast.config import Config, resolve

SMALL = {
    "environment": "examples.pursuit:Pursuit",
    "steps": 1500,
    "sparsity": 0.8,
    "batch_size": 8,
    "online_share": 0.25,
    "hidden_size": 16,
    "evolve_interval": 7,
    "eval_interval": 300,
    "eval_episodes": 6,
    "parallel_envs": 4,
    "execution": "masked",
    "checkpoint_interval": 1e6,
    "diagnostics": True,
    "snapshots": "0,0.3,1",
}
"""Six evaluation episodes, four at a time: the second part is played with repeated keys."""


def small(**settings: Any) -> Config:
    return resolve(SMALL | settings)
