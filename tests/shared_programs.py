"""Compiled programs that the trainers of a test module share.

Every `Trainer` makes jitted functions of its own, which JAX traces and compiles again. Most tests of a
module train the same small team a second time, from a checkpoint or with another seed, so they spend their
time compiling what the module has compiled already. Here the second engine takes the functions of the first
wherever one program could hold both runs: by what `Engine` itself says of runs that one program trains.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from mast.config import Config
from mast.execution.learner import Learner
from mast.training import engine
from mast.training.engine import first_programs
from mast.training.programs import CompactPrograms, MaskedPrograms
from mast.training.rolling import Rolling
from mast.training.rollout import Players, players_for

ON_THE_HOST = (
    *("steps", "eval_interval", "eval_episodes", "checkpoint_interval", "diagnostics"),
    *("snapshots", "evolve_interval", "target_interval", "epsilon_steps", "buffer_episodes"),
    *("updates_per_episode", "window_interval", "window_floor", "window_threshold"),
)
"""Settings that only the host loop reads, or that programs are given as numbers."""


def _text(config: Config) -> tuple[Any, ...]:
    return engine._program_text(config.model_copy(update=dict.fromkeys(ON_THE_HOST)))


def _start_text(config: Config) -> str:
    """All that a run's first state may depend on beside its seed."""
    return repr(config.model_copy(update=dict.fromkeys([*ON_THE_HOST, "seed"])))


def _learner_key(learner: Learner) -> tuple[Any, ...]:
    rules = tuple((name, id(rule)) for each in learner.rules or () for name, rule in each.items())
    return (_text(learner.config), repr(learner.sizes), rules)


def _environment_key(environment: Any) -> tuple[Any, ...]:
    """Two environments are one where their class and all that they hold read the same."""
    return (type(environment), repr(sorted(vars(environment).items(), key=lambda each: each[0])))


@contextlib.contextmanager
def shared_programs() -> Iterator[None]:
    """Within, engines share what is compiled; what is kept is kept alive, so that no id comes twice."""
    kept: dict[Any, Any] = {}

    def once(key: Any, make: Callable[[], Any], *alive: Any) -> Any:
        if key not in kept:
            kept[key] = (make(), alive)
        return kept[key][0]

    def masked(learner: Learner, vmapped: bool) -> MaskedPrograms:
        key = ("masked", _learner_key(learner), vmapped)
        return once(key, lambda: MaskedPrograms(learner, vmapped), learner)

    def compact(learner: Learner, threads: int) -> CompactPrograms:
        key = ("compact", _learner_key(learner), threads)
        return once(key, lambda: CompactPrograms(learner, threads), learner)

    def first(learner: Learner) -> tuple[Any, Any]:
        networks = (repr(learner.sizes), id(learner.entry))
        dense_params, begin = first_programs(learner)
        alive = (learner, learner.entry)
        key = ("begin", _start_text(learner.config), *networks)
        return (
            once(("dense_params", *networks), lambda: dense_params, *alive),
            once(key, lambda: begin, *alive),
        )

    def players(environment: Any, store_dtype: Any, over_runs: bool = False) -> Players:
        if not environment.spec.is_jax:
            return players_for(environment, store_dtype, over_runs)
        key = ("players", _environment_key(environment), str(store_dtype), over_runs)
        return once(key, lambda: players_for(environment, store_dtype, over_runs), environment)

    def rolling(learner: Learner, method: Any, environment: Any, axis: Any, *rest: Any) -> Rolling:
        rolled = Rolling(learner, method, environment, axis, *rest)
        if environment.spec.is_jax:
            runs = len(axis.configs) if axis.vmapped else None
            key = ("rolling", _learner_key(learner), _environment_key(environment), runs)
            rolled._advance = once(key, dict, learner, environment)
        return rolled

    with mock.patch.multiple(
        engine,
        MaskedPrograms=masked,
        CompactPrograms=compact,
        first_programs=first,
        players_for=players,
        Rolling=rolling,
    ):
        yield
