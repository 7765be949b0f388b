"""Several seeds as one process each: DIR/seed-K is a run of its own, started with `mast train`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mast.algorithms.registry import algorithm_entry
from mast.child_process import ending_with_parent
from mast.commands.interruption import Interruption
from mast.commands.several_display import RunsDisplay
from mast.commands.summary import mean_summary, show_summary
from mast.config import Config, extend_run_record, write_run_record
from mast.errors import UserError
from mast.folders import begun, held, seed_folders
from mast.terminal.output import Output
from mast.training.checkpoint import CheckpointStore
from mast.training.memory import check_needed_memory, known_sizes

PROGRAM = (sys.executable, "-m", "mast")
POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
"""How long a child may take to stop once it is told to do so at once."""


@dataclass
class Child:
    """One run: what to start, and the process once it is started."""

    folder: Path
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = None
    stdout: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    stderr: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    @property
    def state(self) -> str:
        """waiting, running, finished, interrupted or failed."""
        if self.process is None:
            return "waiting"
        code = self.process.poll()
        # A child that Ctrl-C reaches before it can save dies of the signal.
        if code in (130, -signal.SIGINT):
            return "interrupted"
        names = {None: "running", 0: "finished"}
        return names.get(code, "failed")

    def summary(self) -> dict[str, Any] | None:
        """Its JSON object; None if it did not come to print one."""
        lines = _read(self.stdout).splitlines()
        return json.loads(lines[-1]) if lines else None

    def complaint(self) -> str:
        """What it wrote to standard error."""
        return _read(self.stderr).strip()


def train_processes(
    config: Config, given: Mapping[str, Any], out: Path, output: Output, notes: list[str]
) -> int:
    """Trains the seeds of a new run.

    Args:
        config: resolved, with several seeds.
        given: what the user set.
        out: folder of all of them.
        output: where to show them.
        notes: what to say about the settings once a run trains.

    Returns:
        the exit code: 0, or that of the first run that did not finish.
    """
    from mast.execution.rules import rules_of  # imports JAX

    algorithm_entry(config.algorithm)
    rules_of([config])
    sizes = known_sizes(config)  # of an own environment, each run asks for itself
    if sizes is not None:
        check_needed_memory(config, sizes, min(config.seeds, len(_slots(config)[1])))
    with begun(out, notes.append, lambda: write_run_record(out, config, given)):
        return _run_all(config, out, None, output, notes)


def resume_processes(config: Config, out: Path, steps: int | None, output: Output) -> int:
    """Goes on with the seeds of a run; arguments and result as in `train_processes`.

    Args:
        steps: a later end for all of them; None keeps their own.
    """
    notes: list[str] = []
    with held(out, notes.append):
        if steps is not None:
            _check_extension(out, config, steps)
            config = config.model_copy(update={"steps": steps})
            extend_run_record(out, config)
        return _run_all(config, out, steps, output, notes)


def _check_extension(out: Path, config: Config, steps: int) -> None:
    """Refuses an end that a run has passed, before anything is written."""
    for folder in seed_folders(out, config):
        newest = CheckpointStore(folder).peek()
        taken = 0 if newest is None else newest[1]["run"]["env_steps"]
        if steps < taken:
            raise UserError(f"steps = {steps}: {folder} has already taken {taken}")


def _run_all(
    config: Config, out: Path, steps: int | None, output: Output, notes: Sequence[str]
) -> int:
    threads, slots = _slots(config)
    children = []
    for number, folder in enumerate(seed_folders(out, config)):
        if (folder / "config.json").exists():
            arguments = ["resume", str(folder)] + ([] if steps is None else ["--steps", str(steps)])
        else:
            arguments = ["train", "--config", str(out), "--out", str(folder)]
            arguments += ["--seed", str(config.seed + number), "--seeds", "1"]
            arguments += ["--threads", str(threads)]
        children.append(Child(folder, [*arguments, "--quiet", "--json"]))
    interrupted = _supervise(children, slots, RunsDisplay(config, children, output, notes))
    return _report(children, out, interrupted, output)


def _slots(config: Config) -> tuple[int, list[list[int]]]:
    """Threads of one run, and the cores of each of the runs that go at the same time.

    The lists are empty where processes cannot be pinned (macOS).
    """
    pins = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if pins else list(range(os.cpu_count() or 1))
    threads = config.threads or max(1, len(cores) // config.seeds)
    starts = range(0, max(1, len(cores) - threads + 1), threads)
    slots = [cores[start : start + threads] for start in starts]
    return threads, slots if pins else [[] for _ in slots]


def _supervise(
    children: Sequence[Child], slots: Sequence[Sequence[int]], display: RunsDisplay
) -> bool:
    """Runs all children, one per slot at a time; whether the user stopped them.

    They get no further than their next save should this process be killed.
    """
    running: dict[int, Child] = {}
    waiting = list(children)
    forwarded = False
    try:
        with (
            display,
            Interruption(
                lambda: display.note("stopping the runs; Ctrl-C again stops at once")
            ) as interruption,
        ):
            while running or (waiting and not interruption.requested):
                if interruption.requested and not forwarded:
                    forwarded = True
                    _signal_all(running.values(), signal.SIGINT)
                for slot in set(range(len(slots))) - set(running):
                    if waiting and not interruption.requested:
                        running[slot] = waiting.pop(0)
                        _start(running[slot], slots[slot])
                display.update()
                time.sleep(POLL_SECONDS)
                running = {s: child for s, child in running.items() if child.state == "running"}
            display.update()
            return interruption.requested
    except KeyboardInterrupt:
        return True
    finally:
        _stop(list(running.values()))


def _start(child: Child, cores: Sequence[int]) -> None:
    """Starts a run pinned to its cores; a child has those of the thread that starts it."""
    before = os.sched_getaffinity(0) if cores else set()
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        child.process = subprocess.Popen(
            ending_with_parent([*PROGRAM, *child.arguments]),
            stdin=subprocess.DEVNULL,
            stdout=child.stdout,
            stderr=child.stderr,
            start_new_session=True,  # the terminal's Ctrl-C reaches it once, through us
        )
    finally:
        if cores:
            os.sched_setaffinity(0, before)


def _signal_all(children: Any, number: signal.Signals) -> None:
    for child in children:
        if child.process is not None and child.process.poll() is None:
            child.process.send_signal(number)


def _stop(running: Sequence[Child]) -> None:
    """Leaves no child behind: asks, then asks for at once, then kills."""
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if all(child.state != "running" for child in running):
            return
        _signal_all(running, number)
        deadline = time.monotonic() + GRACE_SECONDS / 2
        while time.monotonic() < deadline and any(c.state == "running" for c in running):
            time.sleep(0.05)


def _report(children: Sequence[Child], out: Path, interrupted: bool, output: Output) -> int:
    """Says what came of the runs; the exit code of all."""
    summaries = [
        {"seed": int(child.folder.name.removeprefix("seed-")), **summary}
        for child in children
        if child.process is not None and (summary := child.summary()) is not None
    ]
    code = 0
    for child in children:
        if child.state == "failed" and child.process is not None:
            # A child's own one line, or the traceback of a bug in it.
            print(f"{child.folder.name}: {child.complaint()}", file=sys.stderr)
            status = child.process.returncode
            code = code or (status if status > 0 else 1)
    if interrupted or any(child.state == "interrupted" for child in children):
        output.say(f"interrupted; go on with: mast resume {out}")
        code = code or 130
    means = mean_summary(summaries) | {"out": str(out), "runs": summaries}
    if summaries and code == 0:
        show_summary(means, output, len(children))
    output.result(means)
    return code


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
