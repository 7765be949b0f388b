"""One reward for the team out of one for each agent, for algorithms that learn from the team's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mast.envs.names import with_team_reward
from mast.envs.protocol import Environment, EnvironmentSpec, EnvState, Outcome, TimeStep

HOW: dict[str, Callable[[Any], Any]] = {"sum": jnp.sum, "mean": jnp.mean}
HOW_ON_HOST: dict[str, Callable[[Any], Any]] = {"sum": np.sum, "mean": np.mean}


class TeamReward:
    """An environment whose agents' rewards are added up or averaged; all else is that environment's.

    Args:
        environment: with individual rewards.
        how: "sum" or "mean".
    """

    def __init__(self, environment: Environment, how: Literal["sum", "mean"]) -> None:
        self._environment = environment
        spec = environment.spec
        self._combine = (HOW if spec.is_jax else HOW_ON_HOST)[how]
        most = spec.max_return
        self._spec = replace(
            spec,
            rewards="team",
            max_return=most / spec.agents if how == "mean" and most is not None else most,
            identity=with_team_reward(spec.identity, how),
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """As the environment's, with one reward."""
        return self._spec

    def reset(self, key: Any) -> tuple[EnvState, TimeStep]:
        """As the environment's."""
        return self._environment.reset(key)

    def step(
        self, key: Any, env_state: EnvState, actions: Int[Array, " agents"]
    ) -> tuple[EnvState, TimeStep, Outcome]:
        """As the environment's, with one reward."""
        state, seen, outcome = self._environment.step(key, env_state, actions)
        return state, seen, outcome._replace(reward=self._combine(outcome.reward))

    def __getattr__(self, name: str) -> Any:
        """Names of features and actions, and the scene, where the environment has them."""
        return getattr(self._environment, name)
