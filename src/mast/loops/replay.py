"""Replay: whole episodes into a ring, batches of it to learn from, and a target network that follows.

One round plays `parallel_envs` episodes in every run and then makes `updates_per_episode` updates for each of
them; targets are copied every `target_interval` episodes (PyMARL's episode runner).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from mast.config import Config
from mast.execution.learner import UpdateMetrics
from mast.learning.replay import Batch, bucket, length_buckets
from mast.learning.seps import Transitions, transitions_of_ring
from mast.loops.clustering import Clustering
from mast.training.counters import Counters
from mast.training.device_ring import device_rings
from mast.training.engine import Engine, State
from mast.training.meter import Meter
from mast.training.rollout import Recording, Totals, episodes
from mast.training.rounds import Round, means_of_episodes
from mast.training.run import Run
from mast.training.watch import Watch
from mast.training.window import DynamicWindow


class ReplayLoop:
    """The loop of value decomposition.

    Args:
        config: of the runs; of them, what all have in common.
        engine: their programs.
        runs: their rings and counters.
        watch: is told of each evolution.
        episode_limit: of the environment.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        runs: Sequence[Run],
        watch: Watch,
        episode_limit: int,
    ) -> None:
        self._config = config
        self._engine = engine
        self._runs = runs
        self._watch = watch
        self._buckets = length_buckets(episode_limit)
        self._window = DynamicWindow(config, self._buckets)
        self._clustering = Clustering(config, engine, runs)
        rings = [run.ring for run in runs]
        self._on_device = None if engine.reads_ring else device_rings(rings, engine.vmapped)
        self._update_credit = 0.0
        self._target_copied_at = 0
        self._learnt: State | None = None
        # Where playing failed beside it, a round's learning is done, and is not done again after a resume.
        self._learnt_ahead = False

    def round(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """One round of episodes in every run, then the updates that they pay for.

        With `pipeline` first, and meanwhile, the updates that the rounds before pay for: what is played is
        then one round of updates older. Nothing is in flight between two rounds.
        """
        if self._config.pipeline:
            return self._pipelined(state, counters, meter)
        with meter.phase("collect"):
            played = self._engine.record(state, *self._wanted(counters))
            totals = self._store(played, state, counters, meter)
        if self._clustering.is_due:
            state = self._clustering.assign(state, self._transitions)
        state, updates = self._learn(state, counters, meter)
        return state, Round(means_of_episodes(totals, len(self._runs)), updates)

    def _pipelined(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """A round that plays in another thread while this one learns."""
        updates: list[UpdateMetrics] = []
        with ThreadPoolExecutor(1, "playing") as beside:
            playing = beside.submit(self._engine.record_beside(state, *self._wanted(counters)))
            if not self._learnt_ahead:
                state, updates = self._learn(state, counters, meter)
        self._learnt, self._learnt_ahead = state, True
        with meter.phase("collect"):
            totals = self._store(playing.result(), state, counters, meter)
        self._learnt_ahead = False
        if self._clustering.is_due:
            state = self._clustering.assign(state, self._transitions)
        return state, Round(means_of_episodes(totals, len(self._runs)), updates)

    def _wanted(self, counters: Counters) -> tuple[int, list[float], int]:
        """The number of the round, each run's ε, and how many episodes."""
        return counters.rounds, [run.epsilon for run in self._runs], self._config.parallel_envs

    def _store(
        self,
        played: tuple[Totals, Recording],
        state: State,
        counters: Counters,
        meter: Meter,
    ) -> Totals:
        """A round's episodes into the rings; what they came to."""
        engine, (totals, recording) = self._engine, played
        for place, run in enumerate(self._runs):
            before = run.counters.env_steps
            of_run = engine.of_run(totals, place)
            run.add(episodes(of_run, engine.recording_of_run(recording, place)))
            meter.env_steps += run.counters.env_steps - before
            if run.ring.keeps_greedy and self._window.is_due(before, run.counters.env_steps):
                self._window.look(run.ring, engine.team(state, place).params.agent)
        engine.observing.accept()
        counters.rounds += 1
        counters.episodes += self._config.parallel_envs
        return jax.tree.map(np.asarray, totals)

    def _learn(
        self, state: State, counters: Counters, meter: Meter
    ) -> tuple[State, list[UpdateMetrics]]:
        """The updates that are due for the episodes just collected, and the target copies among them."""
        config, collected = self._config, self._config.parallel_envs
        if any(
            len(run.ring) < config.batch_size or run.counters.env_steps < config.warmup_env_steps
            for run in self._runs
        ):
            return state, []
        self._update_credit += config.updates_per_episode * collected
        due = int(self._update_credit)
        self._update_credit -= due
        evolves = any(run.config.evolves for run in self._runs)
        done = []
        with meter.phase("sample"):
            drawn = self._batches(range(counters.updates + 1, counters.updates + 1 + due))
        for index in range(due):
            counters.updates += 1
            with meter.phase("sample"):
                batches = next(drawn)
            with meter.phase("learn"):
                state, metrics, evolution = self._engine.update(
                    state,
                    batches,
                    [run.counters.env_steps for run in self._runs],
                    counters.updates,
                    evolves and counters.updates % config.evolve_interval == 0,
                )
                done.append(metrics)
                if self._engine.reads_ring:
                    # The last that an update makes: it is there once nothing more is read.
                    for run in self._runs:
                        run.ring.read_by(metrics.gradient_norm)
                self._watch.evolved(evolution)
                episode = counters.episodes - collected + round((index + 1) / due * collected)
                if episode - self._target_copied_at >= config.target_interval:
                    state = self._engine.copy_target(state)
                    self._target_copied_at = episode
        with meter.phase("learn"):
            return state, jax.device_get(done)

    def learnt(self, state: State) -> State:
        """What it was given; beside a playing that failed, what was learnt."""
        return state if self._learnt is None else self._learnt

    def record(self) -> dict[str, Any]:
        """Updates that are due but not whole yet, and the episode of the last target copy."""
        return {
            "update_credit": self._update_credit,
            "target_copied_at": self._target_copied_at,
            **({"learnt_ahead": True} if self._learnt_ahead else {}),
        } | self._clustering.record()

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counters of a checkpoint."""
        self._update_credit = record["update_credit"]
        self._target_copied_at = record["target_copied_at"]
        self._learnt_ahead = record.get("learnt_ahead", False)
        self._clustering.restore(record)

    @property
    def can_save(self) -> bool:
        """Always: whatever is learned from is in the ring."""
        return True

    @property
    def is_whole(self) -> bool:
        """Always: rounds are whole episodes."""
        return True

    def _transitions(self, place: int) -> Transitions:
        """What the agents of one run saw, did and got, as far as its ring holds it."""
        return transitions_of_ring(self._runs[place].ring)

    def arrays(self, place: int) -> Any:
        """None: episodes are the ring's."""
        return ()

    def take_up(self, arrays: list[Any]) -> None:
        """Nothing to take up."""

    def _batches(self, updates: range) -> Iterator[list[Any] | Batch]:
        """For each update a batch of every run, all padded to one length, copied only where need be."""
        # All are drawn at once, while the code is in the cache; copies are large, so one at a time.
        drawn = [self._drawn(update) for update in updates]
        if self._on_device is not None:
            self._on_device.follow()
            return (self._on_device.batch(*each) for each in drawn)
        if self._engine.reads_ring:
            return iter([self._taken(Run.stored, *each) for each in drawn])
        return (self._taken(Run.gather, *each) for each in drawn)

    def _drawn(self, update: int) -> tuple[list[np.ndarray], int]:
        """Each run's slots, and the length of all batches."""
        slots = [run.draw(update) for run in self._runs]
        longest = max(run.ring.longest(s) for run, s in zip(self._runs, slots, strict=True))
        return slots, bucket(longest, self._buckets)

    def _taken(
        self, take: Callable[[Run, np.ndarray, int], Any], slots: list[np.ndarray], length: int
    ) -> list[Any]:
        return [take(run, each, length) for run, each in zip(self._runs, slots, strict=True)]
