"""`mast compact`: what it prints, what it refuses, and `mast evaluate` of what it made."""

from pathlib import Path

import pytest
from played import last_json

from export.teams import make_run
from mast.cli import main


def test_it_says_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "run", density=0.1), tmp_path / "out"
    assert main(["compact", str(run), "--out", str(out), "--episodes", "1", "--json"]) == 0
    text = capsys.readouterr().out
    for words in ("48 × 16 → ", "neurons left: encoder ", "outputs are unchanged: "):
        assert words in text
    result = last_json(text)
    assert result["out"] == str(out)
    assert result["total"]["after"]["bytes"] < result["total"]["before"]["bytes"]
    assert result["check"]["same_action"] == result["check"]["decisions"]
    names = ["contract.json", "policy.safetensors", "vectors.bin"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert main(["evaluate", str(out), "--episodes", "4", "--json"]) == 0
    compact = last_json(capsys.readouterr().out)
    assert main(["evaluate", str(run), "--episodes", "4", "--json"]) == 0
    trained = last_json(capsys.readouterr().out)
    for name in ("win_rate", "return", "episode_length"):
        assert compact[name] == trained[name]


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    several = make_run(tmp_path / "several", seeds=2, seed=4)
    foreign = make_run(tmp_path / "foreign")
    (foreign / "policy.safetensors").write_bytes(b"a critic")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for line, message in [
        ([], "DIR: missing; for example runs/my-run"),
        ([str(tmp_path / "no")], "is no run: no such folder"),
        ([str(run), "--checkpoint", "best"], "policy-best.safetensors does not exist yet"),
        ([str(run), "--checkpoint", "first"], "must be one of last, best"),
        ([str(run), "--episodes", "0"], "at least 1"),
        ([str(run), "--out", str(tmp_path / "file")], "already exists"),
        ([str(run), "--out", str(tmp_path / "file" / "x")], "cannot write to"),
        ([str(several)], "choose one: "),
        ([str(foreign)], "is damaged or no policy file of Mast"),
    ]:
        assert main(["compact", *line]) == 2, line
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
