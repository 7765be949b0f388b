"""A session: the parts of one training, put together from its settings, before anything is played or read."""

from pathlib import Path

from mast.algorithms.registry import algorithm_entry
from mast.config import Config, seed_configs, thread_notices
from mast.configuration.checks import PRUNING, check_loop
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.execution.account import size_notices
from mast.execution.environment import environment_of, with_rewards
from mast.extras import events_notice
from mast.loops import Loop, loop_of
from mast.loops.host_on_policy import HostOnPolicyLoop
from mast.runtime import prepare
from mast.training.counters import Counters
from mast.training.engine import Engine, State
from mast.training.execution import execution_in
from mast.training.memory import check_needed_memory
from mast.training.meter import Meter
from mast.training.run import Run
from mast.training.source import check_sizes, load_source, save_initial_weights
from mast.training.watch import Watch


class Session:
    """What a training consists of; `Trainer` runs it, checkpoints and reports read it.

    Args:
        config: resolved settings.
        out: the run's folder; None writes nothing.
        environment: an environment object; made from `config.environment` where None.
        chosen: whether the execution was chosen by the settings alone, and gives way to the environment.

    Raises:
        UserError: the environment and the settings do not fit, or the replay ring does not fit in memory.
    """

    state: State
    engine: Engine
    loop: Loop

    def __init__(
        self,
        config: Config,
        out: Path | None,
        environment: Environment | None,
        chosen: bool = False,
    ) -> None:
        prepare()
        self.config = config
        self.out = out
        self.notices = thread_notices(config)
        if out is not None:
            self.notices += events_notice()
        self.environment = (
            environment_of(config) if environment is None else with_rewards(environment, config)
        )
        spec = self.environment.spec
        if chosen:
            config = self.config = execution_in(config, spec)
        several = config.seeds > 1
        if config.env_workers and (spec.is_jax or environment is not None):
            why = "an object of this process" if environment is not None else "a JAX environment"
            raise UserError(f"env_workers = {config.env_workers}: {spec.id} is {why}; must be 0")
        loop = algorithm_entry(config.algorithm).loop
        try:
            check_loop(config, loop)
        except ValueError as error:
            raise UserError(str(error)) from None
        if not spec.is_jax and loop == "on_policy" and environment is not None:
            raise UserError(
                f"algorithm = {config.algorithm}: {spec.id} is one object of this process, and it plays "
                "parallel_envs of them side by side; name the environment instead"
            )
        if config.normalise_observations and config.sharing in PRUNING and spec.type_features:
            raise UserError(
                f"normalise_observations = true: with sharing = {config.sharing} agents of {spec.id} read "
                "their types from observations as they come; must be false"
            )
        if several and config.placement == "process":
            raise UserError("placement = process: only the command line starts processes; use vmap")
        if several and not spec.is_jax:
            raise UserError(f"placement = vmap: {spec.id} is no JAX environment, use process")
        configs = seed_configs(config) if several else [config]
        self.notices += size_notices(config, spec)
        needed = check_needed_memory(config, spec, len(configs))
        self.notices += [] if needed is None else [needed]
        folders = [out / f"seed-{c.seed}" if out and several else out for c in configs]
        self.runs = [Run(c, spec, folder) for c, folder in zip(configs, folders, strict=True)]
        self.counters = Counters()
        self.engine = Engine(configs, self.environment, several)
        begun = any(run.has_checkpoint for run in self.runs)
        if not begun:
            check_sizes(config, spec)
        sources = [None if begun else load_source(each) for each in configs]
        self.state, self._first_weights = self.engine.init(sources)
        self.watch = Watch(self.engine, self.runs)
        make_loop = loop_of(loop, spec.is_jax)
        self.loop = make_loop(config, self.engine, self.runs, self.watch, spec.episode_limit)
        if out is not None and isinstance(self.loop, HostOnPolicyLoop):
            self.notices += self.loop.notices
        self.densities = self.engine.densities(self.state)
        self.meter = Meter(self.engine, len(configs))

    @property
    def finished(self) -> bool:
        """Whether every run has taken all its environment steps."""
        return all(run.finished for run in self.runs)

    @property
    def explores(self) -> bool:
        """Whether some actions are random, by ε; a policy's are drawn from it."""
        return not algorithm_entry(self.config.algorithm).stochastic

    def begin_files(self) -> None:
        """Write what stands before training: each run's dense weights (for `--rewind`) and its first mask."""
        for run, weights in zip(self.runs, self._first_weights, strict=True):
            run.check_folder()
            if run.out is not None:
                save_initial_weights(run.out, weights)
        self.watch.begin(self.state)
