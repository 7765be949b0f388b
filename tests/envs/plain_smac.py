"""An environment with the interface of SMAC's StarCraft2Env, to the letter, and none of its game."""

from typing import Any

import numpy as np


class StarCraft2Env:
    """Three allies shoot one enemy; whom it kills has no action but no-op. Its "game" may be lost at a step.

    As SMAC's: `reset()` and `seed()` take no argument, `step` gives reward, terminated and info, a cut has
    `info["episode_limit"]`, and after a crash of the game it gives `0, True, {}`.
    """

    def __init__(
        self,
        map_name: str = "3m",
        seed: int | None = None,
        crash_at: int = 0,
        difficulty: str = "7",
    ) -> None:
        self.map_name, self._seed, self.crash_at, self.difficulty = (
            map_name,
            seed,
            crash_at,
            difficulty,
        )
        self.n_agents, self.n_enemies, self.n_actions = 3, 1, 7
        self.episode_limit = 6
        self.force_restarts = 0
        self._rng = np.random.default_rng(seed)

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        self._episode_steps = 0
        self.health, self.enemy = np.ones(3), 1.0
        return self.get_obs(), self.get_state()

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        actions = [int(a) for a in actions]
        for agent, action in enumerate(actions):
            available = self.get_avail_agent_actions(agent)
            assert available[action], f"Agent {agent} cannot perform action {action}"
        self._episode_steps += 1
        if self._episode_steps == self.crash_at:
            self.force_restarts += 1
            return 0, True, {}
        hits = sum(action == 6 for action in actions)
        before, self.enemy = self.enemy, max(0.0, self.enemy - 0.1 * hits)
        self.health[self._rng.integers(3)] -= 0.4
        self.health = np.maximum(self.health, 0)
        info: dict[str, Any] = {"battle_won": False}
        terminated, reward = False, 10 * (before - self.enemy)
        if self.enemy == 0:
            terminated, info["battle_won"], reward = True, True, reward + 10
        elif not self.health.any():
            terminated = True
        elif self._episode_steps >= self.episode_limit:
            terminated, info["episode_limit"] = True, True
        return reward, terminated, info

    def get_obs_agent(self, agent_id: int) -> np.ndarray:
        row = np.array([self.health[agent_id], self.enemy, agent_id / 3], np.float32)
        return row * (self.health[agent_id] > 0)

    def get_obs(self) -> list[np.ndarray]:
        return [self.get_obs_agent(i) for i in range(self.n_agents)]

    def get_obs_size(self) -> int:
        return 3

    def get_state(self) -> np.ndarray:
        return np.append(self.health, self.enemy).astype(np.float32)

    def get_state_size(self) -> int:
        return 4

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        if self.health[agent_id] <= 0:
            return [1] + [0] * (self.n_actions - 1)
        return [0] + [1] * (self.n_actions - 1)

    def get_avail_actions(self) -> list[list[int]]:
        return [self.get_avail_agent_actions(i) for i in range(self.n_agents)]

    def get_total_actions(self) -> int:
        return self.n_actions

    def seed(self) -> int | None:
        return self._seed

    def render(self) -> None:
        pass

    def close(self) -> None:
        pass

    def save_replay(self) -> None:
        pass

    def get_env_info(self) -> dict[str, Any]:
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
            "agent_features": ["health", "enemy", "id"],
            "enemy_features": ["health"],
        }

    def get_stats(self) -> dict[str, float]:
        return {"restarts": self.force_restarts}
