"""What is seen while training: a live table, plain lines where there is no terminal, or nothing."""

import itertools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mast.config import Config
from mast.training.metrics import Metrics

BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 48
LINE_INTERVAL = 10.0
"""Seconds between two plain lines where no evaluation comes between."""


@runtime_checkable
class Display(Protocol):
    """Watches a training loop: `with open_display(...) as display: ... display.update(metrics)`."""

    def __enter__(self) -> "Display":
        """Starts to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leaves the screen as it is then."""

    def update(self, metrics: Metrics) -> None:
        """Shows a round of training."""

    def note(self, text: str) -> None:
        """Says something beside the numbers."""


def open_display(
    config: Config,
    console: Console | None = None,
    *,
    quiet: bool = False,
    earlier: Sequence[float] = (),
) -> Display:
    """The display that fits where the output goes.

    Args:
        config: of the run, for the title.
        console: where to write; standard output by default.
        quiet: show nothing at all.
        earlier: win rates of evaluations before this session, for the line of them.
    """
    if quiet:
        return SilentDisplay()
    console = console or Console()
    if console.is_terminal:
        return LiveDisplay(config, console, earlier)
    return PlainDisplay(config, console)


def title(config: Config) -> str:
    """A run in a few words: environment, algorithm, method, sparsity, seed."""
    sparse = f", {config.sparsity:.4g} sparse" if config.sparsity > 0 else ""
    if config.widths == "tiny":
        sparse = f", the size of {config.sparsity:.4g} sparse"
    if config.density_per_agent is not None:
        sparse = ", densities " + ", ".join(f"{each:g}" for each in config.density_per_agent)
    method = config.method + sparse
    seeds = f"seed {config.seed}"
    if config.seeds > 1:
        seeds = f"seeds {config.seed}-{config.seed + config.seeds - 1}"
    return f"{config.environment} · {config.algorithm} · {method} · {seeds}"


class SilentDisplay:
    """Shows nothing."""

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def update(self, metrics: Metrics) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class PlainDisplay:
    """A line per evaluation, and every ten seconds between them."""

    def __init__(self, config: Config, console: Console) -> None:
        self._title = title(config)
        self._console = console
        self._last_line = -float("inf")

    def __enter__(self) -> "Display":
        self.note(f"{self._title} · compiling…")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return

    def update(self, metrics: Metrics) -> None:
        """Writes a line if there was an evaluation or the last line is ten seconds old."""
        now = time.monotonic()
        if metrics.evaluation is not None or now - self._last_line >= LINE_INTERVAL:
            self._last_line = now
            self.note(plain_line(metrics))

    def note(self, text: str) -> None:
        """Writes a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class LiveDisplay:
    """A progress bar, a small table and the win rate so far as a line of bars, redrawn in place."""

    def __init__(self, config: Config, console: Console, earlier: Sequence[float] = ()) -> None:
        self._wins = list(earlier)
        self._title = title(config)
        self._console = console
        self._spinner = Spinner("dots", text="compiling…", style="cyan")
        # Spinner and clock move while the loop waits for a compilation.
        self._live = Live(self._render(None), console=console, refresh_per_second=4)

    def __enter__(self) -> "Display":
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, metrics: Metrics) -> None:
        """Shows the newest numbers."""
        if metrics.evaluation is not None and metrics.evaluation.win_rate is not None:
            self._wins.append(metrics.evaluation.win_rate)
        self._live.update(self._render(metrics))

    def note(self, text: str) -> None:
        """Writes a line above the table."""
        self._console.print(text, highlight=False, markup=False)

    def _render(self, metrics: Metrics | None) -> Group:
        heading = Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        if metrics is None:
            return Group(heading, self._spinner)
        share = min(1.0, metrics.env_steps / max(1, metrics.total_env_steps))
        progress = Table.grid(padding=(0, 2))
        progress.add_row(
            ProgressBar(total=1.0, completed=share, width=28),
            f"{share:4.0%}",
            f"{real(metrics.env_steps_per_second, ',.0f')} steps/s",
            f"{real(metrics.updates_per_second, '.1f')} updates/s",
            _state(metrics),
        )
        shown: list[RenderableType] = [heading, progress, _numbers(metrics)]
        if len(self._wins) > 1:
            width = max(1, min(SPARKLINE_WIDTH, self._console.width - 34))
            line = Text("win rate, greedy ", style="dim", no_wrap=True)
            line.append(sparkline(self._wins, width), style="cyan")
            line.append(f" {len(self._wins)} evaluations")
            shown.append(line)
        return Group(*shown)


def sparkline(shares: Sequence[float], width: int) -> str:
    """Numbers from 0 to 1 as bars, oldest first; neighbours share a bar where there are more than fit.

    Args:
        shares: at least one.
        width: characters at most.
    """
    count = min(len(shares), width)
    edges = [round(place * len(shares) / count) for place in range(count + 1)]
    means = [sum(shares[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    return "".join(BARS[min(len(BARS) - 1, int(mean * len(BARS)))] for mean in means)


def _state(metrics: Metrics) -> str:
    if metrics.env_steps >= metrics.total_env_steps:
        return "done"
    # A round that compiled is followed by others that may: its ETA would mean nothing.
    return "compiling…" if metrics.compiling else f"ETA {duration(metrics.eta_seconds)}"


def _first_metric(metrics: Metrics) -> tuple[str, str]:
    """The first number that the algorithm tells of its loss, as Q_tot of value-based ones, and its name."""
    for name, value in metrics.loss_metrics.items():
        return name, real(value, ".2f")
    return "", ""


def _numbers(metrics: Metrics) -> Table:
    evaluation = metrics.last_evaluation
    table = Table.grid(padding=(0, 1))
    for width in (9, 6, 7):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", style="bold", min_width=width, no_wrap=True)
        table.add_column(width=1)
    cells = [
        ("env steps", whole(metrics.env_steps)),
        ("win rate, greedy", real(evaluation.win_rate if evaluation else None, ".2f")),
        ("loss", real(metrics.loss, ".4g")),
        ("episodes", whole(metrics.episodes)),
        ("return, greedy", real(evaluation.return_ if evaluation else None, ".2f")),
        _first_metric(metrics),
        ("updates", whole(metrics.updates)),
        ("return, training", real(metrics.train_return, ".2f")),
        ("gradient", real(metrics.gradient_norm, ".3g")),
        ("ε", real(metrics.epsilon, ".3f")),
        ("length, training", real(metrics.train_length, ".1f")),
        ("density", f"{metrics.density:.3f}"),
    ]
    for start in range(0, len(cells), 3):
        row = cells[start : start + 3]
        table.add_row(*(text for name, value in row for text in (name, value, "")))
    return table


def plain_line(metrics: Metrics) -> str:
    """The numbers of a round in one line."""
    evaluation = metrics.last_evaluation
    share = metrics.env_steps / max(1, metrics.total_env_steps)
    parts = [
        f"{whole(metrics.env_steps):>9} steps {min(1.0, share):4.0%}",
        f"episodes {whole(metrics.episodes)}",
        *([] if metrics.epsilon is None else [f"ε {metrics.epsilon:.2f}"]),
    ]
    if evaluation is not None and evaluation.win_rate is not None:
        parts.append(f"win {evaluation.win_rate:.2f}")
    # Until the first evaluation the only return there is comes from exploring.
    return_ = evaluation.return_ if evaluation else metrics.train_return
    parts.append(f"return {real(return_, '.2f')}")
    parts += [
        f"loss {real(metrics.loss, '.3g')}",
        *([" ".join(_first_metric(metrics))] if metrics.loss_metrics else []),
        f"density {metrics.density:.3f}",
        f"{real(metrics.env_steps_per_second, ',.0f')} steps/s",
        f"{real(metrics.updates_per_second, '.1f')} updates/s",
        _state(metrics),
    ]
    return "  ".join(parts)


def whole(number: int) -> str:
    """A count in groups of three digits: 312,480."""
    return f"{number:,}"


def real(number: float | None, form: str) -> str:
    """A number in this format, a dash where it is not defined."""
    return "-" if number is None else format(number, form)


def duration(seconds: float | None) -> str:
    """Seconds as 4:12 or 1:04:12, a dash where they are not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
