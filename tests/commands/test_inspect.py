"""`mast inspect`: which pictures it draws, and what it says where something is missing."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from examples.pursuit import Pursuit
from played import last_json

from export.teams import make_run
from fresh_networks import recurrent_agent
from mast.cli import main
from mast.config import resolve, write_run_record
from mast.diagnosis.log import append_diagnostics
from mast.diagnosis.snapshots import save_snapshot
from mast.execution.environment import environment_of
from mast.export.contract import input_names

LAYERS = ("agent.fc1", "mixer.b1")
VALUES = {"q_tot": 1.0, "discounted_return": 2.0}


def recorded(run: Path, **settings: Any) -> Path:
    """A run of which only the settings are there yet."""
    run.mkdir(parents=True, exist_ok=True)
    given = {"environment": "examples.pursuit:Pursuit"} | settings
    write_run_record(run, resolve(given), given)
    return run


def with_snapshots(run: Path) -> Path:
    for steps in (0, 500):
        rng = np.random.default_rng(steps)
        save_snapshot(run, steps, {f"{name}.weight": rng.random((6, 8)) < 0.3 for name in LAYERS})
    return run


def with_diagnostics(run: Path, densities: list[float] | None = None) -> Path:
    record = {"greedy": VALUES, "replayed": VALUES, "density_per_agent": densities}
    for steps in (100, 200):
        append_diagnostics(run, {"env_steps": steps} | record)
    return run


def drawn(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_that_was_recorded_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_diagnostics(with_snapshots(recorded(tmp_path / "r")), [0.1, 0.2])
    assert main(["inspect", str(run), "--json"]) == 0
    kinds = [f"{kind}-{name}.png" for kind in ("connections", "masks") for name in LAYERS]
    expected = [*kinds, "values.png", "density.png", "index.html"]
    assert drawn(run / "pictures") == sorted(expected)
    page = (run / "pictures" / "index.html").read_text()
    assert re.findall(r'<img src="([^"]*)"', page) == [
        *(f"{kind}-{name}.png" for name in LAYERS for kind in ("masks", "connections")),
        "values.png",
        "density.png",
    ]
    out = capsys.readouterr().out
    result = last_json(out)
    assert sorted(Path(file).name for file in result["files"]) == drawn(run / "pictures")
    assert result["missing"] == []
    assert str(run / "pictures" / "values.png") in out.splitlines()


def test_one_layer_in_a_folder_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_diagnostics(with_snapshots(recorded(tmp_path / "r")))
    out = tmp_path / "a" / "b"
    line = ["inspect", str(run), "--layer", "mixer.b1", "--out", str(out), "--quiet"]
    assert main(line) == 0
    assert drawn(out) == ["connections-mixer.b1.png", "index.html", "masks-mixer.b1.png"]
    assert capsys.readouterr().out == ""


def test_without_diagnostics_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(with_snapshots(recorded(tmp_path / "r")))]) == 0
    notes = [s for s in capsys.readouterr().out.splitlines() if s.startswith("note")]
    assert len(notes) == 1
    assert "train with --diagnostics true" in notes[0]


def test_without_snapshots_the_policys_masks_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mast.policy import save_policy

    run = with_diagnostics(recorded(tmp_path / "r"))
    spec = Pursuit().spec
    agent = recurrent_agent(jax.random.key(0), spec.observation, spec.actions, spec.agents, 4)
    save_policy(run / "policy.safetensors", agent, {}, spec, {"env_steps": 300})
    assert main(["inspect", str(run)]) == 0
    names = [f"masks-agent.{name}.png" for name in ("fc1", "fc2", "gru_hidden", "gru_input")]
    assert set(names) < set(drawn(run / "pictures"))
    assert "no mask snapshots (snapshots = none): only the agent's" in capsys.readouterr().out


def test_several_seeds_have_folders_of_their_own(tmp_path: Path) -> None:
    run = recorded(tmp_path / "r", seed=3, seeds=2)
    for seed in (3, 4):
        with_snapshots(recorded(run / f"seed-{seed}", seed=seed))
    assert main(["inspect", str(run), "--layer", "agent.fc1", "--quiet"]) == 0
    for seed in (3, 4):
        wanted = ["connections-agent.fc1.png", "index.html", "masks-agent.fc1.png"]
        assert drawn(run / "pictures" / f"seed-{seed}") == wanted


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = with_snapshots(recorded(tmp_path / "r"))
    empty = recorded(tmp_path / "empty")
    (tmp_path / "file").touch()
    damaged = recorded(tmp_path / "damaged")
    (damaged / "snapshots").mkdir()
    (damaged / "snapshots" / "masks-000000000.safetensors").touch()
    for line, message in [
        (["inspect"], "DIR: missing; for example runs/my-run"),
        (["inspect", str(tmp_path / "no")], "is no run: no such folder"),
        (["inspect", str(empty)], "has recorded nothing to draw yet"),
        (
            ["inspect", str(run), "--layer", "agent.fc"],
            "layer = agent.fc: this run has agent.fc1, mixer.b1 (did you mean agent.fc1?)",
        ),
        (["inspect", str(empty), "--layer", "x"], "layer = x: this run has no layer"),
        (["inspect", str(run), "--out", str(tmp_path / "file")], "cannot write to"),
        (["inspect", str(damaged)], "damaged or no mask snapshot"),
    ]:
        assert main(line) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not (run / "pictures").exists()


def test_pictures_need_no_jax(tmp_path: Path) -> None:
    run = with_diagnostics(with_snapshots(recorded(tmp_path / "r")))
    code = f"import sys; from mast.cli import main; code = main(['inspect', {str(run)!r}]);"
    code += "sys.exit(99 if 'jax' in sys.modules else code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_inputs_have_their_features_names(tmp_path: Path) -> None:
    environment = environment_of(resolve({"environment": "mpe/simple_spread"}))
    names = input_names(environment)
    spec = environment.spec
    run = recorded(tmp_path / "r", environment="mpe/simple_spread")
    mask = np.zeros((4, spec.observation + spec.actions + spec.agents), bool)
    mask[:3, 1] = True
    save_snapshot(run, 0, {"agent.fc1.weight": mask})
    assert main(["inspect", str(run), "--quiet"]) == 0
    page = (run / "pictures" / "index.html").read_text()
    rows = re.findall(r'<span title="([^"]*)">.*?<b>(\d+)</b>', page)
    assert [name for name, _ in rows] == names
    assert rows[1] == ("self.velocity_y", "3")
    assert f"{len(names) - 1} of {len(names)} have none" in page


def test_one_s_own_environment_is_not_run_for_names(tmp_path: Path) -> None:
    run = recorded(tmp_path / "r", environment="examples.pursuit:Pursuit")
    save_snapshot(run, 0, {"agent.fc1.weight": np.ones((4, 13), bool)})
    assert main(["inspect", str(run), "--quiet"]) == 0
    assert 'title="input 12"' in (run / "pictures" / "index.html").read_text()


def test_several_seeds_have_a_page_that_leads_to_theirs(tmp_path: Path) -> None:
    run = recorded(tmp_path / "r", seeds=2)
    for seed in (0, 1):
        with_snapshots(recorded(run / f"seed-{seed}"))
    assert main(["inspect", str(run), "--quiet"]) == 0
    page = (run / "pictures" / "index.html").read_text()
    assert re.findall('href="([^"]*)"', page) == ["seed-0/index.html", "seed-1/index.html"]


def test_what_agents_share_is_drawn_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", sharing="snp", actor=True)
    assert main(["inspect", str(run), "--json"]) == 0  # code of one's own is not run unasked
    assert "own code is not imported unasked (--features)" in capsys.readouterr().out
    monkeypatch.setattr("mast.commands.inspect_sharing.is_installed", lambda package: False)
    assert main(["inspect", str(run), "--features", "--json"]) == 0
    text = capsys.readouterr().out
    assert "needs scikit-learn, not installed: pip install 'mast-marl[sharing]'" in text
    assert "maa2c has no action values" in text
    assert list(last_json(text)["neurons"][str(run)]) == ["agent.layers.1"]
    names = drawn(run / "pictures")
    assert "neurons.png" in names
    assert "features.png" not in names
    assert 'src="neurons.png"' in (run / "pictures" / "index.html").read_text()
