"""Everything that docs/extending.md says can be brought: trained for a moment, or refused in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import pytest
from examples import own_algorithm

from mast.algorithms.registry import algorithm_entry
from mast.config import resolve
from mast.errors import UserError
from mast.execution.topology import agent_leaves
from mast.networks.independent import IndependentAgents
from mast.networks.spec import Sizes
from mast.policy_file import LAYERS
from mast.runs.trainer import Trainer


class Failing:
    """An implementation of which one function raises, and whose loss has no metrics."""

    def __init__(self, function: str) -> None:
        self.function = function

    def init(self, *operands: Any) -> Any:
        self.fail("init")
        return own_algorithm.ENTRY.algorithm.init(*operands)

    def loss(self, *operands: Any) -> Any:
        self.fail("loss")
        return own_algorithm.ENTRY.algorithm.loss(*operands)[0]

    def fail(self, function: str) -> None:
        if function == self.function:
            raise KeyError("oh")


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


def test_a_team_of_one_with_a_network_of_its_own_is_saved_and_loaded(tmp_path: Path) -> None:
    entry = algorithm_entry("vdn")
    sizes = Sizes(observation=3, state=2, actions=2, agents=1, independent=True)
    params = entry.init(jax.random.key(0), sizes)
    assert isinstance(params.agent, IndependentAgents)
    assert params.agent.fc1.weight.shape == (1, 64, 5)
    assert agent_leaves(params) == {f"agent.{layer}.weight" for layer in LAYERS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": ("q_tot",)},
            "the loss tells q_tot, target, td_error, the entry's metrics are q",
        ),
        ({"metrics": ("loss",)}, "'loss' must be an identifier, once, and no common column"),
        ({"metrics": ("a", "a")}, "'a' must be"),
        ({"loop": "rehearsal"}, "loop = rehearsal: must be one of replay, on_policy"),
        ({"loop": "on_policy"}, "loop = on_policy: the implementation has no act and targets"),
        ({"compact_speedup": 1.0}, "not every network has kernels"),
        ({"networks": lambda sizes: {}}, "the acting one must be called agent"),
        (
            {"networks": lambda sizes: 1 // 0},
            "networks failed: ZeroDivisionError: .*test_extending.py",
        ),
        ({"uses": lambda sizes, operator: {}}, "uses: lacks agent, mixer"),
        ({"uses": lambda sizes: {}}, "uses failed: TypeError"),
        ({"implementation": "nowhere:X"}, "implementation failed: ModuleNotFoundError"),
        ({"implementation": Failing("init")}, "init failed: KeyError: .*test_extending.py"),
        ({"implementation": Failing("loss")}, "loss failed: KeyError: .*test_extending.py"),
        ({"implementation": Failing("")}, "the loss must return one number and a dictionary"),
    ],
)
def test_an_entry_that_cannot_be_trained_is_refused_in_one_line(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dataclasses.replace(own_algorithm.ENTRY, **change)
    name = f"WRONG_{abs(hash(message))}"
    monkeypatch.setattr(own_algorithm, name, wrong, raising=False)
    with pytest.raises(UserError, match=message):
        Trainer(resolve({**SMALL, "algorithm": f"examples.own_algorithm:{name}"})).run()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diagnostics": True}, "diagnostics = true: needs an algorithm that learns action values"),
        ({"pipeline": True}, r"pipeline = true: .* learns from what it has just played"),
    ],
)
def test_settings_that_do_not_fit_an_own_loop_are_refused(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = dataclasses.replace(algorithm_entry("maa2c"), name="actor", defaults={})
    monkeypatch.setattr(own_algorithm, "ACTOR", actor, raising=False)
    own = {"algorithm": "examples.own_algorithm:ACTOR", "method": "dense"}
    with pytest.raises(UserError, match=message):
        Trainer(resolve({**SMALL, **own, **settings}))
