"""What an earlier version wrote stays readable: a run of commit f3eda3c, stopped in the middle."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mast.config import load_run_config
from mast.policy import Policy
from mast.runs.trainer import Trainer
from mast.training.logging import WALL_CLOCK, read_metrics

STORED = Path(__file__).parent / "stored" / "run-f3eda3c"
CONTINUED = STORED.with_name("run-f3eda3c-continued.csv")
"""metrics.csv of the same run, finished by that commit."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(STORED, folder)
    return folder


def test_its_settings_mean_what_they_meant(run: Path) -> None:
    config = load_run_config(run)
    assert (config.algorithm, config.method, config.sharing) == ("qmix", "mast", "shared")
    assert (config.optimizer, config.team_reward) == ("rmsprop", "sum")


def test_its_policy_plays(run: Path) -> None:
    policy = Policy.load(run / "policy.safetensors")
    sizes = (policy.description["agents"], policy.description["features"])
    actions = policy.description["actions"]
    action, _ = policy.act(np.zeros(sizes, np.float32), np.ones((sizes[0], actions), bool))
    assert action.shape == (sizes[0],)


def test_it_goes_on_as_the_version_that_began_it_did(run: Path, tmp_path: Path) -> None:
    Trainer.resume(run).run()
    (tmp_path / "metrics.csv").write_bytes(CONTINUED.read_bytes())
    ours, theirs = read_metrics(run), read_metrics(tmp_path)
    assert [row["env_steps"] for row in ours] == [row["env_steps"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for name in other.keys() - set(WALL_CLOCK):
            assert mine[name] == pytest.approx(other[name], rel=1e-3), (
                name
            )  # another machine rounds
