"""What a run's files may make Mast do: a look imports nothing, and a policy is held to the environment."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from safetensors.numpy import load_file, save

from fresh_networks import recurrent_agent
from mast.cli import main
from mast.config import resolve, write_run_record
from mast.configuration.record import RecordedTeam
from mast.policy import save_policy

LEVERS = """
from pathlib import Path
import numpy as np
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep

Path("imported").touch()


class Levers:
    def __init__(self):
        self.spec = EnvironmentSpec(
            id="trusted_levers:Levers", agents=3, actions=4, observation=5, state=6, episode_limit=2,
            has_win=False, is_jax=False, agent_names=("a", "b", "c"), unit_types=("x", "y", "y"),
            reward_scale=1.0, identity="Levers, limit 2", max_return=None,
        )

    def see(self):
        return TimeStep(np.zeros((3, 5), np.float32), np.ones((3, 4), bool), np.zeros(6, np.float32))

    def reset(self, key):
        self.turn = 0
        return None, self.see()

    def step(self, key, env_state, actions):
        self.turn += 1
        cut = np.bool_(self.turn >= 2)
        return None, self.see(), Outcome(np.float32(1), np.False_, cut, np.False_)
"""
FACTS = RecordedTeam(5, 6, 4, 3, "Levers, limit 2", ("x", "y", "y"))
CONFIG = {"environment": "trusted_levers:Levers", "method": "dense", "hidden_size": 8}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run on an own environment, beside its module, which leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("trusted_levers.py").write_text(LEVERS)
    folder = tmp_path / "run"
    folder.mkdir()
    write_run_record(folder, resolve(CONFIG), CONFIG, FACTS)
    from mast.envs.registry import make

    agent = recurrent_agent(jax.random.key(0), features=5, actions=4, agents=3, hidden_size=8)
    spec = make("trusted_levers:Levers").spec
    sys.modules.pop("trusted_levers")
    Path("imported").unlink()
    save_policy(folder / "policy.safetensors", agent, {}, spec, {"env_steps": 100})
    yield folder
    sys.modules.pop("trusted_levers", None)


def described(run: Path, **wrong: Any) -> None:
    """The run's policy with another description, as an older version would write it."""
    from safetensors import safe_open

    file = run / "policy.safetensors"
    with safe_open(file, framework="numpy") as policy:
        description = json.loads(policy.metadata()["mast"]) | wrong
    del description["sha256"]
    file.write_bytes(save(load_file(file), metadata={"mast": json.dumps(description)}))


def test_a_look_at_a_run_does_not_import_its_environment(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(run), "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["environment"] == "Levers, limit 2"
    assert told["parameters"] > 0
    assert {layer["network"] for layer in told["layers"]} == {"agent", "mixer"}
    assert main(["inspect", str(run), "--quiet"]) == 0
    assert not Path("imported").exists()
    assert (
        main(
            [
                "info",
                "trusted_levers:Levers",
                "--method",
                "dense",
                "--hidden-size",
                "8",
                "--quiet",
                "--json",
            ]
        )
        == 0
    )
    imagined = json.loads(capsys.readouterr().out)
    assert imagined["parameters"] == told["parameters"]
    assert Path("imported").exists()


@pytest.mark.parametrize("team", [None, {}, {"observation": 5}, {"observation": True}, [], "x"])
def test_a_run_without_recorded_sizes_is_shown_without_them(
    run: Path, team: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "config.json").read_text())
    record["team"] = team
    (run / "config.json").write_text(json.dumps(record))
    assert main(["info", str(run)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "mast info does not import a run's code" in shown
    assert "trusted_levers:Levers" in shown
    assert not Path("imported").exists()


def test_an_environment_that_makes_none_is_not_called_by_evaluate(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG | {"environment": "os:abort"}
    write_run_record(run, resolve(config), config)
    assert main(["evaluate", str(run)]) == 2
    assert "os:abort is not called" in capsys.readouterr().err


@pytest.mark.parametrize("named", [lambda run: run, lambda run: run / "policy.safetensors"])
def test_a_policy_that_fits_plays(
    run: Path, named: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(named(run)), "--episodes", "2", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["return"]["mean"] == 2.0


def test_a_policy_alone_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = run.parent / "policy.safetensors"
    (run / "policy.safetensors").rename(alone)
    assert main(["evaluate", str(alone)]) == 2
    assert "is no run, whose settings say what to play" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        # Every matrix keeps its shape but the last, whose rows are the actions.
        ({"features": 6, "agents": 2}, "agents, features, actions are (2, 6, 4), those of"),
        ({"features": 4}, "tensor fc1.mask is uint8 (8, 12), expected uint8 (8, 11)"),
        ({"hidden_size": 2**40}, "hidden_size is 1099511627776, must be from 1 to 1048576"),
        ({"agents": "three"}, "is damaged or no policy file of Mast"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_in_one_line(
    run: Path, wrong: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    described(run, **wrong)
    assert main(["evaluate", str(run)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "smax/3m", "--out", ""], "--out: must not be empty"),
        (["train", "smax/3m", "--out", "  "], "--out: must not be empty"),
        (["train", ""], "ENV: must not be empty"),
        (["evaluate", ""], "DIR: must not be empty"),
        (["evaluate", "run", "--episodes", "1e308"], "episodes = 1e308: must be a whole number"),
        (["evaluate", "run", "--seed", "9" * 40], "must be a whole number at least 0 and at most"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    run: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.parent.rglob("*"))
    assert main(arguments) == 2
    assert told in capsys.readouterr().err
    assert sorted(run.parent.rglob("*")) == before
