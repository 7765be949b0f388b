"""Processes that hold Python environments and play them as they are told."""

import atexit
import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from mast.config import Config
from mast.envs.contract import call, reset_parts, step_of, step_parts
from mast.envs.protocol import Environment, TimeStep
from mast.envs.team_reward import unwrapped
from mast.errors import EnvironmentFailure, EnvironmentNaN, UserError
from mast.execution.environment import environment_of

MOST_DEATHS = 3
"""So many in a row end the run."""

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (UserError, EnvironmentFailure, EnvironmentNaN)
}
"""The errors that a worker can report, by name."""


class Stepped(NamedTuple):
    """What an environment gave: all of it after a step, only the first after a reset."""

    seen: TimeStep
    reward: Any = 0.0
    """The team's, or that of each agent."""
    terminated: bool = False
    truncated: bool = False
    won: bool = False


class WorkerDied(Exception):
    """A worker process is gone."""


class Worker:
    """The parent's side: a process by `spawn`, which makes the environment that the settings name.

    Args:
        config: of the run.
    """

    def __init__(self, config: Config) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is seen here
        atexit.register(
            self.close
        )  # before multiprocessing waits for a process that ignores SIGTERM

    def tell(self, orders: "Sequence[Order]") -> None:
        """Send orders in one message, so that neither side writes while the other does.

        Args:
            orders: for its environments, in this order; `answers` waits for what they gave.

        Raises:
            WorkerDied: the process is gone.
        """
        try:
            self._connection.send([(order.game, *order.words) for order in orders])
        except OSError as error:
            raise WorkerDied from error

    def answers(self) -> list[Stepped]:
        """What the environments gave, one for each order of `tell`.

        Raises:
            WorkerDied: the process is gone.
            EnvironmentFailure: a breach of the contract, or an exception.
            EnvironmentNaN: a number is NaN.
        """
        try:
            kind, content = self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied from error
        if kind in KINDS:
            raise KINDS[kind](content)
        return content

    def close(self) -> str:
        """End the process; how it ended, in words."""
        atexit.unregister(self.close)
        self._connection.close()
        self._process.join(1)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        if code is not None and code < 0:
            return f"by signal {-code}"
        return f"with exit code {code}"


class Order(NamedTuple):
    """What an environment of a worker is to do."""

    worker: int
    game: int
    """Which of the worker's environments; each is made at its first order."""
    words: tuple[Any, ...]
    """A seed, which resets it, or a seed, the joint action and the number of the step."""


class Workers:
    """Several workers; one that dies is replaced. Three deaths in a row end the run.

    Args:
        config: of the run, which says how many there are.
        name: of the environment, for messages.
    """

    def __init__(self, config: Config, name: str) -> None:
        self._config, self._name = config, name
        self._workers = [Worker(config) for _ in range(config.env_workers)]
        self._deaths = self._deaths_in_a_row = 0
        self._notices: list[str] = []
        self.lives = [0] * config.env_workers
        """How often each was replaced: an environment of an earlier life is gone."""

    def __len__(self) -> int:
        """How many."""
        return len(self._workers)

    def said(self) -> list[str]:
        """What there is to say since the last call: workers that died."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def survived(self) -> None:
        """An episode came to its end: the deaths before it were not in a row."""
        self._deaths_in_a_row = 0

    def answers(self, orders: Sequence[Order]) -> list[Stepped | None]:
        """All at once; None of the environments of a worker that died, which is replaced."""
        places: dict[int, list[int]] = {}
        for place, order in enumerate(orders):
            places.setdefault(order.worker, []).append(place)
        dead: set[int] = set()
        found: list[Stepped | None] = [None] * len(orders)
        for worker, own in places.items():
            try:
                self._workers[worker].tell([orders[place] for place in own])
            except WorkerDied:
                dead.add(worker)
        for worker in sorted(places.keys() - dead):
            try:
                answers = self._workers[worker].answers()
            except WorkerDied:
                dead.add(worker)
                continue
            for place, answer in zip(places[worker], answers, strict=True):
                found[place] = answer
        for worker in sorted(dead):
            self._replace(worker)
        return found

    def _replace(self, worker: int) -> None:
        how = self._workers[worker].close()
        self._deaths += 1
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= MOST_DEATHS:
            raise EnvironmentFailure(
                f"{self._name}: {MOST_DEATHS} worker processes died in a row, the last one {how}"
            )
        self._notices.append(
            f"a worker process of {self._name} ended {how}; another plays in its place, its episode is "
            f"dropped ({self._deaths} so far)"
        )
        self._workers[worker] = Worker(self._config)
        self.lives[worker] += 1


def _serve(connection: Connection, config: Config) -> None:
    """The worker's own loop, until its parent is gone."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):  # of the whole group; the parent saves and ends
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    games: dict[int, Game] = {}
    while True:
        try:
            orders = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answers = []
            for number, *order in orders:
                if number not in games:
                    games[number] = Game(environment_of(config))
                answers.append(games[number].play(*order))
            connection.send(("", answers))
        except tuple(KINDS.values()) as error:
            connection.send((type(error).__name__, str(error)))


class Game:
    """An environment with the state that it carries, each step held to the contract."""

    def __init__(self, environment: Environment) -> None:
        self._world, self._combine = unwrapped(environment)
        self._id = environment.spec.id

    def play(self, seed: int, action: np.ndarray | None = None, number: int = 0) -> Stepped:
        """A reset, or the step of this number."""
        world: Any = self._world
        if action is None:
            result = call(self._id, "reset", lambda: world.reset(seed))
            self._state, seen = reset_parts(result, world.spec, self._id)
            return Stepped(seen)
        doing = step_of(number)
        result = call(self._id, doing, lambda: world.step(seed, self._state, action))
        self._state, seen, outcome = step_parts(result, world.spec, f"{self._id}: {doing}")
        ends = (bool(outcome.terminated), bool(outcome.truncated), bool(outcome.won))
        return Stepped(seen, np.asarray(self._combine(outcome.reward)), *ends)
