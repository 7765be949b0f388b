"""`mast watch`: what it prints and what it refuses."""

import sys
from pathlib import Path

import pytest
from played import last_json

from export.teams import make_run
from mast.cli import main
from mast.watching import ffmpeg


def test_a_team_becomes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "new" / "team.html"
    assert main(["watch", str(run), "--out", str(out), "--episodes", "2", "--json"]) == 0
    text = capsys.readouterr().out
    assert "episode 1: " in text
    assert "note: Q_tot is not shown" in text  # the run has no checkpoint
    result = last_json(text)
    assert len(result["episodes"]) == 2
    assert result["q_tot"] is False
    page = out.read_text()
    assert "hunter_1" in page
    assert '"actions":["stay","up","right","down","left"]' in page
    exported = tmp_path / "exported"
    assert main(["export", str(run), "--to", "safetensors", "--out", str(exported)]) == 0
    assert main(["watch", str(exported), "--out", str(out), "--episodes", "2", "--json"]) == 0
    again = last_json(capsys.readouterr().out)
    assert again["episodes"] == result["episodes"]
    assert "exported as safetensors" in out.read_text()
    assert [each.name for each in out.parent.iterdir()] == ["team.html"]


def test_probabilities_and_agents_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "run", sharing="snp", actor=True), tmp_path / "team.html"
    assert main(["watch", str(run), "--out", str(out), "--episodes", "1", "--json"]) == 0
    text = capsys.readouterr().out
    assert "note: the actions' probabilities are shown" in text
    assert last_json(text)["values"] == "probabilities"
    assert '"values":"probabilities"' in out.read_text()
    alone = tmp_path / "alone"
    line = ["export", str(run), "--to", "safetensors", "--out", str(alone), "--episodes", "1"]
    assert main([*line, "--agent", "5"]) == 2
    assert "agent = 5: must be an index from 0 to 1 or one of hunter_0" in capsys.readouterr().err
    assert main([*line, "--agent", "hunter_0"]) == 0
    assert (
        "hunter_0, agent 0 of 2: neurons layers.0 16 of 16, layers.1 12" in capsys.readouterr().out
    )
    for command in (["watch", str(alone), "--out", str(out)], ["evaluate", str(alone)]):
        assert main(command) == 2
        assert (
            "is one agent alone, hunter_0 of a team of 2: it cannot play" in capsys.readouterr().err
        )


def test_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    run = make_run(tmp_path / "run")
    empty = make_run(tmp_path / "empty", name="other.safetensors")
    several = make_run(tmp_path / "several", seeds=2, seed=4)
    foreign = make_run(tmp_path / "foreign")
    (foreign / "policy.safetensors").write_bytes(b"a critic")
    larger = make_run(tmp_path / "larger", environment="mpe/simple_spread")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "contract.json").write_text("{")
    (tmp_path / "file").touch()
    (tmp_path / "there.html").mkdir()
    page, film = str(tmp_path / "new" / "a.html"), str(tmp_path / "a.gif")
    before = sorted(tmp_path.rglob("*"))
    for line, message in [
        ([], "DIR: missing; for example runs/my-run"),
        ([str(run)], "--out is missing: --out team.html, .gif or .mp4"),
        ([str(run), "--out", "team.avi"], "out = team.avi: must end in .html, .gif, .mp4"),
        ([str(run), "--out", str(tmp_path / "there.html")], "it is a folder"),
        ([str(run), "--out", str(tmp_path / "file" / "a.html")], "cannot write to"),
        ([str(run), "--out", str(tmp_path / "a.mp4")], "mp4 needs ffmpeg: install it, or pip"),
        ([str(run), "--out", page, "--episodes", "0"], "at least 1"),
        ([str(run), "--out", page, "--seed", "x"], "at least 0"),
        ([str(run), "--out", page, "--checkpoint", "first"], "must be one of last, best"),
        ([str(run), "--out", page, "--checkpoint", "best"], "best.safetensors does not exist yet"),
        ([str(tmp_path / "no"), "--out", page], "is no run: no such folder"),
        ([str(empty), "--out", page], "the run has saved no such policy"),
        ([str(several), "--out", page], "choose one: "),
        ([str(damaged), "--out", page], "is damaged or no JSON"),
        ([str(foreign), "--out", page], "is damaged or no policy file of Mast"),
        ([str(larger), "--out", page], "agents, features, actions are (2, 6, 5), those of mpe"),
        ([str(run), "--out", film], "examples.pursuit:Pursuit has no scene to draw"),
    ]:
        assert main(["watch", *line]) == 2, line
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
