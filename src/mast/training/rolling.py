"""What on-policy loops need of an engine: environments that go on, rollouts and the updates from them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from mast.envs.protocol import Environment, TimeStep
from mast.execution.learner import Learner
from mast.learning.method import Method
from mast.training.breaches import Breach
from mast.training.host_streams import HostStreams
from mast.training.observing import Observing
from mast.training.on_policy import Advanced, act_on, advance, learn_from
from mast.training.random_keys import BEGIN, COLLECT, run_key
from mast.training.run_axis import RunAxis, Timed
from mast.training.streams import Streams, begin_streams
from mast.training.worker import Workers

ROLLOUTS_AT_ONCE = 25
"""In one call: enough that its overhead does not count, few enough that progress is seen."""


class Rolling:
    """Rollouts of fixed length in environments that begin again when they end.

    Args:
        learner: of the runs.
        method: of all runs.
        environment: where they play.
        axis: of the runs.
        timed: of their programs.
        observing: their statistics.
        workers: processes of a Python environment, if any.
        observe_first: called with the state before each rollout.
    """

    def __init__(
        self,
        learner: Learner,
        method: Method,
        environment: Environment,
        axis: RunAxis,
        timed: Timed,
        observing: Observing,
        workers: Workers | None,
        observe_first: Callable[[Any], None],
    ) -> None:
        self._learner, self._method, self._environment = learner, method, environment
        self._axis, self._timed, self._observing = axis, timed, observing
        self._workers, self._observe_first = workers, observe_first
        self._advance: dict[Any, Callable[..., Any]] = {}

    def begin_streams(self) -> Streams:
        """Every environment of every run at the start of an episode."""
        axis = self._axis
        begin = partial(begin_streams, self._environment, count=axis.configs[0].parallel_envs)
        return self._timed("begin_streams", jax.jit(axis.mapped(begin)))(axis.keys(BEGIN))

    def taken_up(self, streams: Sequence[Streams]) -> Streams:
        """The environments of all runs from those of each."""
        return self._axis.stacked(streams)

    def advance(
        self,
        state: Any,
        streams: Streams,
        number: int,
        env_steps: Sequence[int],
        count: int,
        keep: bool = False,
    ) -> tuple[Any, Streams, Any, Advanced]:
        """So many rollouts of every run, and the updates from each; state and streams are given away.

        Args:
            state: of all runs.
            streams: where their environments are.
            number: rollouts made so far, for the random keys.
            env_steps: one per run.
            count: how many rollouts, at most `ROLLOUTS_AT_ONCE`.
            keep: whether to give the trajectories back.

        Returns:
            State and streams then, the last update's dense gradient, and what happened, whose arrays lead
            with [rollouts, *runs].
        """
        self._observe_first(state)
        what = ("advance", keep)
        if what not in self._advance:
            step = partial(
                advance,
                self._learner,
                self._environment,
                at_most=ROLLOUTS_AT_ONCE,
                keep=keep,
            )
            axes = (0, 0, 0, 0, 0, 0, None, None)
            over_runs = self._axis.mapped(step, in_axes=axes)
            self._advance[what] = jax.jit(over_runs, donate_argnums=(0, 1))
        state, streams, self._observing.statistics, gradient, done = self._timed(
            what, self._advance[what]
        )(
            state,
            streams,
            self._observing.statistics,
            self._method,
            self._axis.keys(COLLECT),
            self._axis.column(env_steps),
            jnp.int32(number),
            jnp.int32(count),
        )
        if self._axis.vmapped:  # rollouts lead
            done = jax.tree.map(lambda each: jnp.swapaxes(each, 0, 1), done)
        return state, streams, gradient, done

    def host_streams(self) -> HostStreams:
        """A Python environment as often as it is played side by side; not begun yet."""
        return HostStreams(self._axis.configs[0], self._environment.spec, self._workers)

    def advance_on_host(
        self, state: Any, streams: HostStreams, number: int, env_steps: Sequence[int]
    ) -> tuple[Any, Any, Advanced]:
        """One rollout of a Python environment, and the updates from it; state is given away.

        Where the environment fails, nothing has been learned from the rollout, and `state` is as it was.

        Args:
            state: of the only run.
            streams: its environments.
            number: rollouts made so far, for the random keys.
            env_steps: so far.

        Returns:
            As `advance`, but for the streams.
        """
        self._observe_first(state)
        learner, spec = self._learner, self._environment.spec
        config = learner.config
        if "host" not in self._advance:
            self._advance["act"] = jax.jit(partial(act_on, learner))
            learn = partial(learn_from, learner, spec)
            self._advance["host"] = jax.jit(learn, donate_argnums=0)
        key = jax.random.fold_in(run_key(config.seed, COLLECT), number + 1)
        play_key, learn_key = jax.random.split(key)
        act, observed = self._timed("act", self._advance["act"]), self._observing.statistics

        def on_host(key: PRNGKeyArray, seen: TimeStep) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            action, behaviour = act(state.params, observed, key, seen)
            return np.array(action), {name: np.array(each) for name, each in behaviour.items()}

        trajectory, finished = streams.roll(on_host, play_key, config.rollout_steps)
        taken = jnp.float32(env_steps[0] + config.rollout_steps * config.parallel_envs)
        learnt = self._timed("host", self._advance["host"])(
            state, observed, trajectory, self._method, taken, learn_key
        )
        self._observing.statistics = learnt.observed
        none: Any = Breach(*np.zeros(3, np.int32))
        told = Advanced(learnt.metrics, finished, none, learnt.trajectory)
        return (
            learnt.state,
            learnt.gradient,
            jax.tree.map(lambda each: np.asarray(each)[None], told),
        )
