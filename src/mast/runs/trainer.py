"""The loop: collect → learn → maybe evolve → maybe evaluate → maybe save, in plain Python."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mast.algorithms.registry import algorithm_entry
from mast.config import (
    Config,
    differences_from,
    given_of,
    load_run_config,
    load_run_record,
    write_run_record,
)
from mast.envs.protocol import Environment
from mast.errors import EnvironmentFailure, EnvironmentNaN, StorageError
from mast.folders import begun, check_new, held
from mast.runs.persistence import extend, restore, save, take_up
from mast.runs.report import evaluation_row, round_metrics, summary
from mast.runs.session import Session
from mast.training.engine import State
from mast.training.evaluation import Evaluation, mean_evaluation, summarise
from mast.training.execution import (
    battle_on_resume,
    choose_battle,
    choose_execution,
    execution_on_resume,
)
from mast.training.metrics import Metrics
from mast.training.rounds import Round
from mast.training.source import with_source

Callback = Callable[[Metrics], object]


class Trainer(Session):
    """Trains one team, or several runs of it in one vmapped program; iterate over it or call `run`.

    Each step of the iteration is one collection round. Checkpoints, metrics.csv, TensorBoard events and
    policies are written to the run's folder as it goes.

    Args:
        config: resolved settings.
        out: the run's folder, which must not hold a run; None writes nothing.
        environment: an environment object; made from `config.environment` where None.
        given: what the user set, kept in config.json beside the resolved settings.
        callback: called with each round's `Metrics`.
        resumed: for `resume`: the settings are those of the run in `out`, which goes on.

    Several seeds (`config.seeds`) are one program with a run axis, each in `out/seed-K`.

    Raises:
        UserError: `out` already holds a run or cannot be written, the replay ring does not fit, or several
            seeds cannot be one program.
    """

    def __init__(
        self,
        config: Config,
        out: str | Path | None = None,
        *,
        environment: Environment | None = None,
        given: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
        resumed: bool = False,
    ) -> None:
        folder, said = None if out is None else Path(out), list[str]()
        auto = False
        if not resumed:
            if folder is not None:
                check_new(folder)
            config, said = with_source(config)
            given = given_of(config) if given is None else given
            auto = config.execution == "auto"
            config, chosen = choose_execution(config, config.seeds > 1)
            said += chosen
            config = choose_battle(config, environment is not None)
        super().__init__(config, folder, environment, chosen=auto)
        self.notices += said
        self.callback = callback
        self._saved_at, self._save_cost = time.perf_counter(), 0.0
        self._lock = ExitStack()
        if folder is not None and not resumed:
            self._begin(folder, given or {})

    def _begin(self, folder: Path, given: Mapping[str, Any]) -> None:
        """Make the folders of a new run."""
        config, spec = self.config, self.environment.spec
        with begun(
            folder, self.notices.append, lambda: write_run_record(folder, config, given, spec)
        ) as lock:
            for run in self.runs:
                assert run.out is not None
                if run.out != folder:
                    own = {**given, "seed": run.config.seed, "seeds": 1}
                    write = partial(write_run_record, run.out, run.config, own, spec)
                    lock.enter_context(begun(run.out, self.notices.append, write))
            self.begin_files()
            self._lock.push(lock.pop_all())

    @classmethod
    def resume(
        cls,
        path: str | Path,
        steps: int | None = None,
        *,
        environment: Environment | None = None,
        callback: Callback | None = None,
    ) -> "Trainer":
        """Go on from a run's last checkpoint, bit for bit on the same machine and CPU count.

        A run that was killed before its first checkpoint starts again from its config.json.

        Args:
            path: the run's folder.
            steps: a new total of environment steps; T_0 and the drop fraction's cosine follow it.
            environment, callback: as for a new run.

        Raises:
            UserError: no run there, another process trains in it, fewer steps than taken, another
                environment, or every checkpoint is damaged.
        """
        out = Path(path)
        load_run_record(out)  # what is no run is refused as that
        notices: list[str] = []
        with held(out, notices.append) as lock:
            trainer = cls._resumed(out, steps, environment, callback, lock)
            trainer.notices[:0] = notices
            if not trainer.finished:
                trainer._lock.push(lock.pop_all())
        return trainer

    @classmethod
    def _resumed(
        cls,
        out: Path,
        steps: int | None,
        environment: Environment | None,
        callback: Callback | None,
        lock: ExitStack,
    ) -> "Trainer":
        """As `resume`, in a folder that is held."""
        record, config = load_run_record(out), load_run_config(out)
        before = config.steps
        if steps is not None:
            config = config.model_copy(update={"steps": steps})
        recorded = record["settings"].get("execution", "masked")
        config, said = execution_on_resume(config, recorded, config.seeds > 1)
        config, more = battle_on_resume(config, record["settings"].get("battle", "jax"))
        said += more
        trainer = cls(config, out, environment=environment, callback=callback, resumed=True)
        trainer.notices += said
        for run in trainer.runs:
            if run.out is not None and run.out != out:
                lock.enter_context(held(run.out, trainer.notices.append))
            run.check_folder()
        restored = restore(trainer)
        if config.steps != before:
            extend(trainer, before)
        take_up(trainer, restored)
        changed = differences_from(record)
        if changed:
            trainer.notices.append(
                f"{'; '.join(changed)}: the run will not be bit-identical to an uninterrupted one"
            )
        return trainer

    def run(self) -> dict[str, Any]:
        """Train to the end and return the summary."""
        for _ in self:
            pass
        return self.summary()

    def __iter__(self) -> Iterator[Metrics]:
        if self.finished:
            return
        while not self.finished:
            metrics = self._round()
            if self.callback is not None:
                self.callback(metrics)
            yield metrics
        self.save()
        self.close()

    def close(self) -> None:
        """Close the files and let go of the folder; a finished training has done it."""
        for run in self.runs:
            run.close()
        self.engine.close()
        self._lock.close()

    def summary(self) -> dict[str, Any]:
        """The numbers that `mast train --json` prints; None where undefined."""
        return summary(self)

    def _round(self) -> Metrics:
        """Collect, learn, and evaluate and save where it is time."""
        compiled = self.engine.compile_seconds
        with self._naming_what_is_kept(), self.meter.measured():
            self.state, done = self._loop_round()
            self.notices += self.engine.said()
            self._check_finite(done)
            if self.config.pruning != "none":
                self.densities = self.engine.densities(self.state)
            row = self.meter.round(done)
            evaluation = self._maybe_evaluate()
            elapsed = time.perf_counter() - self._saved_at
            interval = self.config.checkpoint_interval
            # At most 2 % of the time goes into checkpoints, whatever the interval (0 asks for all).
            worth = interval == 0 or elapsed >= 50 * self._save_cost
            if elapsed >= interval and worth and self.loop.is_whole:
                self._save()
        compiling = self.engine.compile_seconds > compiled
        return round_metrics(self, row, evaluation, compiling)

    def _loop_round(self) -> tuple[State, Round]:
        """One round of the loop; where the environment fails, what was learnt before is saved."""
        with self._saving_what_was_learnt(lambda: self.loop.learnt(self.state)):
            return self.loop.round(self.state, self.counters, self.meter)

    @contextmanager
    def _saving_what_was_learnt(self, learnt: Callable[[], State]) -> Iterator[None]:
        """While entered, a failure of the environment ends the run, saved and said with what is kept.

        Args:
            learnt: the state to save.
        """
        try:
            yield
        except (EnvironmentFailure, EnvironmentNaN) as error:
            if self.out is None:
                raise
            self.state = learnt()
            # Of several runs, some may hold this round's episodes already; of one that has taken all its
            # steps no round would follow, and so no last evaluation.
            if len(self.runs) == 1 and not self.finished:
                self._save()
            self.close()
            raise type(error)(f"{error}; {self.runs[0].kept}") from error

    def _check_finite(self, done: Round) -> None:
        """Stop at numbers that cannot be right, before they reach a checkpoint."""
        updates, each = done.updates, done.updates_each
        if not updates:
            return
        first = self.counters.updates - (len(updates) - 1) * each
        finite = self.engine.finite(self.state)
        for place, run in enumerate(self.runs):
            if run.counters.done:
                continue
            for number, update in zip(itertools.count(first, each), updates, strict=False):
                for name, value in (("loss", update.loss), ("gradient norm", update.gradient_norm)):
                    value = np.reshape(value, -1)[place]
                    if not np.isfinite(value):
                        raise run.numerical_failure(f"{name} is {value} at update {number}")
            if not finite[place]:
                raise run.numerical_failure(
                    f"a parameter is not finite after update {self.counters.updates}"
                )

    def _maybe_evaluate(self) -> Evaluation | None:
        """Evaluate all runs where it is time, and those that have just taken their last step."""
        steps = min(run.counters.env_steps for run in self.runs)
        due = self.counters.evaluated_at // self.config.eval_interval + 1
        running = [place for place, run in enumerate(self.runs) if not run.counters.done]
        ended = [place for place in running if self.runs[place].finished]
        if steps >= due * self.config.eval_interval:
            evaluation = self._evaluate(running)
            self.counters.evaluated_at = steps
            return evaluation
        return self._evaluate(ended) if ended else None

    def _evaluate(self, places: Sequence[int]) -> Evaluation | None:
        """Greedy episodes; rows and best policies of the runs at these places; their means."""
        episodes, at_once = self.config.eval_episodes, self.config.parallel_envs
        number = self.counters.evaluations
        with self.meter.phase("evaluate"):
            watch = self.watch.of_evaluation(self.state, places)
            with self._saving_what_was_learnt(lambda: self.state):
                totals = self.engine.evaluate(self.state, number, episodes, at_once, watch)
                drawn = (
                    self.engine.evaluate(self.state, number, episodes, at_once, sampled=True)
                    if algorithm_entry(self.config.algorithm).stochastic
                    else None
                )
            self.counters.evaluations += 1
            done = []
            for place in places:
                run, state = self.runs[place], self.engine.team(self.state, place)
                run.check_folder()
                evaluation = summarise(
                    self.engine.of_run(totals, place),
                    self.environment.spec.has_win,
                    None if drawn is None else self.engine.of_run(drawn, place),
                )
                done.append(evaluation)
                scale = self.engine.observing.scale(place)
                if run.note_evaluation(evaluation):
                    run.save_policy("policy-best.safetensors", state, scale)
                row = evaluation_row(self, place, evaluation)
                run.write_row(row)
                self.watch.evaluated(place, state, row, self.counters.evaluations)
                if run.finished:
                    run.save_policy("policy.safetensors", state, scale)
                    run.counters.done = True
            # The rounds are still to come in the next rows of runs that play on.
            if all(run.counters.done or place in places for place, run in enumerate(self.runs)):
                self.meter.forget_rounds()
            return mean_evaluation(done)

    def save(self) -> bool:
        """Write a checkpoint of every run, and its policy; whether there was one to write.

        Not before the agents of SePS are shared out (`Loop.can_save`).

        Raises:
            StorageError: it cannot be written; the one before stands.
        """
        with self._naming_what_is_kept():
            return self._save()

    @contextmanager
    def _naming_what_is_kept(self) -> Iterator[None]:
        """While entered, a file that cannot be written is said with the last good checkpoint."""
        try:
            yield
        except StorageError as error:
            self.close()
            raise StorageError(f"{error}; {self.runs[0].kept}") from error

    def _save(self) -> bool:
        if not self.loop.can_save:
            return False
        start = time.perf_counter()
        with self.meter.phase("checkpoint"):
            save(self)
        self._saved_at = time.perf_counter()
        self._save_cost = self._saved_at - start
        return True
