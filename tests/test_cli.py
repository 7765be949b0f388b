"""The command line: help, refusals, what is printed, exit codes. Training itself is played."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mast.cli import main
from mast.commands.dispatch import COMMANDS
from mast.commands.options import Command, parse
from mast.config import Config, default_text, write_run_record
from mast.errors import UserError
from mast.terminal.output import Output


def run_in_python(*lists: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs command lines in one fresh process that ends with 99 if JAX was imported."""
    code = "import sys\nfrom mast.cli import main\n"
    code += f"codes = [main(line) for line in {list(lists)!r}]\n"
    code += "sys.exit(99 if 'jax' in sys.modules else max(codes))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


# Help.


def test_help_of_every_command_needs_no_jax() -> None:
    lists = [
        [],
        ["--help"],
        ["--version"],
        *([*command.name.split(), "-h"] for command in COMMANDS),
    ]
    done = run_in_python(*lists)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"mast {command.name}" in done.stdout


def test_help_shows_every_setting_with_default_and_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, info in Config.model_fields.items():
        if name == "environment":
            continue
        assert isinstance(info.json_schema_extra, dict)
        flag = "from" if name == "from_run" else name.replace("_", "-")
        assert f"--{flag} " in text
        assert f"[default {default_text(name)} · {info.json_schema_extra['source']}]" in text


@pytest.mark.parametrize("columns", ["40", "80", "250"])
def test_help_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    main(["train", "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= min(100, int(columns))


# Refusals.

REFUSALS = [
    (["trian"], "unknown command 'trian' (did you mean train?)"),
    (["play"], "unknown command 'play': one of train, resume"),
    (["train"], "environment: missing; for example smax/3m"),
    (["train", "smax/3n"], 'unknown environment "smax/3n"; did you mean'),
    (["train", "smax/3m", "--sparisty", "0.5"], "unknown option --sparisty (did you mean --sp"),
    (["train", "smax/3m", "--zzz"], "unknown option --zzz (see: mast train --help)"),
    (["train", "smax/3m", "--lr", "1"], "unknown option --lr (did you mean --learning-rate?)"),
    (["train", "smax/3m", "--n-envs=4"], "unknown option --n-envs (did you mean --parallel-envs?)"),
    (["train", "smax/3m", "--Steps", "4"], "unknown option --Steps (did you mean --steps?)"),
    (["train", "smax/3m", "--from-run", "r"], "unknown option --from-run (did you mean --from?)"),
    (["train", "smax/3m", "--no-json"], "unknown option --no-json (did you mean --json?)"),
    (
        ["train", "smax/3m", "--hidden_siz", "4"],
        "unknown option --hidden_siz (did you mean --hidden-",
    ),
    (["train", "smax/3m", "--=4"], "unknown option -- (see: mast train --help)"),
    (["train", "smax/3m", "-x"], "unknown option -x (see: mast train --help)"),
    (
        ["train", "--env", "smax/3m"],
        "unknown option --env (the environment is the first argument: mas",
    ),
    (
        ["resume", "--run", "run"],
        "unknown option --run (the run is the first argument: mast resume DI",
    ),
    (["resume", "run", "--lr", "1"], "unknown option --lr (see: mast resume --help)"),
    (["train", "smax/3m", "extra"], "unexpected argument 'extra'"),
    (["train", "smax/3m", "-5"], "unexpected argument '-5'"),
    (["study", "show", "table1-lite", "--only", "map=3m", "x=y"], "unexpected argument 'x=y'"),
    (["train", "smax/3m", "--steps"], "--steps: its value is missing"),
    (["train", "smax/3m", "--steps", "--seed", "1"], "--steps: its value is missing"),
    (["train", "smax/3m", "--out", "-x"], "--out: its value is missing"),
    (["train", "smax/3m", "--double-q"], "--double-q: its value is missing"),
    (["study", "show", "table1-lite", "--only"], "--only: its value is missing"),
    (["study", "show", "table1-lite", "--only", ""], "--only: must not be empty"),
    (["train", "smax/3m", "--quiet=yes"], "--quiet takes no value"),
    (["train", "smax/3m", "--sparsity", "1.0"], "sparsity = 1.0: must be a number"),
    (["train", "smax/3m", "--sparsity", "-1"], "sparsity = -1: must be a number"),
    (["train", "smax/3m", "--steps", "abc"], "steps = abc: must be a whole number"),
    (["train", "smax/3m", "--batch-size", "6000"], "batch_size = 6000: must be at most buffer"),
    (["train", "smax/3m", "--eval-episodes", "0"], "eval_episodes = 0: must be"),
    (["train", "smax/3m", "--config", "none.json"], "cannot read none.json"),
    (["train", "smax/3m", "--out", "file"], "cannot write to file"),
    (["train", "smax/3m", "--out", "file/run"], "cannot write to file/run"),
    (["train", "smax/3m", "--out", "run"], "run already holds a run; go on with: mast resume run"),
    (["resume"], "DIR: missing"),
    (["resume", "empty"], "empty is no run: has no config.json"),
    (["resume", "nowhere"], "nowhere is no run: no such folder"),
    (["resume", "run", "--steps", "0"], "steps = 0: must be"),
    (["evaluate", "empty"], "empty is no run"),
    (["evaluate", "run"], "run/policy.safetensors does not exist yet"),
    (["evaluate", "run", "--episodes", "0"], "episodes = 0: must be a whole number at least 1"),
    (["evaluate", "run", "--checkpoint", "first"], "checkpoint = first: must be one of last, best"),
    (["info", "nothing"], 'unknown environment "nothing"; see: mast envs; nor is there a folder'),
    (["info", "empty"], "empty is no run"),
    (["info", "run", "--sparsity", "0.5"], "sparsity: settings can be given for an environment"),
]


def prepare_folders(folder: Path) -> list[Path]:
    (folder / "file").write_text("")
    (folder / "empty").mkdir()
    (folder / "run").mkdir()
    config = Config(environment="smax/3m")
    write_run_record(folder / "run", config, {"environment": "smax/3m"})
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(("arguments", "message"), REFUSALS)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = prepare_folders(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mast: error: " + message)
    assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_no_refusal_waits_for_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_folders(tmp_path)
    done = run_in_python(*(arguments for arguments, _ in REFUSALS))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == len(REFUSALS)


# What is read.

TYPED = [
    ("train", ["smax/3m", "--batch_size=4", "--json"], {"batch_size": "4", "json": True}),
    ("train", ["--seed", "1", "smax/3m", "--seed", "2"], {"seed": "2"}),
    (
        "train",
        ["smax/3m", "--sparsity", "-.5", "--steps=-5e3"],
        {"sparsity": "-.5", "steps": "-5e3"},
    ),
    ("train", ["smax/3m", "--double-q", "false"], {"double_q": "false"}),
    ("train", ["smax/3m", "--out=--x=y", "--log", "-"], {"out": "--x=y", "log": "-"}),
    ("train", ["--from", "runs/a", "--", "smax/3m"], {"from_run": "runs/a"}),
    ("study show", ["t", "--only", "a=1", "--only=b=2"], {"study": "t", "only": ("a=1", "b=2")}),
    (
        "study adopt",
        ["t", "a", "--json", "b", "--results", "r", "--", "-c"],
        {"study": "t", "run": ("a", "b", "-c"), "json": True, "results": "r"},
    ),
    ("envs", [], {}),
]


@pytest.mark.parametrize(("name", "words", "typed"), TYPED)
def test_a_line_is_read_word_by_word(name: str, words: list[str], typed: dict[str, object]) -> None:
    command = next(command for command in COMMANDS if command.name == name)
    place = {"environment": "smax/3m"} if name == "train" else {}
    assert parse(command, words) == place | typed


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_is_read_and_its_first_letters_suggest_one(command: Command) -> None:
    for option in command.options:
        if option.positional:
            continue
        value = "-1" if option.value else True
        typed = parse(command, [option.flag, "-1"] if option.value else [option.flag])
        assert typed == {option.name: (value,) if option.many else value}
        begun = option.flag[:-1]
        if any(each.flag == begun for each in command.options):
            continue
        with pytest.raises(UserError, match=rf"unknown option {begun} \(did you mean {begun}"):
            parse(command, [begun])


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m mast envs | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


# What the system may do.


def test_ctrl_c_while_importing_is_one_line() -> None:
    """A finder that interrupts takes the place of a user who does so at that moment."""
    code = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == AT: raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from mast.cli import main
sys.exit(main(["methods"]))
"""
    for at in ("mast.commands.dispatch", "pydantic", "rich.table"):
        line = [sys.executable, "-c", code.replace("AT", repr(at))]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (130, "mast: interrupted\n"), at


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_is_full_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "mast", "methods", "--json"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "mast: error: cannot write the output: No space left on device\n"


def test_a_name_that_is_too_long_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["train", "smax/3m", "--out"], ["info"], ["resume"], ["inspect"], ["evaluate"]):
        assert main([*line, "x" * 300]) == 2, line
        err = capsys.readouterr().err
        assert err.startswith("mast: error: ")
        assert err.count("\n") == 1


def test_numbers_of_numpy_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": np.int64(3), "b": np.bool_(True), "c": np.arange(2), "d": np.float32("nan")}
    Output({"json": True}).result(values | {"e": [np.float64(0.5)]})
    assert json.loads(capsys.readouterr().out) == {
        "a": 3,
        "b": True,
        "c": [0, 1],
        "d": None,
        "e": [0.5],
    }
