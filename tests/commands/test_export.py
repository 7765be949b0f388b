"""`mast export`: what it prints, what it refuses, and `mast evaluate` of what it made."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from played import last_json
from safetensors import safe_open
from safetensors.numpy import load_file, save

from export.teams import make_run
from mast.cli import main
from mast.commands import evaluate
from mast.export import kinds
from mast.export.folder import export_run


def test_it_says_what_the_c_costs_and_that_it_was_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    line = ["export", str(run), "--to", "c", "--out", str(out), "--episodes", "1", "--json"]
    assert main(line) == 0
    text = capsys.readouterr().out
    for words in ("RAM: ", "constants: ", "operations", "flash", "stack", "checked against the"):
        assert words in text
    assert "gru unrolled" in text
    result = last_json(text)
    assert result["out"] == str(out)
    assert result["check"]["clear_differences"] == 0
    names = ["contract.json", "mast_agent.c", "mast_agent.h", "vectors.bin"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert out.stat().st_mode & 0o777 == 0o755
    assert main(["evaluate", str(out), "--episodes", "4", "--json"]) == 0
    exported = last_json(capsys.readouterr().out)
    assert main(["evaluate", str(run), "--episodes", "4", "--json"]) == 0
    trained = last_json(capsys.readouterr().out)
    for name in ("win_rate", "return", "episode_length", "environment"):
        assert exported[name] == trained[name]


def test_it_says_what_int8_loses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["export", str(make_run(tmp_path / "run")), "--to", "c", "--out", str(tmp_path / "out")]
    assert main([*line, "--quantize", "int8", "--episodes", "1", "--prefix", "tiny"]) == 0
    assert "int8 loses: action values differ by" in capsys.readouterr().out
    assert (tmp_path / "out" / "tiny_agent.c").is_file()


def test_the_smallest_form_is_taken_and_all_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", str(make_run(tmp_path / "run")), "--to", "c", "--out", str(tmp_path / "out")]
    assert main([*line, "--smallest", "--episodes", "1", "--json"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"flash of each form, bytes: by layer [\d,]+ · dense [\d,]+ · unrolled", text)
    facts = last_json(text)["c"]
    flash = facts["flash_by_form"]
    assert {"by layer", "dense", "unrolled", "blocked", "int8 by layer"} <= set(flash)
    floats = {name: size for name, size in flash.items() if not name.startswith("int8")}
    least = min(floats, key=floats.__getitem__)
    assert (facts["storage"] or "by layer") == least


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("options", [[], ["--quantize", "int8"]], ids=["float32", "int8"])
def test_the_example_in_c_plays_what_was_recorded(tmp_path: Path, options: list[str]) -> None:
    line = ["export", str(make_run(tmp_path / "run")), "--to", "c", "--out", str(tmp_path / "out")]
    assert main([*line, "--episodes", "1", "--quiet", *options]) == 0
    example = Path(__file__).parents[2] / "examples" / "export_c"
    places = [f"EXPORT={tmp_path / 'out'}", f"BUILD={tmp_path / 'build'}"]
    done = subprocess.run(
        ["make", "-C", str(example), *places], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 differ" in done.stdout


def test_without_a_compiler_it_says_that_nothing_was_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "c_compiler", lambda: None)
    line = ["export", str(make_run(tmp_path / "run")), "--to", "c", "--out", str(tmp_path / "out")]
    assert main(line) == 0
    assert "NOT CHECKED" in capsys.readouterr().out


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    empty = make_run(tmp_path / "empty", name="other.safetensors")
    several = make_run(tmp_path / "several", seeds=2, seed=4)
    broken = make_run(tmp_path / "broken")
    policy = broken / "policy.safetensors"
    policy.write_bytes(policy.read_bytes()[:500])
    foreign = make_run(tmp_path / "foreign")
    (foreign / "policy.safetensors").write_bytes(b"a foreign file")
    critic, mixed = make_run(tmp_path / "critic"), make_run(tmp_path / "mixed")
    critic_layers = {"v_hidden.weight": np.zeros((32, 6), "f4")}
    (critic / "policy.safetensors").write_bytes(save(critic_layers))
    with safe_open(mixed / "policy.safetensors", "numpy") as file:
        about = file.metadata()
    tensors = load_file(mixed / "policy.safetensors")
    (mixed / "policy.safetensors").write_bytes(save(tensors | critic_layers, about))
    (tmp_path / "file").touch()
    (tmp_path / "there").mkdir()
    new = str(tmp_path / "new")
    before = sorted(tmp_path.iterdir())
    for line, message in [
        ([], "DIR: missing; for example runs/my-run"),
        ([str(run)], "--to is missing: --to c|onnx|safetensors"),
        ([str(run), "--to", "c"], "--out is missing: --out FOLDER"),
        ([str(run), "--to", "rust", "--out", new], "to = rust: must be one of c, onnx, saf"),
        ([str(tmp_path / "no"), "--to", "c", "--out", new], "is no run: no such folder"),
        ([str(empty), "--to", "c", "--out", new], "the run has saved no such policy"),
        (
            [str(run), "--to", "c", "--out", new, "--checkpoint", "best"],
            "policy-best.safetensors does not exist yet",
        ),
        ([str(run), "--to", "c", "--out", new, "--checkpoint", "first"], "must be one of last, b"),
        ([str(several), "--to", "c", "--out", new], "seed-0, "),
        ([str(broken), "--to", "onnx", "--out", new], "is damaged or no policy file of Mast"),
        ([str(foreign), "--to", "c", "--out", new], "is damaged or no policy file of Mast"),
        ([str(critic), "--to", "c", "--out", new], "is damaged or no policy file of Mast"),
        ([str(mixed), "--to", "c", "--out", new], "v_hidden.weight does not belong in a policy"),
        ([str(run), "--to", "c", "--out", str(tmp_path / "there")], "already exists"),
        ([str(run), "--to", "c", "--out", str(tmp_path / "file")], "already exists"),
        ([str(run), "--to", "c", "--out", str(tmp_path / "file" / "x")], "cannot write to"),
        ([str(run), "--to", "c", "--out", new, "--prefix", "7up"], "prefix = 7up: must be a short"),
        ([str(run), "--to", "onnx", "--out", new, "--quantize", "int8"], "only with --to c"),
        ([str(run), "--to", "onnx", "--out", new, "--prefix", "a"], "prefix = a: only with --to c"),
        ([str(run), "--to", "onnx", "--out", new, "--smallest"], "smallest: only with --to c"),
        (
            [str(run), "--to", "c", "--out", new, "--smallest", "--storage", "dense"],
            "storage = dense: the smallest form is chosen for you",
        ),
        ([str(run), "--to", "c", "--out", new, "--quantize", "int4"], "must be one of int8"),
        ([str(run), "--to", "c", "--out", new, "--storage", "csr"], "must be one of unrolled"),
        ([str(run), "--to", "c", "--out", new, "--episodes", "0"], "at least 1"),
    ]:
        assert main(["export", *line]) == 2, line
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, locked = make_run(tmp_path / "run"), tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["export", str(run), "--to", "c", "--out", str(locked / "out")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_an_exported_team_has_as_many_threads_as_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = make_run(tmp_path / "run", threads=1), tmp_path / "out"
    export_run(run, "safetensors", out, episodes=1)
    limits: list[int | None] = []
    monkeypatch.setattr(evaluate, "limit_threads", limits.append)
    assert main(["evaluate", str(out), "--episodes", "2", "--quiet"]) == 0
    assert limits == [1]
