"""`mast train` and `mast resume`: what is printed, folders, Ctrl-C, exit codes."""

import errno
import fcntl
import os
import pty
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from played import SUMMARY, FakeTrainer, last_json, round_metrics

from mast.cli import main
from mast.config import load_run_record
from mast.errors import SelfCheckError, UserError
from mast.folders import begun, held
from mast.studies.training_process import locked
from mast.training.display import PlainDisplay
from mast.training.metrics import Metrics


def test_train_gives_one_json_object_as_the_last_line(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "smax/3m", "--sparsity", "0.95", "--steps", "3e3", "--out", "r", "--json"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    result = last_json(out)
    assert result.keys() == SUMMARY.keys() | {"out"}
    assert result["out"] == "r"
    assert result["updates_per_second"] is None
    assert "a library greets" not in out
    assert "a library greets" in err
    assert "1,000 steps  33%" in out
    assert "the ring takes 12 MiB" in out
    assert "3,409 of 53,417 parameters" in out
    assert "mast evaluate r" in out
    [played] = trainer.made
    assert played.config.sparsity == 0.95
    assert played.given == {"environment": "smax/3m", "sparsity": "0.95", "steps": "3e3"}
    assert load_run_record(Path("r"))["given"]["steps"] == 3000


def test_a_run_without_an_update_says_that_it_learned_nothing(
    trainer: type[FakeTrainer],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["train", "smax/3m", "--out", "long"]) == 0
    assert "nothing was learned" not in capsys.readouterr().out
    monkeypatch.setitem(SUMMARY, "updates", 0)
    assert main(["train", "smax/3m", "--out", "short"]) == 0
    assert "nothing was learned: the run ended before its first" in capsys.readouterr().out


def test_quiet_prints_only_the_json_object(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "smax/3m", "--method", "dense", "--sparsity", "0.5", "--out", "r", "--quiet"]
    assert main([*line, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 1
    assert last_json(out)["env_steps"] == 3000
    line[line.index("r")] = "other"
    assert main(line) == 0
    assert capsys.readouterr() == ("", "")


def test_dense_is_told_that_its_sparsity_is_ignored(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "smax/3m", "--method", "dense", "--sparsity", "0.5"]) == 0
    assert capsys.readouterr().out.count("method dense ignores sparsity = 0.5") == 1


@pytest.mark.parametrize("command", ["train", "resume"])
def test_a_refused_run_has_no_notes(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str], command: str
) -> None:
    line = ["train", "smax/3m", "--method", "dense", "--sparsity", "0.5", "--out", "r"]
    if command == "resume":
        assert main([*line, "--quiet"]) == 0
        line = ["resume", "r"]

    def refuse(*_: Any, **__: Any) -> None:
        raise UserError("not like this")

    trainer.__init__ = refuse  # type: ignore[method-assign, assignment]
    assert main(line) == 2
    assert "note" not in capsys.readouterr().out


def test_the_default_folder_is_named_after_the_run(trainer: type[FakeTrainer]) -> None:
    assert main(["train", "smax/3m", "--method", "ss", "--quiet"]) == 0
    assert main(["train", "my.package:Game", "--algorithm", "vdn", "--quiet"]) == 0
    assert main(["train", "my.package:Game", "--algorithm", "vdn", "--quiet"]) == 0
    names = sorted(path.name for path in Path("runs").iterdir())
    assert names[0].startswith("my.package-Game-vdn-mast-2")
    assert names[2].startswith("smax-3m-qmix-ss-2")
    assert len(names) == 3


def test_config_starts_from_a_run_and_the_command_line_wins(trainer: type[FakeTrainer]) -> None:
    first = ["train", "smax/3m", "--method", "rigl", "--hidden-size", "32", "--out", "a"]
    assert main([*first, "--quiet"]) == 0
    second = ["train", "--config", "a/config.json", "--method", "mast", "--out", "b", "--quiet"]
    assert main(second) == 0
    config = trainer.made[-1].config
    assert (config.environment, config.method, config.hidden_size) == ("smax/3m", "mast", 32)
    assert config.td_lambda == 0.8


def test_ctrl_c_saves_after_the_round_and_says_how_to_resume(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)  # a job in the background may ignore it
    trainer.second_round = staticmethod(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert main(["train", "smax/3m", "--out", "r", "--json"]) == 130
    assert trainer.made[0].saved == 1
    out = capsys.readouterr().out
    assert "2,000 steps" in out
    assert "3,000 steps  100%" not in out
    assert "go on with: mast resume r" in out
    assert last_json(out)["out"] == "r"
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_says_where_nothing_can_be_saved_yet(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.can_save = False
    trainer.second_round = staticmethod(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert main(["train", "smax/3m", "--out", "r"]) == 130
    said = capsys.readouterr().out
    assert "3,000 env steps, before anything can be saved; mast resume r begins again" in said
    assert "and saved" not in said


def test_a_second_ctrl_c_stops_at_once(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    trainer.second_round = staticmethod(twice)
    assert main(["train", "smax/3m", "--out", "r"]) == 130
    assert trainer.made[0].saved == 0
    assert "the last checkpoint stands; go on with: mast resume r" in capsys.readouterr().out


def test_a_closed_terminal_saves_and_nothing_more_is_written_to_it(
    trainer: type[FakeTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system sends the signal twice, and writing to the terminal is an error from then on."""
    # Under nohup it is ignored, which a training respects.
    handled = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    leader, terminal = pty.openpty()
    stdout = os.dup(1)
    os.dup2(terminal, 1)

    def hang_up() -> None:
        os.close(terminal)
        os.close(leader)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)

    trainer.second_round = staticmethod(hang_up)
    try:
        with open(1, "w", closefd=False) as screen:
            monkeypatch.setattr(sys, "stdout", screen)
            assert main(["train", "smax/3m", "--out", "r"]) == 130
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        signal.signal(signal.SIGHUP, handled)
    assert trainer.made[0].saved == 1


def test_under_nohup_a_closed_terminal_changes_nothing(trainer: type[FakeTrainer]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        trainer.second_round = staticmethod(lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert main(["train", "smax/3m", "--out", "r", "--quiet"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_display_that_cannot_write_does_not_end_a_training(
    trainer: type[FakeTrainer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(display: PlainDisplay, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PlainDisplay, "note", full)
    assert main(["train", "smax/3m", "--out", "r"]) == 0
    assert "nothing is shown from here on: No space left" in capsys.readouterr().err


def test_letters_that_an_output_lacks_do_not_end_a_training(
    trainer: type[FakeTrainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open(tmp_path / "log", "w", encoding="latin-1") as log:
        monkeypatch.setattr(sys, "stdout", log)
        assert main(["train", "smax/3m", "--out", "größe-λ", "--json"]) == 0
    lines = (tmp_path / "log").read_text(encoding="latin-1").splitlines()
    assert any("? 1.00" in line for line in lines)  # ε
    assert last_json(lines[-1])["out"] == "größe-λ"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def without(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without)
    said: list[str] = []
    with held(tmp_path, said.append):
        pass
    assert [line.endswith("take care that no other process trains there") for line in said] == [
        True
    ]
    lock = locked(tmp_path / "cell.lock")
    assert lock is not None
    lock.close()


def test_a_new_run_is_held_before_its_first_file_is_written(tmp_path: Path) -> None:
    """Two that passed the first check together: the second must leave the first one's files alone."""
    out = tmp_path / "r"
    with (
        begun(out, print, lambda: (out / "config.json").touch()),
        pytest.raises(UserError, match="another process"),
        begun(out, print, pytest.fail),
    ):
        pass
    with pytest.raises(UserError, match="already holds a run"), begun(out, print, pytest.fail):
        pass


def test_ctrl_c_in_the_last_round_is_a_finished_run(trainer: type[FakeTrainer]) -> None:
    class Last(FakeTrainer):
        def __iter__(self) -> Iterator[Metrics]:
            self.finished = True
            os.kill(os.getpid(), signal.SIGINT)
            yield round_metrics(3000, 3000)

    sys.modules["mast.runs.trainer"].Trainer = Last  # type: ignore[attr-defined]
    assert main(["train", "smax/3m", "--out", "r", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("error", "code"), [(SelfCheckError("loss is nan at\nupdate 7"), 3), (UserError("no"), 2)]
)
def test_errors_while_training_are_one_line(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail() -> None:
        raise error

    trainer.second_round = staticmethod(fail)
    assert main(["train", "smax/3m", "--out", "r", "--json", "--quiet"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"mast: error: {' '.join(str(error).split())}\n"


def test_a_bug_keeps_its_traceback(trainer: type[FakeTrainer]) -> None:
    trainer.second_round = staticmethod(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", "smax/3m", "--quiet"])


def test_a_folder_is_trained_in_by_one_process_only(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "smax/3m", "--out", "r", "--quiet"]) == 0
    with held(Path("r"), print):
        assert main(["resume", "r"]) == 2
    assert "another process is training in r" in capsys.readouterr().err
    assert main(["resume", "r", "--quiet"]) == 0


# Resuming.


def test_resume_goes_on_and_says_what_was_noticed(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "smax/3m", "--steps", "3000", "--out", "r", "--quiet"]) == 0
    assert main(["resume", "r", "--steps", "9e3", "--json"]) == 0
    out = capsys.readouterr().out
    assert "note: a damaged checkpoint was skipped" in out
    assert last_json(out)["out"] == "r"
    assert trainer.made[-1].steps == 9000  # type: ignore[attr-defined]


def test_resuming_a_finished_run_changes_nothing(
    trainer: type[FakeTrainer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "smax/3m", "--out", "r", "--quiet"]) == 0
    trainer.finished_before = True
    assert main(["resume", "r", "--json"]) == 0
    out = capsys.readouterr().out
    assert "r is finished; for more: mast resume r --steps N" in out
    assert last_json(out)["score"] == 0.4
    assert trainer.made[-1].saved == 0


class PlayedWandb:
    """What `wandb.init` gives: it writes down what it is sent."""

    def __init__(self, **about: Any) -> None:
        self.about = about
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.finished = False

    def log(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((step, row))

    def finish(self) -> None:
        self.finished = True


def test_evaluations_are_sent_to_wandb(
    trainer: type[FakeTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[PlayedWandb] = []

    def init(**about: Any) -> PlayedWandb:
        runs.append(PlayedWandb(**about))
        return runs[-1]

    spec = ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=spec))
    line = ["train", "smax/3m", "--out", "r", "--quiet"]
    assert main([*line, "--log", "wandb"]) == 0
    [run] = runs
    assert run.about["name"] == "r"
    assert run.about["id"] != "r"  # another folder of that name is another run
    assert run.about["config"]["environment"] == "smax/3m"
    assert [step for step, _ in run.rows] == [1000, 2000, 3000]
    assert "return" in run.rows[0][1]
    assert "loss" not in run.rows[0][1]  # not defined yet
    assert run.finished


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--log", "wandb"], "log = wandb: not installed: pip install 'mast-marl[wandb]'"),
        (["--log", "wand"], "log = wand: must be one of none, wandb"),
        (["--log", "wandb", "--seeds", "2"], "log = wandb: one run at a time"),
    ],
    ids=["missing", "unknown", "several"],
)
def test_a_logger_that_cannot_be_is_refused(
    trainer: type[FakeTrainer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["train", "smax/3m", "--out", "r", "--quiet", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("r").exists()
