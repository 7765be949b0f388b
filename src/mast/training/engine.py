"""The device side of training: every jitted step, for one run or for several in one program."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from mast.config import Config, usable_cpus
from mast.envs.protocol import Environment, EnvironmentSpec, TimeStep
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.execution.learner import Learner, LearnerState, UpdateMetrics
from mast.execution.method import method_from_config
from mast.execution.rules import rules_of
from mast.execution.topology import final_counts
from mast.learning.method import Method
from mast.learning.observed import Observed, nothing_observed
from mast.learning.replay import Batch
from mast.learning.stored import StoredBatch
from mast.networks.agent import RecurrentAgent
from mast.networks.feed_forward import FeedForward
from mast.networks.independent import IndependentAgents
from mast.networks.normaliser import NormalisedAgent, Running, Scale
from mast.networks.sharing import assigned
from mast.sparsity.topology import Evolution
from mast.training.breaches import Breach
from mast.training.host_streams import HostStreams
from mast.training.on_policy import Advanced, act_on, advance, learn_from
from mast.training.programs import CompactPrograms, MaskedPrograms, Programs
from mast.training.random_keys import BEGIN, COLLECT, EVALUATE, EVOLVE, INIT, OBSERVE, run_key
from mast.training.rollout import (
    Players,
    Recording,
    Totals,
    Watcher,
    play,
    players_for,
)
from mast.training.saved_state import fill_template
from mast.training.source import Source, Weights, by_path, take_over
from mast.training.streams import Streams, begin_streams
from mast.training.worker import Workers
from mast.training.worker_players import WorkerPlayers

ROLLOUTS_AT_ONCE = 25
"""In one call: enough that its overhead does not count, few enough that progress is seen."""

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
        if config.execution == "compact" and sizes.lacks and sizes.lacks.types:
            raise UserError(
                f"{config.environment} draws types anew, by which sharing = {config.sharing} goes: "
                "no native kernels; use execution = masked"
            )
        self.compile_seconds = 0.0
        self._seen: set[Any] = set()
        self._advance: dict[Any, Callable[..., Any]] = {}
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
        self._observed: Observed | None = None
        self._has_observed = not config.normalise_observations
        if config.normalise_observations:
            self._observed = self.stacked([nothing_observed(environment.spec) for _ in configs])
            read = partial(_read_episodes, environment.spec, config.replay_dtype)
            self._read = jax.jit(
                jax.vmap(read, in_axes=(0, 1, 1, 0), out_axes=(1, 1, 0)) if vmapped else read
            )
        self._method = self.stacked([method_from_config(each, rules) for each in configs])

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
            params = jax.jit(learner.dense_params)(key)
            masks = None
            if source is not None:
                counts = final_counts(params, learner.config, learner.networks)
                params, masks = take_over(params, source, counts, str(learner.config.from_run))
            first_weights.append(by_path(params))
            states.append(jax.jit(learner.begin)(key, params, masks))
            if source is not None and source.observed and self._observed is not None:
                known.append(fill_template(self.of_run(self._observed, 0), source.observed))
            if not isinstance(params.agent, RecurrentAgent | IndependentAgents | FeedForward):
                raise UserError(
                    f"{learner.config.algorithm}: the agent is a {type(params.agent).__name__}; it must be a "
                    "RecurrentAgent, IndependentAgents or FeedForward (mast.networks), which a policy file "
                    "can hold"
                )
        self.take_up(known)
        self._budget = self.stacked(
            [
                learner.budget(state.params)
                for learner, state in zip(self._learners, states, strict=True)
            ]
        )
        return self.begin(states), first_weights

    def begin(self, teams: Sequence[LearnerState]) -> State:
        """The state of all runs from that of each."""
        return self._programs.begin(self.stacked(teams))

    def team(self, state: State, run: int) -> LearnerState:
        """One run's networks, masks and optimizer as dense arrays; the inverse of `begin`."""
        return self.of_run(self._programs.team(state), run)

    def record(
        self, state: State, number: int, epsilon: Sequence[float], episodes: int
    ) -> tuple[Totals, Recording]:
        """Play and keep `episodes` episodes in every run (collection round `number`).

        Where observations are normalised, the episodes are as the team saw them, and count from then on.
        """
        self._observe_first(state)
        return self._recording(self._acting(state), number, epsilon, episodes)()

    def record_beside(
        self, state: State, number: int, epsilon: Sequence[float], episodes: int
    ) -> Callable[[], tuple[Totals, Recording]]:
        """As `record`, to be called in another thread, while `state` is given away to updates."""
        self._observe_first(state)
        return self._recording(_copied(self._acting(state)), number, epsilon, episodes)

    def _recording(
        self, agent: Any, number: int, epsilon: Sequence[float], episodes: int
    ) -> Callable[[], tuple[Totals, Recording]]:
        keys, chance = self._keys(COLLECT, number, episodes), self._column(epsilon)
        play = self._timed("record", self._players.record)

        def record() -> tuple[Totals, Recording]:
            totals, recording = play(agent, keys, chance)
            recording, self._observed = self._as_read(totals, recording)
            return jax.block_until_ready((totals, recording))

        return record

    def _acting(self, state: State) -> Any:
        """The online agents as rollouts take them: given observations as they come."""
        agent = self._programs.agent(state)
        if self._observed is None:
            return agent
        of_run = jax.vmap(Running.scale) if self._vmapped else Running.scale
        return NormalisedAgent(agent, of_run(self._observed.observation))

    def _as_read(self, totals: Totals, recording: Recording) -> tuple[Recording, Observed | None]:
        """Recorded episodes as networks read them, and the statistics with them."""
        if self._observed is None:
            return recording, None
        observation, state, after = self._timed("read", self._read)(
            self._observed, recording.observation, recording.state, totals.length
        )
        return recording._replace(observation=observation, state=state), after

    def _observe_first(self, state: State) -> None:
        """Random episodes that only the statistics see: no update reads what is not normalised."""
        if self._has_observed:
            return
        self._has_observed = True
        if np.any(np.asarray(jax.tree.leaves(self._observed)[0])):
            return  # of a checkpoint, or of an earlier run
        totals, recording = self._timed("record", self._players.record)(
            self._acting(state),
            self._keys(OBSERVE, 0, self._configs[0].parallel_envs),
            self._column([1.0] * len(self._configs)),
        )
        self._observed = self._as_read(totals, recording)[1]

    def observed(self, run: int) -> Observed | None:
        """What one run has observed; None where nothing is normalised."""
        return None if self._observed is None else self.of_run(self._observed, run)

    def take_up(self, observed: Sequence[Observed | None]) -> None:
        """Go on from what each run had observed."""
        known = [each for each in observed if each is not None]
        if known:
            self._observed = self.stacked(known)

    def observation_scale(self, run: int) -> Scale | None:
        """How one run's agents read observations; None where nothing is normalised."""
        observed = self.observed(run)
        return None if observed is None else observed.scales[0]

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
            watch(totals, self._as_read(lengths, recording)[0])

        return play(
            self._players,
            self._acting(state),
            self._keys(EVALUATE, number, episodes),
            self._column(chance),
            at_once,
            None if watch is None else look,
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
        return self._evolve(state, gradient, self._column(env_steps), number)

    def _evolve(
        self, state: State, gradient: Any, steps: Array, number: int
    ) -> tuple[State, Evolution]:
        keys = self.stacked([run_key(each.seed, EVOLVE, number) for each in self._configs])
        return self._timed("evolve", self._programs.evolve)(
            state, gradient, self._method, self._budget, steps, keys
        )

    def assign(self, state: State, network_of: Sequence[Sequence[int]]) -> State:
        """The state with the agents of every run shared out among its networks anew (SePS)."""
        anew = self.stacked([jnp.asarray(each, jnp.int32) for each in network_of])
        return state._replace(
            params=assigned(state.params, anew), target=assigned(state.target, anew)
        )

    def begin_streams(self) -> Streams:
        """Every environment of every run at the start of an episode."""
        begin = partial(begin_streams, self._environment, count=self._configs[0].parallel_envs)
        over_runs = jax.vmap(begin) if self._vmapped else begin
        keys = self.stacked([run_key(each.seed, BEGIN) for each in self._configs])
        return self._timed("begin_streams", jax.jit(over_runs))(keys)

    def advance(
        self,
        state: State,
        streams: Streams,
        number: int,
        env_steps: Sequence[int],
        count: int,
        keep: bool = False,
    ) -> tuple[State, Streams, Any, Advanced]:
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
                self._learners[0],
                self._environment,
                at_most=ROLLOUTS_AT_ONCE,
                keep=keep,
            )
            axes = (0, 0, 0, 0, 0, 0, None, None)
            over_runs = jax.vmap(step, in_axes=axes) if self._vmapped else step
            self._advance[what] = jax.jit(over_runs, donate_argnums=(0, 1))
        keys = self.stacked([run_key(each.seed, COLLECT) for each in self._configs])
        state, streams, self._observed, gradient, done = self._timed(what, self._advance[what])(
            state,
            streams,
            self._observed,
            self._method,
            keys,
            self._column(env_steps),
            jnp.int32(number),
            jnp.int32(count),
        )
        if self._vmapped:  # rollouts lead
            done = jax.tree.map(lambda each: jnp.swapaxes(each, 0, 1), done)
        return state, streams, gradient, done

    def host_streams(self) -> HostStreams:
        """A Python environment as often as it is played side by side; not begun yet."""
        return HostStreams(self._configs[0], self._environment.spec, self._workers)

    def advance_on_host(
        self, state: State, streams: HostStreams, number: int, env_steps: Sequence[int]
    ) -> tuple[State, Any, Advanced]:
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
        learner, spec = self._learners[0], self._environment.spec
        config = learner.config
        if "host" not in self._advance:
            algorithm: Any = learner.entry.algorithm
            self._advance["act"] = jax.jit(partial(act_on, algorithm))
            learn = partial(learn_from, learner, spec)
            self._advance["host"] = jax.jit(learn, donate_argnums=0)
        key = jax.random.fold_in(run_key(config.seed, COLLECT), number + 1)
        play_key, learn_key = jax.random.split(key)
        act, observed = self._timed("act", self._advance["act"]), self._observed

        def on_host(key: PRNGKeyArray, seen: TimeStep) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            action, behaviour = act(state.params, observed, key, seen)
            return np.array(action), {name: np.array(each) for name, each in behaviour.items()}

        trajectory, finished = streams.roll(on_host, play_key, config.rollout_steps)
        taken = jnp.float32(env_steps[0] + config.rollout_steps * config.parallel_envs)
        learnt = self._timed("host", self._advance["host"])(
            state, observed, trajectory, self._method, taken, learn_key
        )
        self._observed = learnt.observed
        none: Any = Breach(*np.zeros(3, np.int32))
        told = Advanced(learnt.metrics, finished, none, learnt.trajectory)
        return (
            learnt.state,
            learnt.gradient,
            jax.tree.map(lambda each: np.asarray(each)[None], told),
        )

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
        return jax.tree.map(lambda leaf: leaf[run], tree) if self._vmapped else tree

    def recording_of_run(self, recording: Recording, run: int) -> Recording:
        """One run's part of a recording, whose arrays lead with time."""
        if not self._vmapped:
            return recording
        return Recording(*(array[:, run] for array in recording))

    def densities(self, state: State) -> list[float]:
        """Share of active weights of each run's online networks; it never changes."""
        return self._programs.densities(state)

    def stacked(self, parts: Sequence[Any]) -> Any:
        """One tree for all runs out of one for each; the inverse of `of_run`."""
        if not self._vmapped:
            return parts[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)

    def _column(self, numbers: Sequence[int] | Sequence[float]) -> Float[Array, "..."]:
        return jnp.asarray(numbers if self._vmapped else numbers[0], jnp.float32)

    def _keys(self, purpose: int, number: int, episodes: int) -> Key[Array, "*runs episodes"]:
        return self.stacked(
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


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _read_episodes(
    spec: EnvironmentSpec,
    dtype: str,
    observed: Observed,
    observation: Any,
    state: Any,
    lengths: Any,
) -> tuple[Array, Array, Observed]:
    """Whole episodes as networks read them, in the ring's type, and the statistics with them."""
    of_observation, of_state = observed.scales
    after = observed.after_episodes(spec, observation, state, lengths)
    return of_observation(observation).astype(dtype), of_state(state).astype(dtype), after


def _program_text(config: Config) -> tuple[Any, ...]:
    """The settings that all runs of one program share."""
    data = {*Method._fields, "seed", "method", "sparsity", "timeout", "targets", "preset"}
    data |= {"burn_in_fraction", "delay_fraction", "weights_from", "initial_mask", "from_run"}
    data |= {"prune_begin_fraction", "prune_end_fraction", "pruning", "allocation"}
    data |= {"initial_weights", "online_share", "online_episodes"}
    return tuple(str(value) for name, value in config if name not in data)
