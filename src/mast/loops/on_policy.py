"""On-policy learning: some steps in every environment, an update or more from them, and they are forgotten.

The environments go on from update to update. Several rollouts are one compiled call; a topology evolution
follows the last of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mast.config import Config
from mast.learning.seps import Transitions, together, transitions_of
from mast.learning.trajectory import Trajectory
from mast.loops.clustering import Clustering
from mast.training.breaches import Breach, refuse_breach
from mast.training.counters import Counters
from mast.training.engine import Engine, State
from mast.training.meter import Meter
from mast.training.on_policy import Advanced
from mast.training.rolling import ROLLOUTS_AT_ONCE
from mast.training.rounds import Round
from mast.training.run import Run
from mast.training.streams import Finished
from mast.training.watch import Watch


class OnPolicyLoop:
    """The loop of actor–critic algorithms.

    Args:
        config: of the runs; of them, what all have in common.
        engine: their programs.
        runs: their counters.
        watch: is told of each evolution.
        episode_limit: of the environment; not read.
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
        self._streams: Any = self._make_streams()
        self._clustering = Clustering(config, engine, runs)
        self._transitions: list[list[Transitions]] = [[] for _ in runs]
        self._episodes = 0.0
        self._broken = False

    @property
    def can_save(self) -> bool:
        """Not before the agents are shared out: what the encoder learns from is not part of a checkpoint.

        Nor after a breach of the environment's contract, which the networks have learned from.
        """
        return not self._clustering.pending and not self._broken

    @property
    def is_whole(self) -> bool:
        """Always: the environments are part of a checkpoint."""
        return True

    def round(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """Some rollouts and the updates from each; then the evolution, if it is due."""
        config = self._config
        per_rollout = config.rollout_steps * config.parallel_envs
        count = self._rollouts_now(counters.updates, per_rollout)
        with meter.phase("learn"):
            state, gradient, done = self._advance(state, counters, count)
            done = jax.tree.map(lambda each: each[:count], jax.device_get(done))
            self._refuse_breach(done.breach)
            finished = jax.tree.map(lambda each: each.sum(0), done.finished)
            before = counters.updates // config.evolve_interval
            counters.updates += count * self._updates_each
            counters.rounds += 1
            for run in self._runs:
                run.counters.env_steps += count * per_rollout
                meter.env_steps += count * per_rollout
            if self._evolves and counters.updates // config.evolve_interval > before:
                state, evolution = self._engine.evolve(
                    state,
                    gradient,
                    [run.counters.env_steps for run in self._runs],
                    counters.updates,
                )
                self._watch.evolved(evolution)
            if done.trajectory is not None and self._clustering.pending:
                self._keep(done.trajectory)
            if self._clustering.is_due:
                state = self._clustering.assign(
                    state, lambda place: together(self._transitions[place])
                )
                self._transitions = [[] for _ in self._runs]
        self._episodes += float(np.mean(finished.episodes))
        counters.episodes = int(self._episodes)
        updates = [jax.tree.map(lambda each, i=i: each[i], done.metrics) for i in range(count)]
        return state, Round(_means(finished), updates, self._updates_each)

    def _make_streams(self) -> Any:
        """Where the environments are at first."""
        return self._engine.rolling.begin_streams()

    def _advance(self, state: State, counters: Counters, count: int) -> tuple[State, Any, Advanced]:
        """So many rollouts and the updates from each; the last one's gradient, and what happened."""
        state, self._streams, gradient, done = self._engine.rolling.advance(
            state,
            self._streams,
            counters.updates // self._updates_each,
            [run.counters.env_steps for run in self._runs],
            count,
            keep=self._clustering.pending,
        )
        return state, gradient, done

    def _refuse_breach(self, breach: Breach) -> None:
        """Says the first breach of the environment's contract; what was learned from it is not to be kept."""
        if np.any(breach.kind):
            self._broken = True
        refuse_breach(self._runs[0].spec, breach, [run.standing for run in self._runs])

    def _keep(self, trajectory: Trajectory) -> None:
        """What the encoder of SePS will learn from, of every run."""
        for place, run in enumerate(self._runs):
            own = trajectory
            if len(self._runs) > 1:
                own = jax.tree.map(lambda each, place=place: each[:, place], trajectory)
            flat = jax.tree.map(lambda each: each.reshape(-1, *each.shape[3:]), own)
            self._transitions[place].append(transitions_of(flat, run.spec.actions))

    def learnt(self, state: State) -> State:
        """What it was given."""
        return state

    def record(self) -> dict[str, Any]:
        """Episodes that have ended, a mean over the runs."""
        return {"episodes": self._episodes} | self._clustering.record()

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counter of a checkpoint."""
        self._episodes = record["episodes"]
        self._clustering.restore(record)

    def arrays(self, place: int) -> Any:
        """Where a run's environments are."""
        return self._engine.of_run(self._streams, place)

    def take_up(self, arrays: list[Any]) -> None:
        """The environments go on from a checkpoint."""
        self._streams = self._engine.rolling.taken_up(arrays)

    @property
    def _evolves(self) -> bool:
        return any(run.config.evolves for run in self._runs)

    @property
    def _updates_each(self) -> int:
        """Updates from one rollout."""
        return self._config.epochs * self._config.minibatches

    def _rollouts_now(self, done: int, per_rollout: int) -> int:
        """How many rollouts this round makes: until the next evaluation, evolution or the end at most."""
        config = self._config
        taken = min(run.counters.env_steps for run in self._runs)
        left = min(config.steps - taken, config.eval_interval - taken % config.eval_interval)
        count = min(ROLLOUTS_AT_ONCE, -(-left // per_rollout))
        if self._evolves:
            to_go = config.evolve_interval - done % config.evolve_interval
            count = min(count, -(-to_go // self._updates_each))
        if self._clustering.pending:
            count = min(count, -(-(config.seps_steps - taken) // per_rollout))
        return max(1, count)


def _means(finished: Finished) -> dict[str, np.ndarray]:
    """Means over the episodes that ended, one number per run; NaN where none did."""
    episodes = np.asarray(finished.episodes, np.float64).reshape(-1)
    of = {
        "train_return": finished.return_,
        "train_win_rate": finished.won,
        "train_length": finished.length,
    }
    some = np.where(episodes > 0, episodes, np.nan)
    return {name: np.asarray(sums, np.float64).reshape(-1) / some for name, sums in of.items()}
