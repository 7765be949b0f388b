"""Gymnasium: environments whose spaces are tuples with one entry per agent, as EPyMARL takes them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Int

from mast.envs.adapters.common import identity, limit_of
from mast.envs.adapters.spaces import Observed, availability, discrete
from mast.envs.protocol import AgentSpec, EnvironmentSpec, Outcome, TimeStep
from mast.own_code import import_module


class Gymnasium:
    """A team's environment; one whose spaces are no tuples is a team of one.

    Rewards are the agents' own where the environment gives a list of them. Where it says which actions are
    available (in `info["action_mask"]`, or by a method get_avail_actions), that is asked; the state is
    what its get_state returns, or all observations in a row. `info["battle_won"]` or "won" is a win.
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
            name: as gymnasium.make takes it, such as lbforaging:Foraging-8x8-2p-3f-v3.
            reward_scale: factor on the reward.
            episode_limit: steps after which the episode is cut; None takes the environment's own.
            arguments: of gymnasium.make.

        Raises:
            UserError: an agent's actions are not discrete, or nothing says how long an episode is.
        """
        id = f"gymnasium/{name}"
        module, colon, _ = name.partition(":")
        if colon:
            import_module(id, module)
        env: Any = gymnasium.make(name, disable_env_checker=True, **arguments)
        self._env = env
        self._is_team = isinstance(env.action_space, spaces.Tuple)
        observed = env.observation_space if self._is_team else (env.observation_space,)
        acting = env.action_space if self._is_team else (env.action_space,)
        self._observed = [Observed(space) for space in observed]
        names = [f"agent_{index}" for index in range(len(self._observed))]
        actions = [discrete(id, own, space) for own, space in zip(names, acting, strict=True)]
        self._first_action = np.array([first for _, first in actions])
        limit = limit_of(id, episode_limit, env.spec, env.unwrapped)
        team = [
            AgentSpec(own, observed.features, count)
            for own, observed, (count, _) in zip(names, self._observed, actions, strict=True)
        ]
        self._team = team
        seen, info = env.reset(seed=0)
        state = self._seen(seen, info).state
        first = [int(np.flatnonzero(row)[0]) for row in self._available(seen, info)]
        _, reward, _, _, info = env.step(self._joint(np.array(first)))
        self._spec = EnvironmentSpec.of_team(
            team,
            id=id,
            state=state.size,
            episode_limit=limit,
            has_win=_won(info) is not None,
            is_jax=False,
            identity=identity(id, module if colon else "gymnasium", limit, reward_scale, arguments),
            reward_scale=reward_scale,
            rewards="agent" if np.ndim(reward) else "team",
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    def reset(self, key: int) -> tuple[None, TimeStep]:
        """Start an episode with this seed."""
        seen, info = self._env.reset(seed=key)
        self._steps = 0
        return None, self._seen(seen, info)

    def step(
        self, key: int, env_state: None, actions: Int[np.ndarray, " agents"]
    ) -> tuple[None, TimeStep, Outcome]:
        """Let the agents act; the chance is the environment's own, seeded by `reset`."""
        seen, reward, terminated, truncated, info = self._env.step(self._joint(actions))
        self._steps += 1
        ended = bool(np.all(terminated))
        cut = not ended and (bool(np.all(truncated)) or self._steps >= self._spec.episode_limit)
        new: Any = Outcome
        outcome = new(
            np.asarray(reward, np.float32) * np.float32(self._spec.reward_scale),
            np.bool_(ended),
            np.bool_(cut),
            np.bool_(ended and _won(info)),
        )
        return None, self._seen(seen, info), outcome

    def _joint(self, actions: Int[np.ndarray, " agents"]) -> Any:
        numbers = tuple(int(action) for action in actions + self._first_action)
        return numbers if self._is_team else numbers[0]

    def _available(self, seen: Any, info: Any) -> list[np.ndarray]:
        whole = Observed.mask(None, info)
        if whole is None and hasattr(self._env.unwrapped, "get_avail_actions"):
            whole = self._env.unwrapped.get_avail_actions()
        rows = seen if self._is_team else (seen,)
        if whole is not None and not self._is_team:
            whole = (whole,)
        masks = [Observed.mask(row, None) for row in rows] if whole is None else whole
        return [
            availability(mask, own.actions) for mask, own in zip(masks, self._team, strict=True)
        ]

    def _seen(self, seen: Any, info: Any) -> TimeStep:
        values = seen if self._is_team else (seen,)
        rows = [observed.row(value) for observed, value in zip(self._observed, values, strict=True)]
        if hasattr(self._env.unwrapped, "get_state"):
            state = np.asarray(self._env.unwrapped.get_state(), np.float32).reshape(-1)
        else:
            state = np.concatenate(rows)
        new: Any = TimeStep
        return new(rows, self._available(seen, info), state)


def _won(info: Any) -> bool | None:
    """Whether the team has won; None where the environment knows no win."""
    for name in ("battle_won", "won"):
        if isinstance(info, dict) and name in info:
            return bool(info[name])
    return None
