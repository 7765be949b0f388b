"""A trainer's way to disk and back: checkpoints of all its runs, and what resuming does to it."""

from dataclasses import asdict
from typing import Any, NamedTuple

from mast.config import extend_run_record
from mast.errors import UserError
from mast.execution.learner import LearnerState
from mast.learning.observed import Observed
from mast.runs.session import Session
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


def save(session: Session) -> None:
    """Write a checkpoint of every run, and its policy; nothing where they have no folder."""
    if session.out is None:
        return
    session.watch.count_evolutions()
    shared = asdict(session.counters) | {
        "seconds": session.meter.seconds,
        "rounds_since_evaluation": session.meter.rounds,
    }
    for place, run in enumerate(session.runs):
        run.check_folder()
        state = session.engine.team(session.state, place)
        if not run.counters.done:
            run.save_policy(POLICY, state, session.engine.observing.scale(place))
        assert run.store is not None
        counters = {
            "environment": session.environment.spec.identity,
            "shared": shared,
            "loop": session.loop.record(),
            "run": asdict(run.counters),
            "beside": known_files(run),
        }
        saved = SavedRun(*state, session.loop.arrays(place), session.engine.observing.of_run(place))
        run.store.save(session.counters.rounds, saved, counters, run.ring)


def restore(session: Session) -> list[Restored] | None:
    """Every run's last good checkpoint, its counters set back; nothing is written.

    Raises:
        UserError: every checkpoint is damaged, or the run was trained elsewhere.
    """
    engine = session.engine
    templates = [
        SavedRun(
            *engine.team(session.state, place),
            session.loop.arrays(place),
            engine.observing.of_run(place),
        )
        for place in range(len(session.runs))
    ]
    restored = restore_together(session.runs, templates)
    for run, found in zip(session.runs, restored or [], strict=False):
        identity = session.environment.spec.identity
        was = found.counters["environment"]
        if was != identity:
            raise UserError(f"{session.out} was trained on {was}; this environment is {identity}")
        session.notices += found.skipped
        assert session.out is not None
        session.notices += check_settings(run.config, found.counters["beside"], session.out)
        run.counters = RunCounters(**found.counters["run"])
        run.counters.done = run.counters.done and run.finished
        session.counters = Counters(**found.counters["shared"])
        session.loop.restore(found.counters["loop"])
        if not found.counters["loop"].get("whole", True):
            session.notices.append(
                "the episodes in flight are dropped: the run will not be bit-identical to one that was not "
                "stopped"
            )
    return restored


def extend(session: Session, before: int) -> None:
    """Make a new total of steps the run's own, in its config.json too.

    Args:
        session: with the new total in its configuration.
        before: the old total.

    Raises:
        UserError: more steps than that are already taken.
    """
    assert session.out is not None
    config = session.config
    steps = config.steps
    taken = max(run.counters.env_steps for run in session.runs)
    if steps < taken:
        raise UserError(f"steps = {steps}: the run has already taken {taken}")
    extend_run_record(session.out, config)
    for run in session.runs:
        if run.out is not None and run.out != session.out:
            extend_run_record(run.out, run.config)
    session.notices.append(
        f"steps {before} → {steps}: schedules that are shares of the training (drop fraction; where there "
        f"are such, T_0 = {config.burn_in_fraction * steps:.0f}, delay, pruning) now go by {steps}; the run "
        f"differs from one that was given {steps} steps at first"
    )


def take_up(session: Session, restored: list[Restored] | None) -> None:
    """Bring state and files to the checkpoint; without one the run starts again."""
    if restored is None:
        session.notices.append("no checkpoint yet: the run starts again from its config.json")
        for run in session.runs:
            session.notices += run.start_again()
        session.begin_files()
        return
    session.state = session.engine.begin([found.state.learner for found in restored])
    session.engine.observing.take_up([found.state.observed for found in restored])
    session.loop.take_up([found.state.loop for found in restored])
    session.densities = session.engine.densities(session.state)
    shared = session.counters
    session.meter = Meter(
        session.engine, len(session.runs), shared.seconds, shared.rounds_since_evaluation
    )
    for place, (run, found) in enumerate(zip(session.runs, restored, strict=True)):
        known = found.counters["beside"]
        session.notices += mend_metrics(run, known)
        others = check_policies(run, known)
        session.notices += others
        # Beside slower runs of its program a finished one plays on: its policy is not that of the state.
        if others and not (run.counters.done and len(session.runs) > 1):
            scale = session.engine.observing.scale(place)
            run.save_policy(POLICY, session.engine.team(session.state, place), scale)
        session.notices += run.forget_metrics_after(run.counters.env_steps)
