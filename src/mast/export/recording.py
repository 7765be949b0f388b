"""Whole real episodes of a trained team: what an export is checked on, and its test vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from mast.envs.protocol import Environment
from mast.networks.agent import NO_ACTION, Actor
from mast.policy import Policy
from mast.runtime import prepare
from mast.training.random_keys import PLAY, run_key
from mast.training.rollout import Totals, episodes, play, players_for


@dataclass(frozen=True)
class Recorded:
    """One greedy episode: what the team saw, chose and thought of it."""

    observation: Float[np.ndarray, "time agents features"]
    available: Bool[np.ndarray, "time agents actions"]
    action: Int[np.ndarray, "time agents"]
    q: Float[np.ndarray, "time agents actions"]
    hidden: Float[np.ndarray, "time agents hidden"]
    """After the step."""

    @property
    def last_action(self) -> Int[np.ndarray, "time agents"]:
        """What each agent did one step before, -1 at the start."""
        start = np.full_like(self.action[:1], NO_ACTION)
        return np.concatenate([start, self.action[:-1]])

    def of_agent(self, agent: int) -> "Recorded":
        """What one agent saw and did, as a team of one."""
        own = slice(agent, agent + 1)
        parts = (self.observation, self.available, self.action, self.q, self.hidden)
        return Recorded(*(np.ascontiguousarray(part[:, own]) for part in parts))


def record_episodes(
    policy: Policy, environment: Environment, count: int, seed: int = 0
) -> list[Recorded]:
    """Let a policy play, greedily.

    Args:
        policy: who plays.
        environment: where.
        count: how many whole episodes; they are the first of an evaluation with the same seed.
        seed: of the episodes.
    """
    prepare()
    played: list[Any] = []

    def keep(totals: Totals, recording: Any) -> None:
        played.extend(episodes(totals, recording))

    keys = jax.random.split(run_key(seed, PLAY), count)
    players = players_for(environment, jnp.float32)
    with jax.default_matmul_precision("highest"):
        play(players, policy.actor, keys, jnp.float32(0.0), count, keep)
        return [
            Recorded(
                np.asarray(episode.observation[:-1], np.float32),
                np.asarray(episode.available[:-1], bool),
                np.asarray(episode.action, np.int32),
                *_values(policy.actor, episode.observation[:-1], episode.action),
            )
            for episode in played
        ]


@jax.jit
def step(agent: Actor, observation: Any, last_action: Any, hidden: Any) -> Any:
    """One step of a team by itself: action values and hidden states."""
    return agent.step(jnp.asarray(observation, jnp.float32), last_action, hidden)


def _values(agent: Actor, observation: np.ndarray, action: np.ndarray) -> Sequence[np.ndarray]:
    """Action values and hidden states along an episode."""
    hidden = agent.initial_hidden(action.shape[1])
    last = np.full(action.shape[1], NO_ACTION, np.int32)
    steps = []
    for seen, taken in zip(observation, action, strict=True):
        q, hidden = step(agent, jnp.asarray(seen, jnp.float32), last, hidden)
        steps.append((np.asarray(q), np.asarray(hidden)))
        last = np.asarray(taken, np.int32)
    q, after = zip(*steps, strict=True)
    return np.stack(q), np.stack(after)


def vectors(recorded: Sequence[Recorded]) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Recorded episodes as rows of float32, one per step and agent, and the columns of a row.

    Returns:
        [rows, width], and each column's name and width.
    """
    blocks = []
    for number, episode in enumerate(recorded):
        time, agents = episode.action.shape
        index = np.empty((time, agents, 4), np.float32)
        index[..., 0] = number
        index[..., 1] = np.arange(time)[:, None]
        index[..., 2] = np.arange(agents)
        index[..., 3] = episode.action
        parts = (index, episode.observation, episode.available, episode.q, episode.hidden)
        blocks.append(np.concatenate(parts, axis=-1).reshape(time * agents, -1))
    first = recorded[0]
    columns = [("episode", 1), ("step", 1), ("agent", 1), ("action", 1)]
    columns += [
        (name, getattr(first, name).shape[-1])
        for name in ("observation", "available", "q", "hidden")
    ]
    return np.concatenate(blocks).astype("<f4"), columns
