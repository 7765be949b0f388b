"""The host side of one run: its replay ring, its counters, and its files."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.diagnosis.log import forget_diagnostics_after
from mast.diagnosis.snapshots import forget_snapshots_after
from mast.envs.contract import check_episode
from mast.envs.protocol import EnvironmentSpec
from mast.errors import EnvironmentFailure, SelfCheckError, StorageError, UserError
from mast.files import set_aside
from mast.learning.replay import Batch, Episode, Ring
from mast.learning.stored import RingReader, StoredBatch
from mast.networks.normaliser import Scale
from mast.policy import save_policy
from mast.training.checkpoint import FOLDER_NAME, CheckpointStore, Restored
from mast.training.counters import RunCounters
from mast.training.evaluation import Evaluation
from mast.training.logging import FILE_NAME as METRICS
from mast.training.logging import MetricsWriter
from mast.training.statistics import score


class Run:
    """One run's ring, counters and folder.

    Args:
        config: its settings.
        spec: of its environment.
        out: its folder; None to write nothing.
    """

    def __init__(self, config: Config, spec: EnvironmentSpec, out: Path | None) -> None:
        self.config = config
        self.spec = spec
        self.out = out
        self.counters = RunCounters()
        self._folder: os.stat_result | None = None
        keeps_greedy = config.replay_window == "dynamic"
        # Without replay the ring is one slot that stays empty, and takes no memory.
        replays = algorithm_entry(config.algorithm).loop == "replay"
        capacity = config.buffer_episodes if replays else 1
        self.ring = Ring(spec, capacity, config.replay_dtype, keeps_greedy)
        self._reader: RingReader | None = None
        self.writer: MetricsWriter | None = None
        self.store: CheckpointStore | None = None
        if out is not None:
            self.store = CheckpointStore(out)

    @property
    def finished(self) -> bool:
        """Whether it has taken all its environment steps."""
        return self.counters.env_steps >= self.config.steps

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return self.store is not None and self.store.peek() is not None

    @property
    def epsilon(self) -> float:
        """ε of the next round: linear over `epsilon_steps`, then constant."""
        config = self.config
        progress = min(1.0, self.counters.env_steps / config.epsilon_steps)
        return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

    @property
    def last_evaluation(self) -> Evaluation | None:
        """The newest evaluation."""
        last = self.counters.last_evaluation
        return None if last is None else Evaluation(**last)

    @property
    def score(self) -> float | None:
        """Mean win rate of the last 20 evaluations; None before the first or where nothing is won."""
        return score(self.counters.win_rates)

    def add(self, episodes: Sequence[Episode]) -> None:
        """Store finished episodes and count their steps.

        Raises:
            EnvironmentFailure: an agent without an action, or no proper end; no episode is stored.
            SelfCheckError: a number is NaN.
            UserError: a number is infinite as it is stored.
        """
        for episode in episodes:
            self._check(episode)
        for episode in episodes:
            try:
                self.ring.add(episode)
            except (SelfCheckError, UserError) as error:
                where = f"{self.spec.id}: {error} ({self.standing})"
                raise type(error)(f"{where}; {self.kept}") from None
            self.counters.env_steps += len(episode.reward)

    def _check(self, episode: Episode) -> None:
        truncated = not episode.terminated if episode.truncated is None else episode.truncated
        try:
            check_episode(episode.available, episode.terminated, truncated, episode.won)
        except EnvironmentFailure as error:
            raise EnvironmentFailure(f"{self.spec.id}: {error} ({self.standing})") from None

    @property
    def standing(self) -> str:
        """Which run this is and how far, for messages."""
        return f"seed {self.config.seed}, env step {self.counters.env_steps:,}"

    @property
    def kept(self) -> str:
        """What is left of the run should it end here, for messages."""
        newest = None if self.store is None else self.store.newest
        if newest is None:
            return "there is no checkpoint yet"
        steps = newest["run"]["env_steps"]
        return f"the last good checkpoint, of env step {steps:,}, is kept in {self.out}"

    def check_folder(self) -> None:
        """Make sure that the folder is still the one that the first call found.

        Raises:
            StorageError: it was deleted or renamed.
        """
        if self.out is None:
            return
        try:
            found = os.stat(self.out)
        except OSError as error:
            raise StorageError(
                f"{self.out} was deleted or renamed while training ({error.strerror})"
            ) from None
        self._folder = self._folder or found
        if not os.path.samestat(self._folder, found):
            raise StorageError(f"{self.out} was replaced by another folder while training")

    def draw(self, update: int) -> np.ndarray:
        """The slots of the batch of one update."""
        config = self.config
        return self.ring.sample_indices(
            config.batch_size,
            config.online_batch,
            config.online_episodes,
            seed=config.seed,
            update=update,
        )

    def gather(self, slots: np.ndarray, length: int) -> Batch:
        """The batch in these slots, padded to `length` steps."""
        return self.ring.gather(slots, length)

    def stored(self, slots: np.ndarray, length: int) -> StoredBatch:
        """The same where it lies in the ring; `Ring.read_by` must be told of what is made of it."""
        if self._reader is None:
            self._reader = RingReader(self.ring)
        return self._reader.batch(slots, length)

    def note_evaluation(self, evaluation: Evaluation) -> bool:
        """Count an evaluation; whether it is the best so far (by win rate, then return).

        Raises:
            SelfCheckError: its return is not finite.
        """
        if not np.isfinite(evaluation.return_):
            raise SelfCheckError(
                f"the environment's reward adds up to {evaluation.return_} in an evaluation "
                f"({self.standing}); {self.kept}"
            )
        self.counters.last_evaluation = asdict(evaluation)
        if evaluation.win_rate is not None:
            self.counters.win_rates.append(evaluation.win_rate)
        drawn = evaluation.sampled_return is not None
        won = evaluation.sampled_win_rate if drawn else evaluation.win_rate
        earned = evaluation.sampled_return if drawn else evaluation.return_
        worth = [won or 0.0, earned or 0.0]
        better = self.counters.best is None or worth > self.counters.best
        if better:
            self.counters.best = worth
        return better

    def write_row(self, row: dict[str, Any]) -> None:
        """Append to metrics.csv; nothing where the run has no folder."""
        if self.out is None:
            return
        if self.writer is None:
            self.writer = MetricsWriter(self.out, algorithm_entry(self.config.algorithm).columns)
        self.writer.write(row)

    def forget_metrics_after(self, env_steps: int) -> list[str]:
        """Cut metrics.csv, diagnostics.jsonl and the mask snapshots back to a checkpoint; what was odd."""
        assert self.out is not None
        self.writer = MetricsWriter(self.out, algorithm_entry(self.config.algorithm).columns)
        self.writer.truncate_to(env_steps)
        odd = forget_diagnostics_after(self.out, env_steps)
        forget_snapshots_after(self.out, env_steps)
        return odd

    def start_again(self) -> list[str]:
        """Forget checkpoints, episodes and metrics: the run begins anew; what was odd."""
        assert self.out is not None
        if (self.out / METRICS).exists():
            set_aside(self.out / METRICS)
        if (self.out / FOLDER_NAME).exists():
            shutil.rmtree(self.out / FOLDER_NAME)
        self.store = CheckpointStore(self.out)
        self.ring.clear()
        return self.forget_metrics_after(0)

    def numerical_failure(self, what: str) -> SelfCheckError:
        """The error for numbers that cannot be right: where, what is kept, what to look at."""
        return SelfCheckError(
            f"{what} ({self.standing}); {self.kept}: look at "
            "q_tot and gradient_norm in metrics.csv, then lower learning_rate or gradient_clip"
        )

    def save_policy(self, name: str, state: Any, scale: Scale | None = None) -> None:
        """Write the acting network as `name` into the run's folder, and how it reads observations.

        Raises:
            SelfCheckError: a parameter is not finite.
        """
        if self.out is None:
            return
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
            raise self.numerical_failure(f"a parameter is not finite, {name} was not saved")
        about = {
            "algorithm": self.config.algorithm,
            "method": self.config.method,
            "sparsity": self.config.sparsity,
            "seed": self.config.seed,
            "env_steps": self.counters.env_steps,
            "state_last_action": self.config.state_last_action,
            "episode_limit": self.spec.episode_limit,
        }
        agent, masks = state.params.agent, state.optimizer.masks
        save_policy(self.out / name, agent, masks, self.spec, about, scale)

    def close(self) -> None:
        """Close the files."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def restore_together(runs: Sequence[Run], templates: Sequence[Any]) -> list[Restored] | None:
    """Each run's newest checkpoint; of several runs, the newest round that all of them have.

    Args:
        runs: of one program; their rings are filled.
        templates: each run's state, whose arrays are replaced.

    Returns:
        One checkpoint per run, all of the same round; None if there is none yet.

    Raises:
        UserError: every checkpoint of a run is damaged, or the runs have no round in common.
    """
    manifests = [run.store.count() for run in runs if run.store is not None]
    # One program saves its runs one after the other, so a kill can come in the middle of the first save.
    if max(manifests) == 0 or (min(manifests) == 0 and max(manifests) == 1):
        return None
    at_most: int | None = None
    while True:
        found = []
        for run, template in zip(runs, templates, strict=True):
            assert run.store is not None
            restored = run.store.restore(template, run.ring, at_most=at_most)
            if restored is None:
                raise UserError(f"{run.out} has no checkpoint of a round that all its runs have")
            found.append(restored)
        steps = [each.step for each in found]
        if min(steps) == max(steps):
            return found
        at_most = min(steps)
