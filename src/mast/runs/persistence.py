"""A trainer's way to disk and back: checkpoints of all its runs, and what resuming does to it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from mast.config import extend_run_record
from mast.errors import UserError
from mast.execution.learner import LearnerState
from mast.learning.observed import Observed
from mast.sparsity.optimizer import SparseState
from mast.training.beside import (
    POLICY,
    check_policies,
    check_settings,
    known_files,
    mend_metrics,
)
from mast.training.checkpoint import Restored
from mast.training.counters import Counters, RunCounters
from mast.training.meter import Meter
from mast.training.run import restore_together

if TYPE_CHECKING:
    from mast.runs.trainer import Trainer


class SavedRun(NamedTuple):
    """The arrays of a checkpoint: a `LearnerState`'s, the loop's own, and what was observed."""

    params: Any
    target: Any
    optimizer: SparseState
    loop: Any
    observed: Observed | None
    """None where nothing is normalised."""

    @property
    def learner(self) -> LearnerState:
        """What learning changes."""
        return LearnerState(self.params, self.target, self.optimizer)


def save(trainer: "Trainer") -> None:
    """Write a checkpoint of every run, and its policy; nothing where they have no folder."""
    if trainer.out is None:
        return
    trainer.watch.count_evolutions()
    shared = asdict(trainer.counters) | {
        "seconds": trainer.meter.seconds,
        "rounds_since_evaluation": trainer.meter.rounds,
    }
    for place, run in enumerate(trainer.runs):
        run.check_folder()
        state = trainer.engine.team(trainer.state, place)
        if not run.counters.done:
            run.save_policy(POLICY, state, trainer.engine.observation_scale(place))
        assert run.store is not None
        counters = {
            "environment": trainer.environment.spec.identity,
            "shared": shared,
            "loop": trainer.loop.record(),
            "run": asdict(run.counters),
            "beside": known_files(run),
        }
        saved = SavedRun(*state, trainer.loop.arrays(place), trainer.engine.observed(place))
        run.store.save(trainer.counters.rounds, saved, counters, run.ring)


def restore(trainer: "Trainer") -> list[Restored] | None:
    """Every run's last good checkpoint, its counters set back; nothing is written.

    Raises:
        UserError: every checkpoint is damaged, or the run was trained elsewhere.
    """
    engine = trainer.engine
    templates = [
        SavedRun(
            *engine.team(trainer.state, place), trainer.loop.arrays(place), engine.observed(place)
        )
        for place in range(len(trainer.runs))
    ]
    restored = restore_together(trainer.runs, templates)
    for run, found in zip(trainer.runs, restored or [], strict=False):
        identity = trainer.environment.spec.identity
        was = found.counters["environment"]
        if was != identity:
            raise UserError(f"{trainer.out} was trained on {was}; this environment is {identity}")
        trainer.notices += found.skipped
        assert trainer.out is not None
        trainer.notices += check_settings(run.config, found.counters["beside"], trainer.out)
        run.counters = RunCounters(**found.counters["run"])
        run.counters.done = run.counters.done and run.finished
        trainer.counters = Counters(**found.counters["shared"])
        trainer.loop.restore(found.counters["loop"])
        if not found.counters["loop"].get("whole", True):
            trainer.notices.append(
                "the episodes in flight are dropped: the run will not be bit-identical to one that was not stopped"
            )
    return restored


def extend(trainer: "Trainer", before: int) -> None:
    """Make a new total of steps the run's own, in its config.json too.

    Args:
        trainer: with the new total in its configuration.
        before: the old total.

    Raises:
        UserError: more steps than that are already taken.
    """
    assert trainer.out is not None
    config = trainer.config
    steps = config.steps
    taken = max(run.counters.env_steps for run in trainer.runs)
    if steps < taken:
        raise UserError(f"steps = {steps}: the run has already taken {taken}")
    extend_run_record(trainer.out, config)
    for run in trainer.runs:
        if run.out is not None and run.out != trainer.out:
            extend_run_record(run.out, run.config)
    trainer.notices.append(
        f"steps {before} → {steps}: schedules that are shares of the training (drop fraction; where there "
        f"are such, T_0 = {config.burn_in_fraction * steps:.0f}, delay, pruning) now go by {steps}; the run "
        f"differs from one that was given {steps} steps at first"
    )


def take_up(trainer: "Trainer", restored: list[Restored] | None) -> None:
    """Bring state and files to the checkpoint; without one the run starts again."""
    if restored is None:
        trainer.notices.append("no checkpoint yet: the run starts again from its config.json")
        for run in trainer.runs:
            trainer.notices += run.start_again()
        trainer.begin_files()
        return
    trainer.state = trainer.engine.begin([found.state.learner for found in restored])
    trainer.engine.take_up([found.state.observed for found in restored])
    trainer.loop.take_up([found.state.loop for found in restored])
    trainer.densities = trainer.engine.densities(trainer.state)
    shared = trainer.counters
    trainer.meter = Meter(
        trainer.engine, len(trainer.runs), shared.seconds, shared.rounds_since_evaluation
    )
    for place, (run, found) in enumerate(zip(trainer.runs, restored, strict=True)):
        known = found.counters["beside"]
        trainer.notices += mend_metrics(run, known)
        others = check_policies(run, known)
        trainer.notices += others
        # Beside slower runs of its program a finished one plays on: its policy is not that of the state.
        if others and not (run.counters.done and len(trainer.runs) > 1):
            scale = trainer.engine.observation_scale(place)
            run.save_policy(POLICY, trainer.engine.team(trainer.state, place), scale)
        trainer.notices += run.forget_metrics_after(run.counters.env_steps)
