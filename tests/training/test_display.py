"""What is seen while training: at a terminal, in a pipe, and when quiet."""

import dataclasses
import io
import re

import pytest
from rich.console import Console

from mast.config import Config
from mast.training import display as display_module
from mast.training.display import (
    LiveDisplay,
    PlainDisplay,
    SilentDisplay,
    duration,
    open_display,
    plain_line,
    sparkline,
    title,
)
from mast.training.evaluation import Evaluation
from mast.training.metrics import Metrics

CONFIG = Config(environment="smax/3m", sparsity=0.95, steps=500_000)
EVALUATION = Evaluation(win_rate=0.78, return_=17.2, length=28.4, episodes=32)
BEFORE = Metrics(
    env_steps=480,
    total_env_steps=500_000,
    episodes=8,
    updates=0,
    epsilon=0.99,
    loss=None,
    loss_metrics={},
    gradient_norm=None,
    train_return=1.2,
    train_win_rate=0.0,
    train_length=31.2,
    density=0.05,
    env_steps_per_second=None,
    updates_per_second=None,
    eta_seconds=None,
    seconds=6.0,
    evaluation=None,
    last_evaluation=None,
    compiling=True,
)
LATER = dataclasses.replace(
    BEFORE,
    env_steps=312_480,
    loss=0.0123,
    loss_metrics={"q_tot": 5.61},
    env_steps_per_second=1204.3,
    updates_per_second=21.2,
    eta_seconds=252.0,
    evaluation=EVALUATION,
    last_evaluation=EVALUATION,
    compiling=False,
)
NO_WIN = dataclasses.replace(
    LATER, last_evaluation=dataclasses.replace(EVALUATION, win_rate=None), train_win_rate=None
)


def console(terminal: bool, width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_display_fits_the_output() -> None:
    assert isinstance(open_display(CONFIG, console(True)), LiveDisplay)
    assert isinstance(open_display(CONFIG, console(False)), PlainDisplay)
    assert isinstance(open_display(CONFIG, console(True), quiet=True), SilentDisplay)


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display(CONFIG, quiet=True) as display:
        display.update(LATER)
        display.note("something")
    assert capsys.readouterr() == ("", "")


def test_the_live_table_holds_every_number() -> None:
    screen = console(True)
    with open_display(CONFIG, screen) as display:
        display.update(BEFORE)
        display.update(LATER)
        display.note("a note")
    text = printed(screen)
    for shown in ("312,480", "0.78", "17.20", "0.0123", "5.61", "0.050", "ETA 4:12"):
        assert shown in text
    for shown in ("1,204 steps/s", "21.2 updates/s", "62%", "a note", "ε"):
        assert shown in text


@pytest.mark.parametrize("metrics", [BEFORE, LATER, NO_WIN])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_width_and_no_gap_breaks_the_live_table(metrics: Metrics, width: int) -> None:
    screen = console(True, width)
    with open_display(CONFIG, screen) as display:
        display.update(metrics)
    assert "nan" not in printed(screen).lower()
    assert "None" not in printed(screen)


def test_the_win_rate_is_a_line_of_bars() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([0.0, 0.0, 1.0, 1.0, 0.5, 0.5], 3) == "▁█▅"
    assert len(sparkline([0.3] * 100, 48)) == 48
    screen = console(True)
    with open_display(CONFIG, screen, earlier=[0.0, 0.0]) as display:
        display.update(BEFORE)
        display.update(LATER)
    assert "win rate, greedy ▁▁▇ 3 evaluations" in re.sub(r"\x1b\[[\d;]*m", "", printed(screen))


def test_compiling_is_said_from_the_first_moment() -> None:
    for terminal in (True, False):
        screen = console(terminal)
        with open_display(CONFIG, screen):
            pass
        assert "compiling…" in printed(screen)


def test_plain_lines_come_with_evaluations_and_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now)
    screen = console(False)
    with open_display(CONFIG, screen) as display:
        display.update(BEFORE)
        now = 105.0
        display.update(BEFORE)
        display.update(LATER)
        now = 116.0
        display.update(BEFORE)
    lines = printed(screen).splitlines()
    assert len(lines) == 1 + 3
    assert lines[0].startswith("smax/3m · qmix · mast, 0.95 sparse · seed 0")
    assert "win 0.78" in lines[2]


def test_a_plain_line_is_one_line_whatever_the_width() -> None:
    screen = console(False, width=20)
    with open_display(CONFIG, screen) as display:
        display.update(LATER)
    assert len(printed(screen).splitlines()) == 2


def test_a_plain_line_says_what_is_defined() -> None:
    assert "win" not in plain_line(BEFORE)
    assert "compiling" in plain_line(BEFORE)
    assert "return 1.20" in plain_line(BEFORE)
    assert plain_line(dataclasses.replace(BEFORE, env_steps=500_001)).endswith("done")
    assert "win" not in plain_line(NO_WIN)
    assert "return 17.20" in plain_line(NO_WIN)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.2, "0:00"), (59.6, "1:00"), (252.0, "4:12"), (3852.0, "1:04:12")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_titles() -> None:
    dense = Config(environment="smax/3m", method="dense", seeds=4, seed=2)
    assert title(dense) == "smax/3m · qmix · dense · seeds 2-5"
