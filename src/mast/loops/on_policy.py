"""On-policy learning: a few steps in every environment, one update from them, and they are forgotten.

The environments go on from update to update. Several updates are one compiled call; a topology evolution
follows the last of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mast.config import Config
from mast.training.counters import Counters
from mast.training.engine import Engine, State
from mast.training.meter import Meter
from mast.training.rounds import Round
from mast.training.run import Run
from mast.training.streams import Finished
from mast.training.watch import Watch

UPDATES_PER_ROUND = 25
"""At most: enough that a call's overhead does not count, few enough that progress is seen."""


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
        self._streams = engine.begin_streams()
        self._episodes = 0.0

    def round(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """Some updates, each from steps just taken; then the evolution, if it is due."""
        config = self._config
        per_update = config.rollout_steps * config.parallel_envs
        count = self._updates_now(counters.updates, per_update)
        with meter.phase("learn"):
            state, self._streams, gradient, (metrics, finished) = self._engine.advance(
                state,
                self._streams,
                counters.updates,
                [run.counters.env_steps for run in self._runs],
                count,
            )
            metrics, finished = jax.device_get((metrics, finished))
            counters.updates += count
            counters.rounds += 1
            for run in self._runs:
                run.counters.env_steps += count * per_update
                meter.env_steps += count * per_update
            if self._evolves and counters.updates % config.evolve_interval == 0:
                state, evolution = self._engine.evolve(
                    state,
                    gradient,
                    [run.counters.env_steps for run in self._runs],
                    counters.updates,
                )
                self._watch.evolved(evolution)
        self._episodes += float(np.mean(finished.episodes))
        counters.episodes = int(self._episodes)
        updates = [jax.tree.map(lambda each, i=i: each[i], metrics) for i in range(count)]
        return state, Round(_means(finished), updates)

    def record(self) -> dict[str, Any]:
        """Episodes that have ended, a mean over the runs."""
        return {"episodes": self._episodes}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counter of a checkpoint."""
        self._episodes = record["episodes"]

    def arrays(self, place: int) -> Any:
        """Where a run's environments are."""
        return self._engine.of_run(self._streams, place)

    def take_up(self, arrays: list[Any]) -> None:
        """The environments go on from a checkpoint."""
        self._streams = self._engine.stacked(arrays)

    @property
    def _evolves(self) -> bool:
        return any(run.config.evolves for run in self._runs)

    def _updates_now(self, done: int, per_update: int) -> int:
        """How many updates this round makes: until the next evolution or the end at most."""
        config = self._config
        left = config.steps - min(run.counters.env_steps for run in self._runs)
        count = min(UPDATES_PER_ROUND, -(-left // per_update))
        if self._evolves:
            count = min(count, config.evolve_interval - done % config.evolve_interval)
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
