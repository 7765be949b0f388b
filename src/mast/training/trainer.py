"""The loop: collect → learn → maybe evolve → maybe evaluate → maybe save, in plain Python."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mast.config import (
    Config,
    load_run_config,
    load_run_record,
    seed_configs,
    usable_cpus,
    write_run_record,
)
from mast.envs.protocol import Environment, EnvironmentSpec
from mast.envs.registry import make
from mast.errors import SelfCheckError, UserError
from mast.folders import check_new
from mast.learning.learner import LearnerState, UpdateMetrics
from mast.learning.replay import bucket, length_buckets
from mast.learning.ring_memory import check_memory, expected_bytes, machine_memory
from mast.runtime import prepare
from mast.training.counters import Counters, RunCounters
from mast.training.engine import Engine
from mast.training.evaluation import Evaluation, mean_evaluation, summarise
from mast.training.meter import Meter
from mast.training.metrics import Metrics
from mast.training.report import summary
from mast.training.rollout import Totals, episodes
from mast.training.run import Run, restore_together


class Trainer:
    """Trains one team, or several runs of it in one vmapped program; iterate over it or call `run`.

    Each step of the iteration is one collection round. Checkpoints, metrics.csv, TensorBoard events and
    policies are written to the run's folder as it goes.

    Args:
        config: resolved settings.
        out: the run's folder, which must not hold a run; None writes nothing.
        environment: an environment object; made from `config.environment` where None.
        given: what the user set, kept in config.json beside the resolved settings.
        callback: called with each round's `Metrics`.
        vmapped: several seeds as one program with a run axis, each in `out/seed-K`.

    Raises:
        UserError: `out` already holds a run or cannot be written, or the replay ring does not fit.
    """

    state: LearnerState
    engine: Engine

    def __init__(
        self,
        config: Config,
        out: str | Path | None = None,
        *,
        environment: Environment | None = None,
        given: Mapping[str, Any] | None = None,
        callback: Callable[[Metrics], object] | None = None,
        vmapped: bool = False,
    ) -> None:
        folder = None if out is None else Path(out)
        if folder is not None:
            check_new(folder)
        self._prepare(config, folder, environment, callback, vmapped)
        if self.out is not None:
            self._write_records({"environment": config.environment} if given is None else given)

    @classmethod
    def resume(cls, path: str | Path, steps: int | None = None) -> "Trainer":
        """Go on from a run's last checkpoint, bit for bit on the same machine and CPU count.

        A run that was killed before its first checkpoint starts again from its config.json.

        Args:
            path: the run's folder.
            steps: a new total of environment steps; T_0 and the drop fraction's cosine follow it.

        Raises:
            UserError: no run there, fewer steps than taken, or every checkpoint is damaged.
        """
        out = Path(path)
        record = load_run_record(out)
        config = load_run_config(out)
        trainer = cls.__new__(cls)
        cpus = usable_cpus()
        extended = steps is not None and steps != config.steps
        if extended:
            config = config.model_copy(update={"steps": steps})
        trainer._prepare(config, out, None, None, config.seeds > 1)
        trainer._restore()
        if extended:
            trainer._extend(record["given"], record["settings"]["steps"])
        if record["cpu_count"] != cpus:
            trainer.notices.append(
                f"the run began on {record['cpu_count']} CPUs and goes on with {cpus}: "
                "its numbers will not be bit-identical to an uninterrupted run's"
            )
        return trainer

    def _write_records(self, given: Mapping[str, Any]) -> None:
        """config.json of the folder and, where they are others, of each run's."""
        assert self.out is not None
        self.out.mkdir(parents=True, exist_ok=True)
        write_run_record(self.out, self.config, given)
        for run in self.runs:
            assert run.out is not None
            if run.out != self.out:
                run.out.mkdir(exist_ok=True)
                write_run_record(run.out, run.config, {**given, "seed": run.config.seed})

    def _restore(self) -> None:
        """Set every run back to its last good checkpoint."""
        templates = [self.engine.of_run(self.state, place) for place in range(len(self.runs))]
        restored = restore_together(self.runs, templates)
        if restored is None:
            self.notices.append("no checkpoint yet: the run starts again from its config.json")
            for run in self.runs:
                run.start_again()
            return
        for run, found in zip(self.runs, restored, strict=True):
            self.notices += found.skipped
            self.counters = Counters(**found.counters["shared"])
            run.counters = RunCounters(**found.counters["run"])
            run.forget_metrics_after(run.counters.env_steps)
        self.state = self.engine.stacked([found.state for found in restored])
        self.meter = Meter(
            self.engine,
            len(self.runs),
            self.counters.seconds,
            self.counters.rounds_since_evaluation,
        )

    def _extend(self, given: Mapping[str, Any], before: int) -> None:
        steps = self.config.steps
        taken = max(run.counters.env_steps for run in self.runs)
        if steps < taken:
            raise UserError(f"steps = {steps}: the run has already taken {taken}")
        self._write_records({**given, "steps": steps})
        for run in self.runs:
            run.counters.done = run.finished
        self.notices.append(
            f"steps {before} → {steps}: the λ-return now begins at "
            f"{self.config.burn_in_fraction * steps:.0f} env steps and the drop fraction falls to 0 at "
            f"{steps}; both differ from a run that was given {steps} steps at first"
        )

    def _prepare(
        self,
        config: Config,
        out: Path | None,
        environment: Environment | None,
        callback: Callable[[Metrics], object] | None,
        vmapped: bool,
    ) -> None:
        prepare()
        self.config = config
        self.out = out
        self.callback = callback
        self.notices: list[str] = []
        self.environment = environment or make(
            config.environment,
            reward_scale=config.reward_scale,
            state_last_action=config.state_last_action,
            episode_limit=config.episode_limit,
        )
        spec = self.environment.spec
        if vmapped and not spec.is_jax:
            raise UserError(f"placement = vmap: {spec.id} is no JAX environment, use process")
        configs = seed_configs(config) if vmapped else [config]
        self._check_memory(spec, len(configs))
        folders = [
            out / f"seed-{each.seed}" if out is not None and vmapped else out for each in configs
        ]
        self.runs = [Run(c, spec, folder) for c, folder in zip(configs, folders, strict=True)]
        self.counters = Counters()
        self.engine = Engine(configs, self.environment, vmapped)
        self.state = self.engine.init()
        self._density = self.engine.densities(self.state)
        self._buckets = length_buckets(spec.episode_limit)
        self.meter = Meter(self.engine, len(configs))
        self._saved_at = time.perf_counter()

    def _check_memory(self, spec: EnvironmentSpec, runs: int) -> None:
        """Say what the rings will take, and refuse what the machine does not have."""
        episodes, dtype, limit = (
            self.config.buffer_episodes,
            self.config.replay_dtype,
            spec.episode_limit,
        )
        bound = runs * expected_bytes(spec, episodes, dtype)
        expected = runs * expected_bytes(spec, episodes, dtype, mean_length=limit / 2)
        self.notices.append(
            f"replay ring: about {expected / 1e9:.2f} GB when full (episodes of half the limit), "
            f"{bound / 1e9:.2f} GB at most"
        )
        check_memory(expected, machine_memory())

    @property
    def finished(self) -> bool:
        """Whether every run has taken all its environment steps."""
        return all(run.finished for run in self.runs)

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
        for run in self.runs:
            run.close()

    def summary(self) -> dict[str, Any]:
        """The numbers that `mast train --json` prints; None where undefined."""
        return summary(self)

    def _round(self) -> Metrics:
        """Collect, learn, and evaluate and save where it is time."""
        compiled = self.engine.compile_seconds
        totals = self._collect()
        updates = self._learn(self.config.parallel_envs)
        row = self.meter.round(totals, updates)
        evaluation = None
        due = self.counters.evaluated_at // self.config.eval_interval + 1
        steps = min(run.counters.env_steps for run in self.runs)
        ended = any(run.finished and not run.counters.done for run in self.runs)
        if steps >= due * self.config.eval_interval or ended:
            evaluation = self._evaluate(steps)
        if time.perf_counter() - self._saved_at >= self.config.checkpoint_interval:
            self.save()
        return self._metrics(row, evaluation, self.engine.compile_seconds > compiled)

    def _collect(self) -> Totals:
        """One round of episodes in every run, into the rings; what they came to."""
        with self.meter.phase("collect"):
            count = self.config.parallel_envs
            totals, recording = jax.block_until_ready(
                self.engine.record(
                    self.state, self.counters.rounds, [run.epsilon for run in self.runs], count
                )
            )
            for place, run in enumerate(self.runs):
                before = run.counters.env_steps
                of_run = self.engine.of_run(totals, place)
                run.add(episodes(of_run, self.engine.recording_of_run(recording, place)))
                self.meter.env_steps += run.counters.env_steps - before
            self.counters.rounds += 1
            self.counters.episodes += count
            return jax.tree.map(np.asarray, totals)

    def _learn(self, collected: int) -> list[UpdateMetrics]:
        """The updates that are due for the episodes just collected, and the target copies among them."""
        config, counters = self.config, self.counters
        if len(self.runs[0].ring) < config.batch_size or any(
            run.counters.env_steps < config.warmup_env_steps for run in self.runs
        ):
            return []
        counters.update_credit += config.updates_per_episode * collected
        due = int(counters.update_credit)
        counters.update_credit -= due
        evolves = any(run.config.growth != "none" for run in self.runs)
        done = []
        for index in range(due):
            counters.updates += 1
            with self.meter.phase("sample"):
                slots = [run.draw(counters.updates) for run in self.runs]
                longest = max(run.ring.longest(s) for run, s in zip(self.runs, slots, strict=True))
                length = bucket(longest, self._buckets)
                batches = [run.gather(s, length) for run, s in zip(self.runs, slots, strict=True)]
            with self.meter.phase("learn"):
                self.state, metrics = self.engine.update(
                    self.state,
                    batches,
                    [run.counters.env_steps for run in self.runs],
                    counters.updates,
                    evolves and counters.updates % config.evolve_interval == 0,
                )
                done.append(metrics)
                episode = counters.episodes - collected + round((index + 1) / due * collected)
                if episode - counters.target_copied_at >= config.target_interval:
                    self.state = self.engine.copy_target(self.state)
                    counters.target_copied_at = episode
        with self.meter.phase("learn"):
            done = jax.device_get(done)
        self._check_finite(done)
        return done

    def _check_finite(self, updates: Sequence[UpdateMetrics]) -> None:
        first = self.counters.updates - len(updates) + 1
        for number, update in enumerate(updates, start=first):
            for name, value in (("loss", update.loss), ("gradient norm", update.gradient_norm)):
                if not np.isfinite(value).all():
                    steps = self.runs[0].counters.env_steps
                    raise SelfCheckError(
                        f"{name} is {value} at update {number} (env step {steps}); the last good "
                        f"checkpoint is kept in {self.out}: look at q_tot and gradient_norm in "
                        "metrics.csv, then lower learning_rate or gradient_clip"
                    )

    def _evaluate(self, steps: int) -> Evaluation | None:
        """Greedy episodes in every run; rows, best policies. Of several runs, the means."""
        with self.meter.phase("evaluate"):
            totals = self.engine.evaluate(
                self.state,
                self.counters.evaluations,
                self.config.eval_episodes,
                self.config.parallel_envs,
            )
            self.counters.evaluations += 1
            self.counters.evaluated_at = steps
            done = []
            for place, run in enumerate(self.runs):
                if run.counters.done:
                    continue
                evaluation = summarise(
                    self.engine.of_run(totals, place), self.environment.spec.has_win
                )
                done.append(evaluation)
                state = self.engine.of_run(self.state, place)
                if run.note_evaluation(evaluation):
                    run.save_policy("policy-best.safetensors", state)
                run.write_row(self._evaluation_row(place, evaluation))
                if run.finished:
                    run.save_policy("policy.safetensors", state)
                    run.counters.done = True
            self.meter.forget_rounds()
            return mean_evaluation(done)

    def save(self) -> None:
        """Write a checkpoint of every run, and its policy."""
        if self.out is None:
            return
        with self.meter.phase("checkpoint"):
            shared = asdict(self.counters) | {
                "seconds": self.meter.seconds,
                "rounds_since_evaluation": self.meter.rounds,
            }
            for place, run in enumerate(self.runs):
                state = self.engine.of_run(self.state, place)
                if not run.counters.done:
                    run.save_policy("policy.safetensors", state)
                assert run.store is not None
                run.store.save(
                    self.counters.rounds,
                    state,
                    {"shared": shared, "run": asdict(run.counters)},
                    run.ring,
                )
        self._saved_at = time.perf_counter()

    def _evaluation_row(self, place: int, evaluation: Evaluation) -> dict[str, Any]:
        """One row of metrics.csv: the means since the last evaluation."""
        run, meter = self.runs[place], self.meter
        means = meter.since_last_evaluation(place)
        if not self.environment.spec.has_win:
            del means["train_win_rate"]
        return means | {
            "env_steps": run.counters.env_steps,
            "episodes": self.counters.episodes,
            "updates": self.counters.updates,
            "seconds": meter.seconds,
            "epsilon": run.epsilon,
            "win_rate": evaluation.win_rate,
            "return": evaluation.return_,
            "episode_length": evaluation.length,
            "density": self._density[place],
            "env_steps_per_second": meter.env_steps_per_second,
            "updates_per_second": meter.updates_per_second,
        }

    def _metrics(
        self, row: Mapping[str, np.ndarray], evaluation: Evaluation | None, compiling: bool
    ) -> Metrics:
        steps = int(np.mean([run.counters.env_steps for run in self.runs]))
        total = self.config.steps
        rate = self.meter.env_steps_per_second
        rate = None if rate is None else rate / len(self.runs)
        means = {name: float(values.mean()) for name, values in row.items()}
        last = [run.last_evaluation for run in self.runs]
        return Metrics(
            env_steps=steps,
            total_env_steps=total,
            episodes=self.counters.episodes,
            updates=self.counters.updates,
            epsilon=float(np.mean([run.epsilon for run in self.runs])),
            loss=means.get("loss"),
            q_tot=means.get("q_tot"),
            target=means.get("target"),
            gradient_norm=means.get("gradient_norm"),
            train_return=means["train_return"],
            train_win_rate=means["train_win_rate"] if self.environment.spec.has_win else None,
            train_length=means["train_length"],
            density=float(np.mean(self._density)),
            env_steps_per_second=rate,
            updates_per_second=self.meter.updates_per_second,
            eta_seconds=None if rate is None else max(0, total - steps) / rate,
            seconds=self.meter.seconds,
            evaluation=evaluation,
            last_evaluation=mean_evaluation([each for each in last if each is not None]),
            compiling=compiling,
        )
