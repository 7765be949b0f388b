"""A run's folder, made in a moment and without training."""

from functools import cache
from pathlib import Path

import numpy as np

from mast.config import Config, resolve, write_run_record
from mast.diagnosis.log import append_diagnostics
from mast.diagnosis.snapshots import save_snapshot
from mast.learning.replay import Ring
from mast.training.checkpoint import CheckpointStore, Restored
from mast.training.logging import MetricsWriter
from training.test_checkpoint import CAPACITY, Sizes, extend, small_state

GIVEN = {"environment": "examples.pursuit:Pursuit", "steps": 20_000}
STUDY = """title = "Two"
about = "what they are for"
seeds = 2
[settings]
environment = "smax/3m"
steps = 1000
[[cells]]
method = ["mast", "rigl"]
sparsity = [0.8, 0.9]
"""
SAVED_AT = (5, 9, 15)
"""Episodes at which its checkpoints were saved."""


@cache
def config() -> Config:
    """Its settings."""
    return resolve(GIVEN)


def make_run(run: Path) -> Path:
    """Writes what a run has after three checkpoints, and a study's file beside it."""
    run.mkdir()
    write_run_record(run, config(), GIVEN)
    writer = MetricsWriter(run, tensorboard=False)
    values = {"q_tot": 1.25, "discounted_return": 2.0}
    store, ring = CheckpointStore(run), Ring(Sizes(), CAPACITY)
    for count in SAVED_AT:
        row = {"env_steps": 100 * count, "episodes": count, "updates": 2, "loss": 1 / count}
        writer.write(row | {"win_rate": 0.5, "return": 3.5})
        record = {"env_steps": 100 * count, "greedy": values, "replayed": values}
        append_diagnostics(run, record | {"density_per_agent": [0.1, 0.2]})
        save_snapshot(run, 100 * count, {"agent.fc1.weight": np.eye(9, dtype=bool)})
        extend(ring, count)
        store.save(count, small_state(count), {"run": {"env_steps": 100 * count}}, ring)
    writer.close()
    (run / "study.toml").write_text(STUDY)
    return run


def restored(run: Path) -> tuple[Restored | None, Ring]:
    """What a new process finds of its checkpoints."""
    ring = Ring(Sizes(), CAPACITY)
    return CheckpointStore(run).restore(small_state(0), ring), ring
