"""One short training as users run it."""

from pathlib import Path

import pytest

from mast.config import resolve
from mast.runs.trainer import Trainer

pytestmark = pytest.mark.as_shipped


def test_a_short_training_on_smax_beats_a_random_policy_by_far(tmp_path: Path) -> None:
    """Random legal play wins no battle of 3m (128 episodes, spec §9); this has to win a fifth."""
    settings = {
        "environment": "smax/3m",
        "steps": 12_000,
        "sparsity": 0.95,
        "epsilon_steps": 12_000,
        "eval_interval": 4_000,
    }
    summary = Trainer(resolve(settings), tmp_path / "run", given=settings).run()
    assert summary["score"] > 0.2
    assert summary["density"] == pytest.approx(0.05, abs=1e-3)
    assert summary["env_steps"] >= 12_000
