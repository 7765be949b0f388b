"""What the tests of the commands share."""

import sys
import types
from pathlib import Path

import pytest
from played import FakeTrainer


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeTrainer]:
    """A played trainer, in a folder of its own."""
    module = types.ModuleType("mast.runs.trainer")
    played = type("PlayedTrainer", (FakeTrainer,), {"made": []})
    module.Trainer = played  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mast.runs.trainer", module)
    monkeypatch.chdir(tmp_path)
    return played
