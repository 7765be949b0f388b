"""Playing a Python environment in several processes, all of whose teams act in one call."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mast.config import Config
from mast.envs.contract import refuse_endless
from mast.envs.protocol import EnvironmentSpec
from mast.networks.agent import NO_ACTION, Actor
from mast.training.exploration import epsilon_greedy_action, is_stochastic
from mast.training.rollout import Recording, Totals, blank_on_host
from mast.training.worker import Order, Stepped, Workers


@dataclass
class _Playing:
    """One worker's episode."""

    episode: int
    attempt: int
    data: np.ndarray
    """Of its key."""
    seeds: np.random.Generator
    step: int = 0

    def seed(self) -> int:
        """The next one for the environment."""
        return int(self.seeds.integers(2**31))


class _Lanes:
    """What the team of each worker sees and remembers, arrays that lead with the workers."""

    def __init__(
        self, spec: EnvironmentSpec, count: int, hidden_size: int, key_shape: tuple[int, ...]
    ) -> None:
        self.observation = np.zeros((count, spec.agents, spec.observation), np.float32)
        self.available = np.ones((count, spec.agents, spec.actions), bool)
        self.last = np.full((count, spec.agents), NO_ACTION, np.int32)
        self.hidden = np.zeros((count, spec.agents, hidden_size), np.float32)
        self.data = np.zeros((count, *key_shape), np.uint32)

    def begin(self, lane: int, data: np.ndarray) -> None:
        """Forget, for another episode with this key."""
        self.last[lane], self.hidden[lane], self.data[lane] = NO_ACTION, 0, data


class WorkerPlayers:
    """Plays a Python environment, a step of every worker at a time; acting is one jitted call for all.

    Episodes and their seeds are those of `HostPlayers`, handed out in order. A worker that dies is replaced,
    and its episode played anew with other seeds.

    Args:
        config: of the run, whose environment every worker makes for itself; `env_workers` says how many.
        spec: of that environment.
        store_dtype: of recorded observations and states; the replay's where None.
        workers: the processes; made where None.
    """

    def __init__(
        self,
        config: Config,
        spec: EnvironmentSpec,
        store_dtype: Any = None,
        workers: Workers | None = None,
    ) -> None:
        self._config, self._spec = config, spec
        self._dtype = np.dtype(store_dtype or config.replay_dtype)
        self._workers = Workers(config, spec.id) if workers is None else workers

        @jax.jit
        def act(
            agent: Any, data: Any, steps: Any, seen: Any, last: Any, hidden: Any, epsilon: Any
        ) -> Any:
            observation, available = seen
            keys = jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(data), steps)
            q, hidden = agent.step(observation, last, hidden)
            choose = partial(epsilon_greedy_action, stochastic=is_stochastic(agent))
            each = jax.vmap(choose, in_axes=(0, 0, 0, None))
            return *each(keys, q, available, epsilon), hidden

        self._act = act

    def said(self) -> list[str]:
        """What there is to say since the last call: workers that died."""
        return self._workers.said()

    def close(self) -> None:
        """End the processes."""
        self._workers.close()

    def record(
        self, agent: Actor, keys: Key[Array, "*runs episodes"], epsilon: Float[Array, ""]
    ) -> tuple[Totals, Recording]:
        """Play one episode per key, each agent ε-greedily."""
        spec = self._spec
        totals, recording = blank_on_host(spec, len(keys), self._dtype)
        data = np.asarray(jax.random.key_data(keys))
        waiting = [self._episode(data[number], number) for number in range(len(keys))][::-1]
        lanes = _Lanes(spec, len(self._workers), agent.hidden_size, data.shape[1:])
        playing: dict[int, _Playing] = {}
        while waiting or playing:
            orders = self._steps(agent, epsilon, lanes, playing, recording)
            for lane in range(len(self._workers)):
                if lane not in playing and waiting:
                    playing[lane] = waiting.pop()
                    lanes.begin(lane, playing[lane].data)
                    orders[lane] = (playing[lane].seed(),)
            for lane, answer in self._answers(orders).items():
                game = playing[lane]
                if answer is None:
                    again = self._episode(data[game.episode], game.episode, game.attempt + 1)
                    waiting.append(again)
                    del playing[lane]
                    continue
                lanes.observation[lane] = answer.seen.observation
                lanes.available[lane] = answer.seen.available
                if _keep(answer, game, totals, recording, was_reset=len(orders[lane]) == 1):
                    self._workers.survived()
                    del playing[lane]
                elif game.step >= spec.episode_limit:
                    refuse_endless(spec, spec.id)
        return totals, recording

    def _steps(
        self,
        agent: Actor,
        epsilon: Any,
        lanes: "_Lanes",
        playing: dict[int, _Playing],
        recording: Recording,
    ) -> dict[int, tuple[Any, ...]]:
        """All teams that play act at once; what each worker is told."""
        if not playing:
            return {}
        steps = np.zeros(len(self._workers), np.int32)
        for lane, game in playing.items():
            steps[lane] = game.step
        seen = (lanes.observation, lanes.available)
        action, greedy, hidden = map(
            np.asarray,
            self._act(agent, lanes.data, steps, seen, lanes.last, lanes.hidden, epsilon),
        )
        orders: dict[int, tuple[Any, ...]] = {}
        for lane, game in playing.items():
            lanes.last[lane], lanes.hidden[lane] = action[lane], hidden[lane]
            recording.action[game.step, game.episode] = action[lane]
            recording.greedy[game.step, game.episode] = greedy[lane]
            orders[lane] = (game.seed(), action[lane], game.step + 1)
        return orders

    def _episode(self, data: np.ndarray, number: int, attempt: int = 0) -> _Playing:
        """The episode of a key; another attempt has other seeds."""
        if attempt:
            key = jax.random.wrap_key_data(jnp.asarray(data))
            again = jax.random.fold_in(key, self._spec.episode_limit + attempt)
            data = np.asarray(jax.random.key_data(again))
        return _Playing(number, attempt, data, np.random.Generator(np.random.Philox(key=data)))

    def _answers(self, orders: dict[int, tuple[Any, ...]]) -> dict[int, Stepped | None]:
        """All workers at once; None of one that died, which is replaced."""
        told = [Order(lane, 0, order) for lane, order in orders.items()]
        return dict(zip(orders, self._workers.answers(told), strict=True))


def _keep(
    answer: Stepped, game: _Playing, totals: Totals, recording: Recording, was_reset: bool
) -> bool:
    """Write down what an environment gave; whether its episode is over."""
    episode = game.episode
    if was_reset:
        totals.length[episode] = totals.return_[episode] = 0
    else:
        reward = float(np.sum(answer.reward))
        recording.reward[game.step, episode] = reward
        totals.return_[episode] += reward
        game.step += 1
        totals.length[episode] = game.step
    for name in ("observation", "state", "available"):
        getattr(recording, name)[game.step, episode] = getattr(answer.seen, name)
    for name in ("terminated", "truncated", "won"):
        getattr(totals, name)[episode] = getattr(answer, name)
    return answer.terminated or answer.truncated
