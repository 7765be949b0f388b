"""RLx2's dynamic replay window: old episodes go once the policy has left them (spec §4)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from mast.config import Config
from mast.learning.operators import greedy_action
from mast.learning.replay import Ring, bucket
from mast.networks.agent import Agent, last_actions


def differing_share(
    then: Integer[Any, "time batch agents"],
    now: Integer[Any, "time batch agents"],
    mask: Bool[Any, "time batch"],
) -> tuple[int, int]:
    """How many (step, agent) pairs have another greedy action now, and how many there are.

    Args:
        then: greedy actions of collection time.
        now: greedy actions of the present network.
        mask: steps that were really taken.
    """
    real = np.asarray(mask)[..., None] & np.ones(np.shape(then), bool)
    return int((real & (np.asarray(then) != np.asarray(now))).sum()), int(real.sum())


@jax.jit
def greedy_actions(
    agent: Agent,
    observation: Float[Array, "time_and_one batch agents features"],
    available: Bool[Array, "time_and_one batch agents actions"],
    action: Integer[Array, "time batch agents"],
) -> Int[Array, "time batch agents"]:
    """What the network prefers along recorded episodes."""
    action = jnp.asarray(action, jnp.int32)
    q = agent.sequence(jnp.asarray(observation, jnp.float32), last_actions(action))
    return greedy_action(q, available)[:-1]


class DynamicWindow:
    """Looks every so many environment steps at the oldest episodes, and drops some if they are too old.

    Args:
        config: `window_*` and `batch_size`, in which the episodes are looked at.
        buckets: lengths that batches are padded to.
    """

    def __init__(self, config: Config, buckets: Sequence[int]) -> None:
        self._config = config
        self._buckets = buckets

    def is_due(self, before: int, now: int) -> bool:
        """Whether a look is due between two counts of environment steps."""
        return now // self._config.window_interval > before // self._config.window_interval

    def look(self, ring: Ring, agent: Agent) -> int:
        """How many episodes were dropped: none, or `window_drop` of them if the oldest differ too much."""
        config = self._config
        room = len(ring) - config.window_floor
        if room <= 0:
            return 0
        differing, pairs = 0, 0
        for slots, real in self._oldest(ring):
            length = bucket(ring.longest(slots), self._buckets)
            batch = ring.gather(slots, length)
            now = greedy_actions(agent, batch.observation, batch.available, batch.action)
            parts = differing_share(ring.greedy(slots, length), now, batch.mask & real)
            differing, pairs = differing + parts[0], pairs + parts[1]
        if differing <= config.window_threshold * pairs:
            return 0
        dropped = min(room, int(config.window_drop * len(ring)))
        ring.forget_oldest(dropped)
        return dropped

    def _oldest(self, ring: Ring) -> list[tuple[np.ndarray, np.ndarray]]:
        """The oldest episodes, about `window_steps` of them in steps, by slot in parts of one size.

        The last part is filled up with its first episode, which the second array marks as False: parts
        of one size need one compilation per length.
        """
        steps, count = 0, 0
        while steps < self._config.window_steps and count < len(ring):
            steps += ring.ending(ring.first + count)[0]
            count += 1
        size = self._config.batch_size
        parts = []
        for start in range(0, count, size):
            numbers = ring.first + np.arange(start, min(start + size, count))
            filled = np.concatenate([numbers, np.repeat(numbers[0], size - len(numbers))])
            parts.append((ring.slots(filled.tolist()), np.arange(size) < len(numbers)))
        return parts
