"""On-policy learning in Python environments, whose state no checkpoint can hold.

At set numbers of environment steps all episodes in flight are dropped and begun anew, in a run that is never
stopped too. Checkpoints are made there, so that a run that goes on from one is the same.
"""

from collections.abc import Mapping
from typing import Any

from mast.loops.on_policy import OnPolicyLoop
from mast.training.counters import Counters
from mast.training.engine import State
from mast.training.host_streams import HostStreams
from mast.training.meter import Meter
from mast.training.on_policy import Advanced
from mast.training.random_keys import BEGIN, run_key
from mast.training.rounds import Round

EPISODES_BETWEEN = 10
"""As many of the longest ones are played in each environment between two beginnings, at least."""


class HostOnPolicyLoop(OnPolicyLoop):
    """One rollout a round; arguments as of `OnPolicyLoop`."""

    _streams: HostStreams
    _begun_at = _beginnings = 0
    _is_begun = False

    @property
    def is_whole(self) -> bool:
        """Only where all episodes begin anew."""
        return not self._is_begun

    @property
    def notices(self) -> list[str]:
        """What to say at the start where checkpoints are rarer than evaluations."""
        config = self._config
        if self._between <= config.eval_interval < config.steps:
            return []
        when = f"every {self._between:,} env steps at the soonest"
        if self._between >= config.steps:
            when = "at the end of the run only, or when it is stopped"
        return [
            f"the episodes of a Python environment cannot be saved: a checkpoint is made {when}, whatever "
            "checkpoint_interval is"
        ]

    def round(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """A rollout and the updates from it; where it is time, the environments begin anew after it."""
        run = self._runs[0]
        if not self._is_begun:
            self._streams.begin(run_key(run.config.seed, BEGIN, self._beginnings))
            self._is_begun = True
        state, done = super().round(state, counters, meter)
        if run.finished or run.counters.env_steps - self._begun_at >= self._between:
            self._begin_anew()
        return state, done

    def learnt(self, state: State) -> State:
        """What it was given."""
        return state

    def record(self) -> dict[str, Any]:
        """As `OnPolicyLoop`, and where the environments last began."""
        return super().record() | {
            "begun_at": self._begun_at,
            "beginnings": self._beginnings,
            "whole": self.is_whole,
        }

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counters of a checkpoint; the environments begin anew."""
        super().restore(record)
        self._begun_at, self._beginnings = record["begun_at"], record["beginnings"]
        if not record["whole"]:
            self._beginnings += 1
        self._is_begun = False

    def arrays(self, place: int) -> Any:
        """None: a Python environment cannot be saved."""
        return ()

    def take_up(self, arrays: list[Any]) -> None:
        """Nothing to take up."""

    def _make_streams(self) -> HostStreams:
        return self._engine.rolling.host_streams()

    def _advance(self, state: State, counters: Counters, count: int) -> tuple[State, Any, Advanced]:
        return self._engine.rolling.advance_on_host(
            state,
            self._streams,
            counters.updates // self._updates_each,
            [run.counters.env_steps for run in self._runs],
        )

    def _rollouts_now(self, done: int, per_rollout: int) -> int:
        return 1

    def _begin_anew(self) -> None:
        self._begun_at = self._runs[0].counters.env_steps
        self._beginnings += 1
        self._is_begun = False

    @property
    def _between(self) -> int:
        """Environment steps between two beginnings."""
        config, limit = self._config, self._runs[0].spec.episode_limit
        return max(config.eval_interval, EPISODES_BETWEEN * limit * config.parallel_envs)
