"""Timing and means of a training session: where the seconds went, what the last rounds came to."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mast.training.engine import Engine
from mast.training.rounds import Round

PHASES = ("collect", "sample", "learn", "evaluate", "checkpoint")


class Measured(NamedTuple):
    """What the rates are made of: rounds in which nothing was compiled, evaluations aside."""

    env_steps: int
    updates: int
    seconds: float


class Meter:
    """Seconds per phase, counts and rates of this session, and the means since the last evaluation.

    Rounds in which something was compiled count for nothing but `seconds`.

    Args:
        engine: tells whether something was compiled.
        runs: how many runs the program holds.
        earlier_seconds: wall time of earlier sessions.
        rounds: what `rounds` gave when it was saved.
    """

    def __init__(
        self,
        engine: Engine,
        runs: int,
        earlier_seconds: float = 0.0,
        rounds: Sequence[Mapping[str, Sequence[float]]] = (),
    ) -> None:
        self.phases = dict.fromkeys(PHASES, 0.0)
        self.env_steps = self.updates = 0
        self._measured = Measured(0, 0, 0.0)
        self._engine = engine
        self._runs = runs
        self._earlier = earlier_seconds
        self._started = time.perf_counter()
        self._window = [
            {name: np.asarray(values) for name, values in means.items()} for means in rounds
        ]

    @property
    def rounds(self) -> list[dict[str, list[float]]]:
        """The rounds since the last evaluation, ready for JSON, so that a resumed row is the same."""
        return [{name: values.tolist() for name, values in means.items()} for means in self._window]

    @property
    def seconds(self) -> float:
        """Wall time of training, earlier sessions included."""
        return self._earlier + time.perf_counter() - self._started

    @property
    def env_steps_per_second(self) -> float | None:
        """Environment steps of one run per second, evaluations aside."""
        return self._per_second(self._measured.env_steps / self._runs)

    @property
    def updates_per_second(self) -> float | None:
        """Updates of one run per second, evaluations aside."""
        return self._per_second(self._measured.updates)

    @property
    def learner_updates_per_second(self) -> float | None:
        """Updates over the time inside the learner only."""
        inside = self.phases["learn"]
        return self._measured.updates / inside if self._measured.updates and inside else None

    def _per_second(self, count: int | float) -> float | None:
        return count / self._measured.seconds if count and self._measured.seconds else None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside as `name`."""
        start = time.perf_counter()
        yield
        self.phases[name] += time.perf_counter() - start

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Count the round inside, unless something was compiled in it: then its speed means nothing."""
        phases, counts = dict(self.phases), (self.env_steps, self.updates)
        compiled, start = self._engine.compile_seconds, time.perf_counter()
        yield
        if self._engine.compile_seconds > compiled:
            self.phases = phases
            return
        evaluating = self.phases["evaluate"] - phases["evaluate"]
        before = self._measured
        self._measured = Measured(
            before.env_steps + self.env_steps - counts[0],
            before.updates + self.updates - counts[1],
            before.seconds + time.perf_counter() - start - evaluating,
        )

    def round(self, done: Round) -> Mapping[str, np.ndarray]:
        """The means of one round, one number per run; kept until the next evaluation."""
        runs, updates = self._runs, done.updates

        def per_run(values: Any) -> np.ndarray:
            return np.asarray(values, np.float64).reshape(-1, runs).mean(0)

        means = dict(done.played)
        if updates:
            means |= {
                "loss": per_run([each.loss for each in updates]),
                **{
                    name: per_run([each.loss_metrics[name] for each in updates])
                    for name in updates[0].loss_metrics
                },
                "gradient_norm": per_run([each.gradient_norm for each in updates]),
            }
        self.updates += len(updates) * done.updates_each
        self._window.append(means)
        return means

    def since_last_evaluation(self, run: int) -> dict[str, float]:
        """The means over the rounds since `forget_rounds`, of one run."""
        names = dict.fromkeys(name for means in self._window for name in means)
        known = {
            name: [means[name][run] for means in self._window if name in means] for name in names
        }
        # A round in which no episode ended has no mean of the episodes.
        known = {name: [v for v in values if not np.isnan(v)] for name, values in known.items()}
        return {name: float(np.mean(values)) for name, values in known.items() if values}

    def forget_rounds(self) -> None:
        """Begin the next means."""
        self._window = []
