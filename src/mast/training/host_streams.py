"""Python environments that go on: each begins its next episode when one has ended."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mast.config import Config
from mast.envs.contract import refuse_endless
from mast.envs.protocol import EnvironmentSpec, TimeStep
from mast.execution.environment import environment_of
from mast.learning.trajectory import Trajectory
from mast.training.streams import Finished
from mast.training.worker import Game, Order, Stepped, Workers

HostAct = Callable[[PRNGKeyArray, TimeStep], tuple[np.ndarray, dict[str, np.ndarray]]]
"""Random key and what all environments show → actions, and what the algorithm wants to know of them."""


class _Rows:
    """A trajectory that is being written, [time, envs, …]."""

    def __init__(self) -> None:
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in Trajectory._fields}
        self.behaviour: dict[str, list[np.ndarray]] = {}
        del self.columns["behaviour"]

    def cut(self, lane: int) -> None:
        """The newest row ends the episode of an environment that is gone; it had really led there."""
        if self.columns["ended"]:
            self.columns["ended"][-1][lane] = True

    def add(self, behaviour: dict[str, np.ndarray], **row: Any) -> None:
        for name, values in row.items():
            self.columns[name].append(values)
        for name, values in behaviour.items():
            self.behaviour.setdefault(name, []).append(values)

    def trajectory(self) -> Trajectory:
        whole: Any = {name: np.stack(rows) for name, rows in self.columns.items()}
        behaviour: Any = {name: np.stack(rows) for name, rows in self.behaviour.items()}
        return Trajectory(**whole, behaviour=behaviour)


class HostStreams:
    """As many objects of the environment as the run plays side by side, in this process or in workers.

    All chance comes from the key of `begin`, one sequence of seeds for each environment.

    Args:
        config: of the run, whose environment is made `parallel_envs` times.
        spec: of that environment.
        workers: the processes that hold them; None: this one.
    """

    def __init__(self, config: Config, spec: EnvironmentSpec, workers: Workers | None) -> None:
        self._spec, self._workers = spec, workers
        self._count = config.parallel_envs
        self._games = (
            [Game(environment_of(config)) for _ in range(self._count)] if workers is None else []
        )
        self._lives = [0] * self._count
        count = self._count
        self._observation = np.zeros((count, spec.agents, spec.observation), np.float32)
        self._available = np.ones((count, spec.agents, spec.actions), bool)
        self._state = np.zeros((count, spec.state), np.float32)
        self._length = np.zeros(count, np.int64)
        self._return = np.zeros(count)

    def begin(self, key: PRNGKeyArray) -> None:
        """A new episode in every environment, whatever they were at."""
        self._seeds = [
            np.random.Generator(
                np.random.Philox(key=np.asarray(jax.random.key_data(jax.random.fold_in(key, lane))))
            )
            for lane in range(self._count)
        ]
        self._reset(range(self._count))

    def roll(self, act: HostAct, key: PRNGKeyArray, steps: int) -> tuple[Trajectory, Finished]:
        """Some steps in every environment.

        Args:
            act: chooses the actions.
            key: random key.
            steps: how many.

        Raises:
            EnvironmentFailure: a breach of the contract, an exception, or three deaths in a row.
            EnvironmentNaN: a number is NaN.
        """
        rows, totals = _Rows(), np.zeros(4)
        for time in range(steps):
            totals += self._step(act, jax.random.fold_in(key, time), rows)
        new: Any = Finished
        return rows.trajectory(), new(*totals.astype(np.float32))

    def _step(self, act: HostAct, key: PRNGKeyArray, rows: _Rows) -> np.ndarray:
        """One step of all; episodes, return, wins and steps of the episodes that ended in it."""
        seen = self._seen()
        action, behaviour = act(key, seen)
        answers = self._play(range(self._count), action)
        attempt = 0
        while dropped := [lane for lane, answer in enumerate(answers) if answer is None]:
            attempt += 1
            for lane in dropped:
                rows.cut(lane)
            self._reset(dropped)
            seen = self._seen()
            again, more = act(jax.random.fold_in(key, attempt), seen)
            action[dropped] = again[dropped]
            for name, values in more.items():
                behaviour[name][dropped] = values[dropped]
            for lane, answer in zip(dropped, self._play(dropped, action), strict=True):
                answers[lane] = answer
        done = [answer for answer in answers if answer is not None]
        terminated, truncated, won = (
            np.array([getattr(each, name) for each in done])
            for name in ("terminated", "truncated", "won")
        )
        reward = np.array([np.reshape(each.reward, -1) for each in done], np.float32)
        ended = terminated | truncated
        self._length += 1
        self._return += reward.sum(-1)
        self._show(range(self._count), done)
        rows.add(
            behaviour,
            observation=seen.observation,
            available=seen.available,
            state=seen.state,
            action=action,
            reward=reward,
            next_observation=self._observation.copy(),
            next_state=self._state.copy(),
            terminated=terminated,
            ended=ended.copy(),
        )
        if np.any(~ended & (self._length >= self._spec.episode_limit)):
            refuse_endless(self._spec, self._spec.id)
        sums = np.array(
            [ended.sum(), self._return[ended].sum(), (won & ended).sum(), self._length[ended].sum()]
        )
        if ended.any():
            if self._workers is not None:
                self._workers.survived()
            self._reset(np.flatnonzero(ended).tolist())
        return sums

    def _seen(self) -> TimeStep:
        new: Any = TimeStep
        return new(self._observation.copy(), self._available.copy(), self._state.copy())

    def _reset(self, lanes: Sequence[int]) -> None:
        """A new episode in some environments."""
        waiting = list(lanes)
        while waiting:
            self._length[waiting] = self._return[waiting] = 0
            answers = self._answers([(lane, (self._seed(lane),)) for lane in waiting])
            begun = [
                (lane, each)
                for lane, each in zip(waiting, answers, strict=True)
                if each is not None
            ]
            for lane, _ in begun:
                self._lives[lane] = self._life(lane)
            self._show([lane for lane, _ in begun], [each for _, each in begun])
            waiting = [lane for lane, each in zip(waiting, answers, strict=True) if each is None]

    def _play(self, lanes: Sequence[int], action: np.ndarray) -> list[Stepped | None]:
        """A step of some environments; None of those that are gone with their process."""
        there = [lane for lane in lanes if self._lives[lane] == self._life(lane)]
        orders = [
            (lane, (self._seed(lane), action[lane], int(self._length[lane]) + 1)) for lane in there
        ]
        found = dict(zip(there, self._answers(orders), strict=True))
        return [found.get(lane) for lane in lanes]

    def _answers(self, orders: Sequence[tuple[int, tuple[Any, ...]]]) -> list[Stepped | None]:
        if self._workers is None:
            return [self._games[lane].play(*words) for lane, words in orders]
        count = len(self._workers)
        # Environment 0 of a worker is that of evaluations.
        return self._workers.answers(
            [Order(lane % count, 1 + lane // count, words) for lane, words in orders]
        )

    def _life(self, lane: int) -> int:
        return 0 if self._workers is None else self._workers.lives[lane % len(self._workers)]

    def _seed(self, lane: int) -> int:
        return int(self._seeds[lane].integers(2**31))

    def _show(self, lanes: Sequence[int], answers: Sequence[Stepped]) -> None:
        for lane, answer in zip(lanes, answers, strict=True):
            self._observation[lane] = answer.seen.observation
            self._available[lane] = answer.seen.available
            self._state[lane] = answer.seen.state
