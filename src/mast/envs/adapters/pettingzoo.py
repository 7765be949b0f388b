"""PettingZoo: the parallel environments of any installed package; turn by turn ones by its own wrapper."""

from typing import Any

import numpy as np
from jaxtyping import Int
from pettingzoo.utils import aec_to_parallel, turn_based_aec_to_parallel

from mast.envs.adapters.common import identity, kinds_of, limit_of
from mast.envs.adapters.spaces import Observed, availability, discrete
from mast.envs.protocol import AgentSpec, EnvironmentSpec, Outcome, TimeStep
from mast.errors import UserError
from mast.own_code import import_module


class PettingZoo:
    """A parallel environment, all of whose possible agents have a row.

    An agent that has died, or has not come yet, observes zeros, has only its first action, which is not
    played, and gets no reward. The episode ends with the last agent: it is truncated where agents of the last
    step are, and terminated otherwise. The state is the environment's, or all observations in a row.
    """

    def __init__(
        self,
        name: str,
        *,
        reward_scale: float = 1.0,
        episode_limit: int | None = None,
        **arguments: Any,
    ) -> None:
        """Make one.

        Args:
            name: of the module, such as mpe2.simple_spread_v3.
            reward_scale: factor on every agent's reward.
            episode_limit: steps after which the episode is cut; None takes the environment's max_cycles.
            arguments: of its parallel_env.

        Raises:
            UserError: no such module, or it has no parallel environment with discrete actions.
        """
        id = f"pettingzoo/{name}"
        self._env = env = _make(id, name, arguments)
        self._agents: list[Any] = list(env.possible_agents)
        self._observed = [Observed(env.observation_space(agent)) for agent in self._agents]
        names = tuple(str(agent) for agent in self._agents)
        actions = [
            discrete(id, own, env.action_space(agent))
            for own, agent in zip(names, self._agents, strict=True)
        ]
        self._first_action = [first for _, first in actions]
        limit = limit_of(id, episode_limit, env.unwrapped, env)
        team = [
            AgentSpec(own, observed.features, count, kind)
            for own, observed, (count, _), kind in zip(
                names, self._observed, actions, kinds_of(names), strict=True
            )
        ]
        env.reset(seed=0)
        self._has_state = _state(env) is not None
        state = _state(env)
        self._spec = EnvironmentSpec.of_team(
            team,
            id=id,
            state=sum(agent.features for agent in team) if state is None else state.size,
            episode_limit=limit,
            has_win=False,
            is_jax=False,
            identity=identity(id, name, limit, reward_scale, arguments),
            reward_scale=reward_scale,
            rewards="agent",
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    def reset(self, key: int) -> tuple[None, TimeStep]:
        """Start an episode with this seed."""
        observations, infos = self._env.reset(seed=key)
        self._steps = 0
        return None, self._seen(observations, infos)

    def step(
        self, key: int, env_state: None, actions: Int[np.ndarray, " agents"]
    ) -> tuple[None, TimeStep, Outcome]:
        """Let the agents that live act; the chance is the environment's own, seeded by `reset`."""
        rows = zip(self._agents, actions, self._first_action, strict=True)
        joint = {
            agent: int(action) + first for agent, action, first in rows if agent in self._env.agents
        }
        observations, rewards, terminations, truncations, infos = self._env.step(joint)
        self._steps += 1
        over = not self._env.agents
        dead = [agent for agent, died in terminations.items() if died]
        cut = over and any(was and agent not in dead for agent, was in truncations.items())
        late = not over and self._steps >= self._spec.episode_limit
        reward = np.array([rewards.get(agent, 0) for agent in self._agents], np.float32)
        outcome: Any = Outcome
        return (
            None,
            self._seen(observations, infos),
            outcome(
                reward * np.float32(self._spec.reward_scale),
                np.bool_(over and not cut),
                np.bool_(cut or late),
                np.False_,
            ),
        )

    def _seen(self, observations: Any, infos: Any) -> TimeStep:
        rows, available = [], []
        living = self._env.agents or self._agents  # at the end all are asked once more
        for agent, observed, own in zip(self._agents, self._observed, self._spec.team, strict=True):
            if agent in observations:
                value = observations[agent]
                rows.append(observed.row(value))
                mask = observed.mask(value, infos.get(agent, {}))
            else:
                rows.append(np.zeros(own.features, np.float32))
            if agent not in living or agent not in observations:
                mask = np.arange(own.actions) == 0
            available.append(availability(mask, own.actions))
        state = _state(self._env) if self._has_state else None
        new: Any = TimeStep
        return new(rows, available, np.concatenate(rows) if state is None else state)


def _make(id: str, name: str, arguments: dict[str, Any]) -> Any:
    module = import_module(id, name)
    if callable(getattr(module, "parallel_env", None)):
        return module.parallel_env(**arguments)
    if not callable(getattr(module, "env", None)):
        raise UserError(f"{id}: module {name} has neither parallel_env nor env")
    env = module.env(**arguments)
    is_parallel = env.metadata.get("is_parallelizable", False)
    return aec_to_parallel(env) if is_parallel else turn_based_aec_to_parallel(env)


def _state(env: Any) -> np.ndarray | None:
    """The state as numbers in a row; None where the environment has none."""
    try:
        state = np.asarray(env.state(), np.float32).reshape(-1)
    # PettingZoo's base class raises the first; environments without a state raise the others, or give rags.
    except (NotImplementedError, AttributeError, ValueError, TypeError):
        return None
    return state if state.size else None
