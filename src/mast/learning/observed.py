"""What has been observed of an environment: the running statistics by which networks read it normalised."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Int

from mast.envs.padding import real_features
from mast.envs.protocol import EnvironmentSpec, TimeStep
from mast.learning.trajectory import Trajectory
from mast.networks.normaliser import Running, Scale


class Observed(NamedTuple):
    """Statistics of each feature of an observation, of all agents that have it, and of the state."""

    observation: Running
    state: Running

    @property
    def scales(self) -> tuple[Scale, Scale]:
        """Of the observation and of the state."""
        return self.observation.scale(), self.state.scale()

    def seen(self, seen: TimeStep) -> TimeStep:
        """A perception as networks read it."""
        observation, state = self.scales
        new: Any = TimeStep
        return new(observation(seen.observation), seen.available, state(seen.state))

    def read(self, trajectory: Trajectory) -> Trajectory:
        """A trajectory as networks read it."""
        observation, state = self.scales
        return trajectory._replace(
            observation=observation(trajectory.observation),
            next_observation=observation(trajectory.next_observation),
            state=state(trajectory.state),
            next_state=state(trajectory.next_state),
        )

    def after(self, spec: EnvironmentSpec, trajectory: Trajectory) -> "Observed":
        """With what a trajectory showed. Padding does not count."""
        rows, states = trajectory.observation, trajectory.state
        return Observed(
            self.observation.including(rows, jnp.broadcast_to(real_features(spec), rows.shape)),
            self.state.including(states, jnp.ones(states.shape, bool)),
        )

    def after_episodes(
        self,
        spec: EnvironmentSpec,
        observation: Float[Any, "moments episodes agents features"],
        state: Float[Any, "moments episodes state"],
        lengths: Int[Any, " episodes"],
    ) -> "Observed":
        """With what whole episodes showed. Padding does not count, nor what lies beyond an end.

        Args:
            spec: of the environment.
            observation, state: of each moment.
            lengths: steps of each episode, which has a moment more.
        """
        there = jnp.arange(len(state))[:, None] <= lengths
        own = there[..., None, None] & real_features(spec)
        return Observed(
            self.observation.including(observation, own),
            self.state.including(state, jnp.broadcast_to(there[..., None], state.shape)),
        )


def nothing_observed(spec: EnvironmentSpec) -> Observed:
    """The statistics before anything was seen."""
    return Observed(Running.begin(spec.observation), Running.begin(spec.state))
