"""PyMARL's MultiAgentEnv, as SMAC, SMACv2 and SMAClite are: get_obs, get_state, get_avail_actions, step."""

import inspect
from typing import Any

import numpy as np
from jaxtyping import Int

from mast.envs.adapters.common import identity
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.own_code import import_own

METHODS = ("get_env_info", "reset", "get_obs", "get_state", "get_avail_actions", "step")
"""What such a class must have."""


class PyMarl:
    """One of PyMARL's environments, with one reward for the team.

    An end with `info["episode_limit"]` is a cut, `info["battle_won"]` a win; an episode that goes on at its
    limit is cut too, and one whose game was lost: SMAC then gives `0, True, {}`. Seeds reach it by
    `reset(seed=…)` or `seed(…)` where it has one of them; else its chance is its own, and `mast resume` is
    not exact.
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
            name: package.module:Class.
            reward_scale: factor on the reward.
            episode_limit: steps after which the episode is cut; None takes that of get_env_info.
            arguments: of the class.

        Raises:
            UserError: no such class, or it lacks one of PyMARL's methods.
        """
        id = f"pymarl/{name}"
        kind = import_own(id.removeprefix("pymarl/"), "class", _is_pymarl)
        self._env = kind(**arguments)
        self._seeded = _takes_seed(self._env.reset)
        self._can_be_won = False
        self._reset(0)
        info = self._env.get_env_info()
        limit = int(info["episode_limit"]) if episode_limit is None else episode_limit
        agents = int(info["n_agents"])
        first = [int(np.flatnonzero(row)[0]) for row in np.asarray(self._env.get_avail_actions())]
        has_win = self._can_be_won = "battle_won" in self._played(first)[3]
        self._spec = EnvironmentSpec(
            id=id,
            agents=agents,
            actions=int(info["n_actions"]),
            observation=int(np.asarray(self._env.get_obs()[0]).size),
            state=int(np.asarray(self._env.get_state()).size),
            episode_limit=limit,
            has_win=has_win,
            is_jax=False,
            agent_names=tuple(f"agent_{index}" for index in range(agents)),
            unit_types=("",) * agents,
            reward_scale=reward_scale,
            identity=identity(id, name.split(":")[0], limit, reward_scale, arguments),
            max_return=None,
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    def reset(self, key: int) -> tuple[None, TimeStep]:
        """Start an episode, with this seed where the environment takes one."""
        self._reset(key)
        self._steps = 0
        return None, self._seen()

    def step(
        self, key: int, env_state: None, actions: Int[np.ndarray, " agents"]
    ) -> tuple[None, TimeStep, Outcome]:
        """Let the agents act."""
        reward, over, cut, info = self._played([int(action) for action in actions])
        self._steps += 1
        late = not over and self._steps >= self._spec.episode_limit
        ended = over and not cut
        new: Any = Outcome
        outcome = new(
            np.float32(reward * self._spec.reward_scale),
            np.bool_(ended),
            np.bool_(cut or late),
            np.bool_(ended and bool(info.get("battle_won", False))),
        )
        return None, self._seen(), outcome

    def _reset(self, seed: int) -> None:
        if self._seeded:
            self._env.reset(seed=seed)
            return
        if _takes_seed(getattr(self._env, "seed", None)):
            self._env.seed(seed)
        self._env.reset()

    def _played(self, actions: list[int]) -> tuple[float, bool, bool, dict[str, Any]]:
        """Reward, whether the episode is over, whether a limit cut it, and the info.

        PyMARL returns three things, EPyMARL five with the observations first.
        """
        result = self._env.step(actions)
        if len(result) == 3:
            reward, over, info = result
            lost = self._can_be_won and not info
            cut = bool(over and (lost or info.get("episode_limit")))
            return float(reward), bool(over), cut, dict(info)
        _, reward, terminated, truncated, info = result
        ended, cut = bool(np.all(terminated)), bool(np.all(truncated))
        cut = (cut and not ended) or bool(ended and info.get("episode_limit"))
        return float(np.sum(reward)), ended or cut, cut, dict(info)

    def _seen(self) -> TimeStep:
        new: Any = TimeStep
        return new(
            np.stack([np.asarray(row, np.float32).reshape(-1) for row in self._env.get_obs()]),
            np.asarray(self._env.get_avail_actions()).astype(bool),
            np.asarray(self._env.get_state(), np.float32).reshape(-1),
        )


def _is_pymarl(found: Any) -> bool:
    return inspect.isclass(found) and all(callable(getattr(found, each, None)) for each in METHODS)


def _takes_seed(method: Any) -> bool:
    try:
        return "seed" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False
