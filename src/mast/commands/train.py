"""`mast train` and `mast resume`: one run here; several of them in `mast.commands.several`."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mast.commands.interruption import INTERRUPTED, Interruption
from mast.commands.options import (
    JSON,
    QUIET,
    Command,
    Option,
    Values,
    given_settings,
    required,
    setting_options,
)
from mast.commands.several import resume_processes, train_processes
from mast.commands.summary import show_summary
from mast.config import Config, limit_threads, load_config_file, load_run_config, notices, resolve
from mast.configuration.explain import check_word
from mast.errors import UserError
from mast.extras import check_scikit_learn, is_installed
from mast.folders import check_new, default_folder
from mast.terminal.output import Output

if TYPE_CHECKING:
    from mast.training.tracker import WandbTracker

LOGGERS = ("none", "wandb")
"""Where evaluations can be sent while a run trains."""
LOG = Option("log", "send evaluations to a logger too", "NAME", "default none; wandb")


@runtime_checkable
class Training(Protocol):
    """What is needed of a `Trainer`, whose import would bring JAX."""

    config: Config
    notices: list[str]

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""

    def __iter__(self) -> Iterator[Any]:
        """The rounds."""

    def save(self) -> bool:
        """Writes a checkpoint; whether there was one to write."""

    def summary(self) -> dict[str, Any]:
        """What it came to."""


def run_train(values: Values) -> int:
    """Trains a new run, or several seeds of it, to the end or to Ctrl-C."""
    output = Output(values)
    given = load_config_file(Path(values["config"])) if "config" in values else {}
    given |= given_settings(values)
    if "rewind" in values:
        given["initial_weights"] = "initial"
    config = resolve(given)
    out = Path(values["out"]) if "out" in values else default_folder(config)
    logger = _logger(values, config)
    if config.sharing == "seps":
        check_scikit_learn("sharing = seps")
    check_new(out)
    notes = notices(given)
    limit_threads(config.threads)
    with output.only_ours():
        if config.seeds > 1:
            placement = _placement(config)
            config = config.model_copy(update={"placement": placement})
            given["placement"] = placement
            if placement == "process":
                return train_processes(config, given, out, output, notes)
        from mast.runs.trainer import Trainer

        trainer = Trainer(config, out=out, given=given)
        return _watch(trainer, [*notes, *trainer.notices], out, output, logger)


def run_resume(values: Values) -> int:
    """Goes on with a run from its last checkpoint; a finished one is left as it is."""
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    config = load_run_config(run)
    steps = _more_steps(config, values.get("steps"))
    logger = _logger(values, config)
    limit_threads(config.threads)
    with output.only_ours():
        if config.seeds > 1 and config.placement == "process":
            return resume_processes(config, run, steps, output)
        from mast.runs.trainer import Trainer

        trainer = Trainer.resume(run, steps=steps)
        if not trainer.finished:
            return _watch(trainer, trainer.notices, run, output, logger)
    for notice in trainer.notices:
        output.say(f"note: {notice}")
    output.say(f"{run} is finished; for more: mast resume {run} --steps N")
    output.result(trainer.summary())
    return 0


def _placement(config: Config) -> str:
    if config.placement != "auto":
        return config.placement
    from mast.runtime import platform_of_jax  # imports JAX

    return "process" if platform_of_jax() == "cpu" else "vmap"


def _more_steps(config: Config, text: str | None) -> int | None:
    """The new end of a run; None where it keeps its own."""
    return None if text is None else resolve(config.model_dump() | {"steps": text}).steps


def _logger(values: Values, config: Config) -> str:
    """Where evaluations are sent beside metrics.csv."""
    logger = str(values.get("log", "none"))
    check_word("log", logger, LOGGERS)
    if logger != "none" and config.seeds > 1:
        raise UserError(f"log = {logger}: one run at a time; start each seed by itself")
    if logger != "none" and not is_installed(logger):
        raise UserError(f"log = {logger}: not installed: pip install 'mast-marl[{logger}]'")
    return logger


def _tracker(logger: str, config: Config, out: Path) -> "WandbTracker | None":
    if logger == "none":
        return None
    from mast.training.tracker import WandbTracker

    return WandbTracker(config, out)


def _watch(trainer: Training, notes: Sequence[str], out: Path, output: Output, logger: str) -> int:
    """Trains to the end or to Ctrl-C, and says what came of it; notes once nothing can be refused."""
    from mast.commands.lasting_display import LastingDisplay
    from mast.training.display import open_display
    from mast.training.logging import read_metrics

    resume = f"go on with: mast resume {out}"
    wins = [row["win_rate"] for row in read_metrics(out)]
    display = LastingDisplay(
        open_display(
            trainer.config,
            output.console,
            quiet=output.quiet,
            earlier=[win for win in wins if win is not None],
        )
    )
    saved = True
    try:
        with (
            _tracker(logger, trainer.config, out) or contextlib.nullcontext() as tracker,
            display,
            Interruption(
                lambda: display.note("stopping after this round; Ctrl-C again stops at once")
            ) as interruption,
        ):
            for note in notes:
                display.note(f"note: {note}")
            said = len(trainer.notices)
            for metrics in trainer:
                display.update(metrics)
                for note in trainer.notices[said:]:
                    display.note(f"note: {note}")
                said = len(trainer.notices)
                if tracker is not None:
                    tracker.update(metrics)
                if interruption.requested:
                    break
            if interruption.requested:
                saved = trainer.save()
    except KeyboardInterrupt:
        output.say(f"stopped; the last checkpoint stands; {resume}")
        return INTERRUPTED
    summary = trainer.summary()
    stopped = interruption.requested and not trainer.finished
    steps = f"{summary['env_steps']:,} env steps"
    if stopped and saved:
        output.say(f"interrupted and saved at {steps}; {resume}")
    elif stopped:
        output.say(
            f"interrupted at {steps}, before anything can be saved; mast resume {out} begins again"
        )
    else:
        show_summary(summary, output, trainer.config.seeds)
    output.result(summary)
    return INTERRUPTED if stopped else 0


TRAIN = Command(
    "train",
    "train a team",
    "Trains a team and keeps everything about the run in one folder. Ctrl-C saves; "
    "mast resume goes on.",
    (
        Option(
            "environment",
            "what to learn: smax/3m … or package.module:Class",
            "ENV",
            "see: mast envs",
            positional=True,
        ),
        Option("out", "the run's folder", "DIR", "default runs/ENV-ALGORITHM-METHOD-TIME"),
        Option("config", "start from the settings of a config.json (or a run's folder)", "FILE"),
        LOG,
        Option("rewind", "begin with the first weights of --from's run: --initial-weights initial"),
        QUIET,
        JSON,
        *setting_options(),
    ),
    run_train,
)

RESUME = Command(
    "resume",
    "go on with a run that was stopped or killed",
    "Goes on from the last checkpoint, bit for bit as if nothing had happened.",
    (
        Option("run", "the run's folder", "DIR", positional=True),
        Option("steps", "a later end, for more training", "N", "default the run's own"),
        LOG,
        QUIET,
        JSON,
    ),
    run_resume,
)
