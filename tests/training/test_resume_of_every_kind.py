"""What is kept of every kind of run: resumed, it ends in the same bits (`test_resume`: the main one)."""

from pathlib import Path

import pytest

from kernels.cases import needs_kernels
from mast.config import resolve
from mast.policy import Policy
from mast.runs.trainer import Trainer
from training.small_runs import SMALL, assert_resumed_bit_for_bit, assert_same_run

pytestmark = [pytest.mark.usefixtures("shared_programs"), pytest.mark.always]


@needs_kernels
@pytest.mark.parametrize("algorithm", ["owqmix", "res"])
def test_a_compact_run_is_resumed_bit_for_bit(tmp_path: Path, algorithm: str) -> None:
    given = SMALL | {"execution": "compact", "steps": 1200, "algorithm": algorithm}
    assert_resumed_bit_for_bit(given, tmp_path, 600)


@needs_kernels
@pytest.mark.parametrize("after", [200, 600], ids=["before", "after"])
def test_a_compact_run_of_seps_is_resumed_bit_for_bit_where_its_agents_are_told_apart(
    tmp_path: Path, after: int
) -> None:
    of_seps = {"sharing": "seps", "seps_steps": 300, "seps_clusters": 2}
    given = SMALL | of_seps | {"execution": "compact", "steps": 1200}
    assert_resumed_bit_for_bit(given, tmp_path, after)


def test_vmapped_runs_have_folders_of_their_own_and_resume(tmp_path: Path) -> None:
    out = tmp_path / "both"
    given = SMALL | {"seeds": 2, "steps": 800}
    trainer = Trainer(resolve(given), out, given=given)
    for metrics in trainer:
        if metrics.env_steps > 400:
            break
    trainer.save()
    trainer.close()
    resumed = Trainer.resume(out)
    resumed.run()
    assert resumed.finished
    uninterrupted = tmp_path / "uninterrupted"
    Trainer(resolve(given), uninterrupted, given=given).run()
    for seed in (0, 1):
        assert_same_run(out / f"seed-{seed}", uninterrupted / f"seed-{seed}")
        assert Policy.load(out / f"seed-{seed}").description["seed"] == seed


def test_a_dynamic_window_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    given = SMALL | {
        "method": "rlx2",
        "steps": 900,
        "window_interval": 200,
        "window_floor": 20,
        "window_threshold": 0.0,
    }

    def has_moved(trainer: Trainer) -> None:
        assert trainer.runs[0].ring.first > 0

    assert_resumed_bit_for_bit(given, tmp_path, 500, has_moved)
