"""The device side of training: every jitted step, for one run or for several in one program."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mast.config import Config, usable_cpus
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.execution.learner import Learner, LearnerState, UpdateMetrics
from mast.execution.method import method_from_config
from mast.execution.rules import rules_of
from mast.execution.topology import final_counts
from mast.learning.method import Method
from mast.learning.replay import Batch
from mast.learning.stored import StoredBatch
from mast.networks.agent import RecurrentAgent
from mast.networks.feed_forward import FeedForward
from mast.networks.independent import IndependentAgents
from mast.networks.sharing import assigned
from mast.networks.spec import NetworkSpec
from mast.sparsity.topology import Evolution
from mast.training.observing import Observing
from mast.training.programs import CompactPrograms, MaskedPrograms, Programs
from mast.training.random_keys import COLLECT, EVALUATE, EVOLVE, INIT, OBSERVE, run_key
from mast.training.rolling import Rolling
from mast.training.rollout import (
    Players,
    Recording,
    Totals,
    Watcher,
    play,
    players_for,
)
from mast.training.run_axis import RunAxis, Timed
from mast.training.saved_state import fill_template
from mast.training.source import Source, Weights, by_path, take_over
from mast.training.worker import Workers
from mast.training.worker_players import WorkerPlayers

State = Any
"""What the programs of an execution keep of all runs; `Engine.team` shows it as a `LearnerState`."""


class Engine:
    """Initialises, plays and updates; with several configurations all arrays lead with a run axis.

    The first call of each compiled step is timed as compilation.

    Args:
        configs: one per run; they may differ in what is data (seed, method), not in shapes.
        environment: where the runs play.
        vmapped: whether there is a run axis; must be set for more than one configuration.

    Raises:
        ValueError: the configurations differ in what is no data.
    """

    def __init__(
        self, configs: Sequence[Config], environment: Environment, vmapped: bool = False
    ) -> None:
        if len({_program_text(each) for each in configs}) > 1:
            raise ValueError("runs of one program may differ in seed and method only")
        self._configs = configs
        self._axis = RunAxis(configs, vmapped)
        config = configs[0]
        sizes = sizes_of(config, environment.spec)
        if config.execution == "compact" and sizes.lacks and sizes.lacks.types:
            raise UserError(
                f"{config.environment} draws types anew, by which sharing = {config.sharing} goes: "
                "no native kernels; use execution = masked"
            )
        self._timed = Timed()
        rules = rules_of(configs)
        self._learners = [Learner(each, sizes, rules) for each in configs]
        learner = self._learners[0]
        self._programs: Programs = (
            CompactPrograms(learner, config.threads or usable_cpus())
            if config.execution == "compact"
            else MaskedPrograms(learner, vmapped)
        )
        self._environment = environment
        self._workers = Workers(config, environment.spec.id) if config.env_workers else None
        # What is to be normalised is recorded as it came.
        dtype = "float32" if config.normalise_observations else config.replay_dtype
        self._players: Players = (
            WorkerPlayers(config, environment.spec, dtype, self._workers)
            if self._workers is not None
            else players_for(environment, dtype, over_runs=vmapped)
        )
        self.observing = Observing(self._axis, self._timed, environment.spec)
        self._method = self._axis.stacked([method_from_config(each, rules) for each in configs])
        self.rolling = Rolling(
            learner,
            self._method,
            environment,
            self._axis,
            self._timed,
            self.observing,
            self._workers,
            self._observe_first,
        )

    @property
    def compile_seconds(self) -> float:
        """How long steps have been compiled so far."""
        return self._timed.seconds

    @property
    def vmapped(self) -> bool:
        """Whether arrays lead with a run axis."""
        return self._axis.vmapped

    @property
    def reads_ring(self) -> bool:
        """Whether updates take a batch where it lies in the ring."""
        return self._programs.reads_ring

    def init(self, sources: Sequence[Source | None]) -> tuple[State, list[Weights]]:
        """The networks of every run at the start.

        Args:
            sources: what each run takes over from an earlier one.

        Returns:
            The state, and each run's dense weights before the mask, by leaf path.

        Raises:
            UserError: an earlier run's networks have other shapes.
        """
        states, first_weights, known = [], [], []
        for learner, source in zip(self._learners, sources, strict=True):
            key = run_key(learner.config.seed, INIT)
            dense_params, begin = first_programs(learner)
            params = dense_params(key)
            masks = None
            if source is not None:
                counts = final_counts(params, learner.config, learner.networks)
                params, masks = take_over(params, source, counts, str(learner.config.from_run))
            first_weights.append(by_path(params))
            states.append(begin(key, params, masks))
            unknown = self.observing.of_run(0)
            if source is not None and source.observed and unknown is not None:
                known.append(fill_template(unknown, source.observed))
            if not isinstance(params.agent, RecurrentAgent | IndependentAgents | FeedForward):
                raise UserError(
                    f"{learner.config.algorithm}: the agent is a {type(params.agent).__name__}; it must be a "
                    "RecurrentAgent, IndependentAgents or FeedForward (mast.networks), which a policy file "
                    "can hold"
                )
        self.observing.take_up(known)
        self._budget = self._axis.stacked(
            [
                learner.budget(state.params)
                for learner, state in zip(self._learners, states, strict=True)
            ]
        )
        return self.begin(states), first_weights

    def begin(self, teams: Sequence[LearnerState]) -> State:
        """The state of all runs from that of each."""
        return self._programs.begin(self._axis.stacked(teams))

    def team(self, state: State, run: int) -> LearnerState:
        """One run's networks, masks and optimizer as dense arrays; the inverse of `begin`."""
        return self.of_run(self._programs.team(state), run)

    def record(
        self, state: State, number: int, epsilon: Sequence[float], episodes: int
    ) -> tuple[Totals, Recording]:
        """Play and keep `episodes` episodes in every run (collection round `number`).

        Where observations are normalised, the episodes are as the team saw them; they count in the statistics
        once `observing.accept` says that they are kept.
        """
        self._observe_first(state)
        return self._recording(
            self.observing.acting(self._programs.agent(state)), number, epsilon, episodes
        )()

    def record_beside(
        self, state: State, number: int, epsilon: Sequence[float], episodes: int
    ) -> Callable[[], tuple[Totals, Recording]]:
        """As `record`, to be called in another thread, while `state` is given away to updates."""
        self._observe_first(state)
        return self._recording(
            _copied(self.observing.acting(self._programs.agent(state))), number, epsilon, episodes
        )

    def _recording(
        self, agent: Any, number: int, epsilon: Sequence[float], episodes: int
    ) -> Callable[[], tuple[Totals, Recording]]:
        keys, chance = (
            self._axis.episode_keys(COLLECT, number, episodes),
            self._axis.column(epsilon),
        )
        play = self._timed("record", self._players.record)

        def record() -> tuple[Totals, Recording]:
            totals, recording = play(agent, keys, chance)
            return jax.block_until_ready((totals, self.observing.read(totals, recording)))

        return record

    def _observe_first(self, state: State) -> None:
        """Before a run's first episodes: random ones for its statistics, where it has none."""
        episodes, count = self._configs[0].parallel_envs, len(self._configs)

        def play() -> tuple[Totals, Recording]:
            return self._timed("record", self._players.record)(
                self.observing.acting(self._programs.agent(state)),
                self._axis.episode_keys(OBSERVE, 0, episodes),
                self._axis.column([1.0] * count),
            )

        self.observing.begin(play)

    def evaluate(
        self,
        state: State,
        number: int,
        episodes: int,
        at_once: int,
        watch: Watcher | None = None,
        sampled: bool = False,
    ) -> Totals:
        """Play episodes in every run for evaluation `number`: greedy ones, or with actions that are drawn.

        Args:
            state: of all runs.
            number: of the evaluation; the same episodes begin alike, greedy and sampled.
            episodes: how many in each run.
            at_once: how many at a time.
            watch: looks on.
            sampled: whether actions are drawn from the policy.
        """
        chance = [float(sampled)] * len(self._configs)

        def look(totals: Totals, recording: Recording) -> None:
            assert watch is not None
            whole = np.zeros(
                recording.reward.shape[1:], np.int32
            )  # padded columns count for nothing
            lengths = totals._replace(length=whole)
            watch(totals, self.observing.as_read(lengths, recording)[0])

        return play(
            self._players,
            self.observing.acting(self._programs.agent(state)),
            self._axis.episode_keys(EVALUATE, number, episodes),
            self._axis.column(chance),
            at_once,
            None if watch is None else look,
        )

    def update(
        self,
        state: State,
        batches: Sequence[Batch | StoredBatch] | Batch,
        env_steps: Sequence[int],
        number: int,
        evolve_now: bool,
    ) -> tuple[State, UpdateMetrics, Evolution | None]:
        """One update of every run, and where it is time the evolution; `state` is given away.

        Which program runs is decided here, on the host and from shared counters, so no compiled step
        holds a branch that a run axis could turn into both of its sides.

        Args:
            state: of all runs.
            batches: one per run, all of the same length; one in the ring where `reads_ring`. Or one for all
                (`DeviceRings.batch`).
            env_steps: one per run.
            number: of the update, for the random keys.
            evolve_now: whether an evolution follows (or replaces) this update, for all runs alike.

        Returns:
            The new state, what the update tells, and what the evolution did, if there was one.
        """
        batch: Batch | StoredBatch
        if isinstance(batches, Batch):
            batch = batches
        elif self._axis.vmapped:
            gathered = [each for each in batches if isinstance(each, Batch)]
            batch = Batch(*(np.stack(parts) for parts in zip(*gathered, strict=True)))
        else:
            batch = batches[0]
        steps = self._axis.column(env_steps)
        shape = batch.shape
        operands = (batch, self._method, steps)
        replaces = evolve_now and self._configs[0].evolve_order == "replace"
        gradient, evolution = None, None
        if replaces or (evolve_now and not self._programs.update_gives_gradient):
            metrics, gradient = self._timed(("gradient", shape), self._programs.gradient)(
                state, *operands
            )
        if not replaces:
            update = self._timed(("update", shape), self._programs.update)
            state, metrics, given = update(state, *operands)
            gradient = given if gradient is None else gradient
        if evolve_now:
            state, evolution = self._evolve(state, gradient, steps, number)
        return state, metrics, evolution

    def evolve(
        self, state: State, gradient: Any, env_steps: Sequence[int], number: int
    ) -> tuple[State, Evolution]:
        """A topology evolution of every run; `state` is given away.

        Args:
            state: of all runs.
            gradient: the dense gradient of each run's last update.
            env_steps: one per run.
            number: of that update, for the random keys.
        """
        return self._evolve(state, gradient, self._axis.column(env_steps), number)

    def _evolve(
        self, state: State, gradient: Any, steps: Array, number: int
    ) -> tuple[State, Evolution]:
        keys = self._axis.keys(EVOLVE, number)
        return self._timed("evolve", self._programs.evolve)(
            state, gradient, self._method, self._budget, steps, keys
        )

    def assign(self, state: State, network_of: Sequence[Sequence[int]]) -> State:
        """The state with the agents of every run shared out among its networks anew (SePS)."""
        anew = self._axis.stacked([jnp.asarray(each, jnp.int32) for each in network_of])
        return assigned(state, anew)

    def copy_target(self, state: State) -> State:
        """The state with the target networks set to the online ones."""
        return self._timed("copy", self._programs.copy_target)(state)

    def finite(self, state: State) -> list[bool]:
        """Whether every parameter of each run is finite."""
        finite = self._timed("finite", self._programs.finite)(state)
        return np.atleast_1d(np.asarray(finite)).tolist()

    def said(self) -> list[str]:
        """What there is to say of the environment since the last call."""
        return [] if self._workers is None else self._workers.said()

    def close(self) -> None:
        """End the processes that play."""
        if self._workers is not None:
            self._workers.close()

    def of_run(self, tree: Any, run: int) -> Any:
        """One run's part of a tree of arrays."""
        return self._axis.of_run(tree, run)

    def recording_of_run(self, recording: Recording, run: int) -> Recording:
        """One run's part of a recording, whose arrays lead with time."""
        return self._axis.of_steps(recording, run)

    def networks(self, run: int) -> Mapping[str, NetworkSpec]:
        """The declarations of one run's networks, by the fields of the parameters."""
        return self._learners[run].networks

    def densities(self, state: State) -> list[float]:
        """Share of active weights of each run's online networks; it never changes."""
        return self._programs.densities(state)


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def first_programs(learner: Learner) -> tuple[Callable[..., Any], Callable[..., LearnerState]]:
    """`Learner.dense_params` and `Learner.begin`, compiled."""
    return jax.jit(learner.dense_params), jax.jit(learner.begin)


def _program_text(config: Config) -> tuple[Any, ...]:
    """The settings that all runs of one program share."""
    data = {*Method._fields, "seed", "method", "sparsity", "timeout", "targets", "preset"}
    data |= {"burn_in_fraction", "delay_fraction", "weights_from", "initial_mask", "from_run"}
    data |= {"prune_begin_fraction", "prune_end_fraction", "pruning", "allocation"}
    data |= {"initial_weights", "online_share", "online_episodes"}
    data |= {"final_learning_rate", "anneal_begin_fraction"}
    return tuple(str(value) for name, value in config if name not in data)
