"""MPE's simple_spread, from jaxmarl: particles that shall cover the landmarks without colliding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.jaxmarl_silent import ParticleState, SimpleSpreadMPE, version
from mast.envs.names import MPE
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.envs.scene import ALLY, LANDMARK, Scene

DEFAULT_EPISODE_LIMIT = 26
"""Jaxmarl's max_steps is 25, compared before the step is counted: the cut comes at step 26."""


class SimpleSpread:
    """Three particles and three landmarks; the reward is never positive and nothing is ever won.

    Each agent's reward is half the team's (minus the distance of every landmark to its nearest
    agent) and half its own (−1 per agent it touches); the team's reward here is their mean. The
    state is all observations in a row; its positions are about [-1, 1] but have no walls.
    """

    def __init__(
        self,
        scenario: str = "simple_spread",
        *,
        reward_scale: float = MPE.reward_scale,
        episode_limit: int = DEFAULT_EPISODE_LIMIT,
    ) -> None:
        """Make the game.

        Args:
            scenario: there is one.
            reward_scale: Factor on the mean of the agents' rewards.
            episode_limit: The number of steps of every episode, at least 1.
        """
        # max_steps is compared before the step is counted, hence the -1.
        self._game = SimpleSpreadMPE(max_steps=episode_limit - 1)
        agents: int = self._game.num_agents
        first = self._game.agents[0]
        seen: Any = self._game.observation_space(first)
        done: Any = self._game.action_space(first)
        observation: int = seen.shape[0]
        self._spec = EnvironmentSpec(
            id="mpe/simple_spread",
            agents=agents,
            actions=done.n,
            observation=observation,
            state=agents * observation,
            episode_limit=episode_limit,
            has_win=False,
            is_jax=True,
            agent_names=tuple(self._game.agents),
            unit_types=("",) * agents,
            reward_scale=reward_scale,
            identity=MPE.identity(version, episode_limit, reward_scale),
            max_return=0.0,
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature of an observation is, in order; for exports. Positions of others are relative."""
        others = [f"other_{index}" for index in range(self._spec.agents - 1)]
        seen = [f"landmark_{index}" for index in range(self._game.num_landmarks)] + others
        return (
            *(f"self.{what}_{axis}" for what in ("velocity", "position") for axis in "xy"),
            *(f"{name}.position_{axis}" for name in seen for axis in "xy"),
            *(f"{name}.communication_{index}" for name in others for index in range(2)),
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action does, in order."""
        return ("nothing", "left", "right", "down", "up")

    def reset(self, key: PRNGKeyArray) -> tuple[ParticleState, TimeStep]:
        """Start an episode at random places.

        Args:
            key: Random key of the places.

        Returns:
            The state to carry and the first perception.
        """
        observations, game = self._game.reset(key)
        # Strong types, so that reset and step return exactly the same structure.
        game = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), game)
        return game, self._time_step(observations)

    def step(
        self, key: PRNGKeyArray, env_state: ParticleState, actions: Int[Array, " agents"]
    ) -> tuple[ParticleState, TimeStep, Outcome]:
        """Let every particle push for a tenth of a second.

        Args:
            key: Random key, of no consequence in this game without noise.
            env_state: What the last `reset` or `step` returned.
            actions: Per agent: 0 nothing, 1 left, 2 right, 3 down, 4 up.

        Returns:
            The state to carry, the next perception, and the outcome.
        """
        joint = dict(zip(self._game.agents, actions, strict=True))
        observations, game, rewards, dones, _ = self._game.step_env(key, env_state, joint)
        reward = jnp.mean(jnp.stack([rewards[name] for name in self._game.agents]))
        never = jnp.zeros((), bool)
        outcome = Outcome(
            reward=reward * self._spec.reward_scale,
            terminated=never,
            truncated=dones["__all__"],
            won=never,
        )
        return game, self._time_step(observations), outcome

    def scene(self, state: Float[Any, "moments state"], action: Int[Any, "steps agents"]) -> Scene:
        """Particles and landmarks, as far as the farthest of them ever is.

        Args:
            state: all observations in a row, at the start and after every step.
            action: of every step; nobody aims.
        """
        agents, landmarks = self._spec.agents, self._game.num_landmarks
        seen = np.asarray(state, np.float32).reshape(len(state), agents, -1)
        own = seen[..., 2:4]
        # The first agent's view: where the landmarks are from it, after its velocity and place.
        places = own[:, :1] + seen[:, 0, 4 : 4 + 2 * landmarks].reshape(-1, landmarks, 2)
        position = np.concatenate([own, places], axis=1)
        reach = float(max(1.0, np.abs(position).max())) * 1.1
        return Scene(
            x_range=(-reach, reach),
            y_range=(-reach, reach),
            names=(*self._game.agents, *(f"landmark_{index}" for index in range(landmarks))),
            kinds=("",) * agents + ("landmark",) * landmarks,
            side=(ALLY,) * agents + (LANDMARK,) * landmarks,
            radius=tuple(float(radius) for radius in np.asarray(self._game.rad)),
            position=position,
            health=None,
            target=None,
        )

    def _time_step(self, observations: dict[str, Float[Array, " features"]]) -> TimeStep:
        """Jaxmarl's dictionary as arrays; every action is always available."""
        observation = jnp.stack([observations[name] for name in self._game.agents])
        return TimeStep(
            observation=observation,
            available=jnp.ones((self._spec.agents, self._spec.actions), bool),
            state=observation.reshape(-1),
        )
