"""The device side of training: every jitted step, for one run or for several in one program."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mast.accounting.run import sizes_of
from mast.config import Config, usable_cpus
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.learning.learner import Learner, LearnerState, UpdateMetrics
from mast.learning.method import Method, method_from_config
from mast.learning.replay import Batch
from mast.learning.rules import rules_of
from mast.learning.stored import StoredBatch
from mast.learning.topology import final_counts
from mast.networks.agent import RecurrentAgent
from mast.networks.independent import IndependentAgents
from mast.sparsity.topology import Evolution
from mast.training.programs import CompactPrograms, MaskedPrograms, Programs
from mast.training.random_keys import COLLECT, EVALUATE, EVOLVE, INIT, run_key
from mast.training.rollout import JaxPlayers, Recording, Totals, Watcher, play, players_for
from mast.training.source import Source, Weights, by_path, take_over

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
        self._vmapped = vmapped
        config = configs[0]
        sizes = sizes_of(config, environment.spec)
        self.compile_seconds = 0.0
        self._seen: set[Any] = set()
        rules = rules_of(configs)
        self._learners = [Learner(each, sizes, rules) for each in configs]
        learner = self._learners[0]
        self._programs: Programs = (
            CompactPrograms(learner, config.threads or usable_cpus())
            if config.execution == "compact"
            else MaskedPrograms(learner, vmapped)
        )
        self._players = (
            JaxPlayers(environment, config.replay_dtype, over_runs=True)
            if vmapped
            else players_for(environment, config.replay_dtype)
        )
        self._method = self._stacked([method_from_config(each, rules) for each in configs])

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
        states, first_weights = [], []
        for learner, source in zip(self._learners, sources, strict=True):
            key = run_key(learner.config.seed, INIT)
            params = jax.jit(learner.dense_params)(key)
            masks = None
            if source is not None:
                counts = final_counts(params, learner.config)
                params, masks = take_over(params, source, counts, str(learner.config.from_run))
            first_weights.append(by_path(params))
            states.append(jax.jit(learner.begin)(key, params, masks))
            if not isinstance(params.agent, RecurrentAgent | IndependentAgents):
                raise UserError(
                    f"{learner.config.algorithm}: the agent is a {type(params.agent).__name__}; it must be a "
                    "RecurrentAgent or IndependentAgents (mast.networks), which a policy file can hold"
                )
        self._budget = self._stacked(
            [
                learner.budget(state.params)
                for learner, state in zip(self._learners, states, strict=True)
            ]
        )
        return self.begin(states), first_weights

    def begin(self, teams: Sequence[LearnerState]) -> State:
        """The state of all runs from that of each."""
        return self._programs.begin(self._stacked(teams))

    def team(self, state: State, run: int) -> LearnerState:
        """One run's networks, masks and optimizer as dense arrays; the inverse of `begin`."""
        return self.of_run(self._programs.team(state), run)

    def record(
        self, state: State, number: int, epsilon: Sequence[float], episodes: int
    ) -> tuple[Totals, Recording]:
        """Play and keep `episodes` episodes in every run (collection round `number`)."""
        return self._timed("record", self._players.record)(
            self._programs.agent(state),
            self._keys(COLLECT, number, episodes),
            self._column(epsilon),
        )

    def evaluate(
        self,
        state: State,
        number: int,
        episodes: int,
        at_once: int,
        watch: Watcher | None = None,
    ) -> Totals:
        """Play `episodes` greedy episodes in every run (evaluation `number`), `at_once` at a time."""
        zeros = [0.0] * len(self._configs)
        return play(
            self._players,
            self._programs.agent(state),
            self._keys(EVALUATE, number, episodes),
            self._column(zeros),
            at_once,
            watch,
        )

    def update(
        self,
        state: State,
        batches: Sequence[Batch | StoredBatch],
        env_steps: Sequence[int],
        number: int,
        evolve_now: bool,
    ) -> tuple[State, UpdateMetrics, Evolution | None]:
        """One update of every run, and where it is time the evolution; `state` is given away.

        Which program runs is decided here, on the host and from shared counters, so no compiled step
        holds a branch that a run axis could turn into both of its sides.

        Args:
            state: of all runs.
            batches: one per run, all of the same length; one in the ring where `reads_ring`.
            env_steps: one per run.
            number: of the update, for the random keys.
            evolve_now: whether an evolution follows (or replaces) this update, for all runs alike.

        Returns:
            The new state, what the update tells, and what the evolution did, if there was one.
        """
        batch = batches[0]
        if self._vmapped:
            gathered = [each for each in batches if isinstance(each, Batch)]
            batch = Batch(*(np.stack(parts) for parts in zip(*gathered, strict=True)))
        steps = self._column(env_steps)
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
            keys = self._stacked([run_key(each.seed, EVOLVE, number) for each in self._configs])
            state, evolution = self._timed("evolve", self._programs.evolve)(
                state, gradient, self._method, self._budget, steps, keys
            )
        return state, metrics, evolution

    def copy_target(self, state: State) -> State:
        """The state with the target networks set to the online ones."""
        return self._timed("copy", self._programs.copy_target)(state)

    def finite(self, state: State) -> list[bool]:
        """Whether every parameter of each run is finite."""
        finite = self._timed("finite", self._programs.finite)(state)
        return np.atleast_1d(np.asarray(finite)).tolist()

    def of_run(self, tree: Any, run: int) -> Any:
        """One run's part of a tree of arrays."""
        return jax.tree.map(lambda leaf: leaf[run], tree) if self._vmapped else tree

    def recording_of_run(self, recording: Recording, run: int) -> Recording:
        """One run's part of a recording, whose arrays lead with time."""
        if not self._vmapped:
            return recording
        return Recording(*(array[:, run] for array in recording))

    def densities(self, state: State) -> list[float]:
        """Share of active weights of each run's online networks; it never changes."""
        return self._programs.densities(state)

    def _stacked(self, parts: Sequence[Any]) -> Any:
        if not self._vmapped:
            return parts[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)

    def _column(self, numbers: Sequence[int] | Sequence[float]) -> Float[Array, "..."]:
        return jnp.asarray(numbers if self._vmapped else numbers[0], jnp.float32)

    def _keys(self, purpose: int, number: int, episodes: int) -> Key[Array, "*runs episodes"]:
        return self._stacked(
            [
                jax.random.split(run_key(each.seed, purpose, number), episodes)
                for each in self._configs
            ]
        )

    def _timed(self, what: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        if what in self._seen:
            return function

        def first_call(*args: Any) -> Any:
            start = time.perf_counter()
            result = jax.block_until_ready(function(*args))
            self.compile_seconds += time.perf_counter() - start
            self._seen.add(what)
            return result

        return first_call


def _program_text(config: Config) -> tuple[Any, ...]:
    """The settings that all runs of one program share."""
    data = {*Method._fields, "seed", "method", "sparsity", "timeout", "targets", "preset"}
    data |= {"burn_in_fraction", "delay_fraction", "weights_from", "initial_mask", "from_run"}
    data |= {"prune_begin_fraction", "prune_end_fraction", "pruning", "allocation"}
    data |= {"initial_weights", "online_share", "online_episodes"}
    return tuple(value for name, value in config if name not in data)
