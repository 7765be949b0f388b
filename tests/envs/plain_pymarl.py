"""A small environment as PyMARL's are written, with its interface and nothing of Mast's."""

import numpy as np


class Countdown:
    """Two agents shall both press at the last of five steps; an early press ends the game."""

    def __init__(self, steps: int = 5, five_results: bool = False) -> None:
        self.n_agents, self.n_actions, self.episode_limit = 2, 3, steps
        self.five_results = five_results
        self.rng = np.random.default_rng()

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        self.turn, self.noise = 0, float(self.rng.random())
        return self.get_obs(), self.get_state()

    def get_obs(self) -> list[np.ndarray]:
        return [np.array([self.turn / self.episode_limit, index, self.noise]) for index in range(2)]

    def get_state(self) -> np.ndarray:
        return np.array([self.turn / self.episode_limit, self.noise])

    def get_avail_actions(self) -> list[list[int]]:
        return [[1, 1, 0], [1, 1, 1]]

    def get_env_info(self) -> dict[str, int]:
        return {
            "state_shape": 2,
            "obs_shape": 3,
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def step(self, actions: list[int]) -> tuple:
        self.turn += 1
        pressed = [action == 1 for action in actions]
        won = all(pressed) and self.turn == self.episode_limit
        ended = any(pressed)
        cut = not ended and self.turn == self.episode_limit
        reward = 10.0 if won else -1.0 if ended else 0.0
        info = {"battle_won": won}
        if self.five_results:
            return self.get_obs(), [reward / 2] * 2, ended, cut, info
        return reward, ended or cut, info | ({"episode_limit": True} if cut else {})
