"""What all runs of a program have observed, by which their networks read observations normalised."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from mast.envs.protocol import EnvironmentSpec
from mast.learning.observed import Observed, nothing_observed
from mast.networks.normaliser import NormalisedAgent, Running, Scale
from mast.training.breaches import refuse_episode
from mast.training.rollout import Recording, Totals, episodes
from mast.training.run_axis import RunAxis, Timed


class Observing:
    """The running statistics of every run; nothing where observations are read as they come.

    Args:
        axis: of the runs.
        timed: of their programs.
        spec: of the environment.
    """

    def __init__(self, axis: RunAxis, timed: Timed, spec: EnvironmentSpec) -> None:
        self._axis, self._timed, self._spec = axis, timed, spec
        config = axis.configs[0]
        self.statistics: Observed | None = None
        """With a run axis where there is one; None where nothing is normalised."""
        self._pending: Observed | None = None
        self._has_begun = not config.normalise_observations
        if config.normalise_observations:
            self.statistics = axis.stacked([nothing_observed(spec) for _ in axis.configs])
            read = partial(_read_episodes, spec, config.replay_dtype)
            self._read = jax.jit(axis.mapped(read, in_axes=(0, 1, 1, 0), out_axes=(1, 1, 0)))

    def acting(self, agent: Any) -> Any:
        """An agent as rollouts take it: given observations as they come."""
        if self.statistics is None:
            return agent
        scale = self._axis.mapped(Running.scale)(self.statistics.observation)
        return NormalisedAgent(agent, scale)

    def as_read(self, totals: Totals, recording: Recording) -> tuple[Recording, Observed | None]:
        """Recorded episodes as networks read them, and the statistics with them."""
        if self.statistics is None:
            return recording, None
        observation, state, after = self._timed("read", self._read)(
            self.statistics, recording.observation, recording.state, totals.length
        )
        return recording._replace(observation=observation, state=state), after

    def read(self, totals: Totals, recording: Recording) -> Recording:
        """Recorded episodes as networks read them; they count once `accept` says so."""
        recording, self._pending = self.as_read(totals, recording)
        return recording

    def accept(self) -> None:
        """The episodes of the last `read` are kept: they count."""
        if self._pending is not None:
            self.statistics, self._pending = self._pending, None

    def begin(self, play: Callable[[], tuple[Totals, Recording]]) -> None:
        """Before anything else: episodes that only the statistics see, so that no update reads what is raw.

        Args:
            play: random episodes; not called where something is known already, or nothing is to be.

        Raises:
            EnvironmentFailure: a breach of the environment's contract in them.
            EnvironmentNaN: a number is NaN.
        """
        if self._has_begun:
            return
        if not np.any(np.asarray(jax.tree.leaves(self.statistics)[0])):
            totals, recording = play()
            for place, config in enumerate(self._axis.configs):
                own = episodes(
                    self._axis.of_run(totals, place), self._axis.of_steps(recording, place)
                )
                for each in own:
                    refuse_episode(self._spec, each, f"seed {config.seed}, before env step 1")
            self.read(totals, recording)
            self.accept()
        self._has_begun = True

    def of_run(self, run: int) -> Observed | None:
        """What one run has observed; None where nothing is normalised."""
        return None if self.statistics is None else self._axis.of_run(self.statistics, run)

    def scale(self, run: int) -> Scale | None:
        """How one run's agents read observations; None where nothing is normalised."""
        observed = self.of_run(run)
        return None if observed is None else observed.scales[0]

    def take_up(self, observed: Sequence[Observed | None]) -> None:
        """Go on from what each run had observed."""
        known = [each for each in observed if each is not None]
        if known:
            self.statistics = self._axis.stacked(known)


def _read_episodes(
    spec: EnvironmentSpec,
    dtype: str,
    observed: Observed,
    observation: Any,
    state: Any,
    lengths: Any,
) -> tuple[Array, Array, Observed]:
    """Whole episodes as networks read them, in the ring's type, and the statistics with them."""
    of_observation, of_state = observed.scales
    after = observed.after_episodes(spec, observation, state, lengths)
    return of_observation(observation).astype(dtype), of_state(state).astype(dtype), after
