"""Small studies and played jobs for the tests of this room."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mast.studies.cell import Cell
from mast.studies.job import Progress
from mast.studies.results import CellFiles
from mast.studies.study import Study, read_study

SMALL: dict[str, Any] = {
    "title": "small",
    "seeds": 2,
    "settings": {"environment": "smax/3m", "steps": 2000, "method": ["dense", "mast"]},
    "cells": [{"sparsity": 0.9}],
}


def small_study(**changes: Any) -> Study:
    """Dense and MAST at 90 %, two seeds of 2,000 steps; other entries of the file on top."""
    return read_study("small", {**SMALL, **changes}, "small.toml")


def row(score: float | None = 0.5, seconds: float = 10.0, **more: Any) -> dict[str, Any]:
    """What a row must have, for tests that write one."""
    return {"score": score, "seconds": seconds, "return": 1.0, "win_rate": score, **more}


def files(score: float | None = 0.5, seconds: float = 10.0, **more: Any) -> CellFiles:
    """A finished cell."""
    return CellFiles(row(score, seconds, **more), f"env_steps,win_rate\n1000,{score or ''}\n")


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@dataclass
class PlayedJob:
    """A job that goes through given states, one per look."""

    cell: Cell
    states: list[str]
    calls: list[str] = field(default_factory=list)
    score: float = 0.5

    def poll(self) -> str:
        """The next of the given states; the last one stays."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def progress(self) -> Progress:
        """Half way."""
        return Progress(self.cell.config.steps // 2, 0.25)

    def files(self) -> CellFiles:
        """A small row."""
        return files(self.score)

    def complaint(self) -> str:
        """What a failed child said."""
        return "mast: error: loss is nan"

    def stop(self) -> None:
        """Saves at once."""
        self.calls.append("stop")
        self.states = ["interrupted"]

    def kill(self) -> None:
        """Ends."""
        self.calls.append("kill")

    def close(self) -> None:
        """Lets go."""
        self.calls.append("close")


class Log:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.standings: list[Any] = []

    def started(self, cell: Cell) -> None:
        """A line."""
        self.lines.append(f"started {cell.name}")

    def finished(self, result: Any) -> None:
        """A line."""
        self.lines.append(f"finished {result.cell.name}")

    def failed(self, cell: Cell, complaint: str) -> None:
        """A line."""
        self.lines.append(f"failed {cell.name}: {complaint}")

    def stopping(self, why: str) -> None:
        """A line."""
        self.lines.append(f"stopping: {why}")

    def update(self, standing: Mapping[str, Any]) -> None:
        """Kept."""
        self.standings.append(standing)
