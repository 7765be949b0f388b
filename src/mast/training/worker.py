"""A process that holds one Python environment and plays it as it is told."""

import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from mast.config import Config
from mast.envs.contract import call, reset_parts, step_of, step_parts
from mast.envs.protocol import Environment, TimeStep
from mast.envs.team_reward import TeamReward, unwrapped
from mast.errors import EnvironmentFailure, EnvironmentNaN, UserError
from mast.execution.environment import environment_of

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (UserError, EnvironmentFailure, EnvironmentNaN)
}
"""The errors that a worker can report, by name."""


class Stepped(NamedTuple):
    """What an environment gave: all of it after a step, only the first after a reset."""

    seen: TimeStep
    reward: float = 0.0
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

    def tell(self, *order: Any) -> None:
        """Send an order, whose answer `answer` waits for: a seed, or a seed, the joint action and the step.

        Raises:
            WorkerDied: the process is gone.
        """
        try:
            self._connection.send(order)
        except OSError as error:
            raise WorkerDied from error

    def answer(self) -> Stepped:
        """What the environment gave.

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
        self._connection.close()
        self._process.join(1)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        if code is not None and code < 0:
            return f"by signal {-code}"
        return f"with exit code {code}"


def _serve(connection: Connection, config: Config) -> None:
    """The worker's own loop, until its parent is gone."""
    for name in ("SIGINT", "SIGHUP"):  # of the whole group; the parent saves and ends
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    game: _Game | None = None
    while True:
        try:
            order = connection.recv()
        except (EOFError, OSError):
            return
        try:
            game = _Game(environment_of(config)) if game is None else game
            connection.send(("", game.play(*order)))
        except tuple(KINDS.values()) as error:
            connection.send((type(error).__name__, str(error)))


class _Game:
    """An environment with the state that it carries, each step held to the contract."""

    def __init__(self, environment: Environment) -> None:
        if environment.spec.rewards == "agent":
            environment = TeamReward(environment, "sum")
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
        return Stepped(seen, float(self._combine(outcome.reward)), *ends)
