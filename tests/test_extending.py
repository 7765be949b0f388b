"""Everything that docs/extending.md says can be brought: trained for a moment, or refused in one line."""

from pathlib import Path
from typing import Any

import pytest

from mast.config import resolve
from mast.errors import UserError
from mast.training.trainer import Trainer

SMALL: dict[str, Any] = {
    "environment": "examples.pursuit:Pursuit",
    "sparsity": 0.8,
    "steps": 300,
    "batch_size": 4,
    "hidden_size": 8,
    "evolve_interval": 5,
    "eval_interval": 200,
    "eval_episodes": 4,
}


def test_an_own_algorithm_is_trained_counted_and_resumed(tmp_path: Path) -> None:
    given = {**SMALL, "algorithm": "examples.own_algorithm:ENTRY"}
    summary = Trainer(resolve(given), tmp_path / "run", given=given).run()
    assert summary["density"] == pytest.approx(0.2, abs=0.02)
    assert 0 < summary["flops_train_ratio"] < 0.5
    assert Trainer.resume(tmp_path / "run", steps=700).run()["env_steps"] >= 700


def test_the_growth_score_of_the_page_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "mine_for_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    masks = {}
    for growth in ("gradient", "mine_for_the_page:relative_gradient"):
        trainer = Trainer(resolve({**SMALL, "method": "rigl", "growth": growth}))
        trainer.run()
        masks[growth] = trainer.engine.team(trainer.state, 0).optimizer.masks
    own, ours = masks.values()
    assert any((own[name] != ours[name]).any() for name in own)
    assert all(own[name].sum() == ours[name].sum() for name in own)


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("growth", "def f(weight, gradient, key): return weight.sum()", "one number per weight"),
        ("drop", "def f(weight): return weight", "TypeError"),
        ("drop_schedule", "def f(first, step, total): return [1, 2]", "one number"),
        ("growth", "f = 3", "has no function f"),
        ("growth", "import nothing_here", "import failed: ModuleNotFoundError"),
        ("algorithm", "f = 3", "has no AlgorithmEntry f"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_line(
    setting: str, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"no_rule_{abs(hash((setting, code)))}"
    (tmp_path / f"{name}.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        Trainer(resolve({**SMALL, "method": "rigl", setting: f"{name}:f"}), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
