"""Diagnosis only looks: the training is the same to the last bit, in the programs that users get."""

from pathlib import Path

import pytest

from diagnosis.recorded_runs import small
from mast.runs.trainer import Trainer

pytestmark = pytest.mark.as_shipped


def test_diagnosis_does_not_change_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mast.loops.replay.length_buckets", lambda limit: (limit,))
    Trainer(small(steps=900), tmp_path / "recorded").run()
    Trainer(small(steps=900, diagnostics=False, snapshots="none"), tmp_path / "plain").run()
    name = "policy.safetensors"
    assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "recorded" / name).read_bytes()
