"""Playing beside learning: one round apart, a pure function of the seed, resumed bit for bit."""

from pathlib import Path
from typing import Any

import pytest

from kernels.cases import needs_kernels
from mast.config import resolve
from mast.errors import EnvironmentFailure, UserError
from mast.runs.trainer import Trainer
from training.small_runs import SMALL, assert_resumed_bit_for_bit

pytestmark = pytest.mark.usefixtures("shared_programs")

PIPELINE = SMALL | {"pipeline": True, "steps": 1200}


@needs_kernels
def test_a_pipelined_run_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    given = PIPELINE | {"execution": "compact"}
    assert_resumed_bit_for_bit(given, tmp_path, 700)


def test_updates_see_the_rounds_before() -> None:
    config = resolve(PIPELINE | {"execution": "masked"})
    trainer = Trainer(config)
    run, engine = trainer.runs[0], trainer.engine
    update, seen = engine.update, []

    def watched(*arguments: Any) -> Any:
        seen.append((trainer.counters.rounds, len(run.ring)))
        return update(*arguments)

    engine.update = watched  # type: ignore[method-assign]
    trainer.run()
    assert seen
    assert all(stored == rounds * config.parallel_envs for rounds, stored in seen)
    # All that is due is made, but for the last round's, which nobody plays with.
    assert len(seen) == trainer.counters.updates
    warm = seen[0][0]
    assert len(seen) == (trainer.counters.rounds - warm) * config.parallel_envs


def test_what_was_learnt_is_saved_where_the_environment_fails(tmp_path: Path) -> None:
    """The state that the failing round was given is gone by then."""
    given = PIPELINE | {"execution": "masked"}
    trainer = Trainer(resolve(given), tmp_path / "run", given=given)
    rounds = iter(trainer)
    while trainer.counters.updates < 30:
        next(rounds)
    engine, made = trainer.engine, trainer.counters.updates

    def failing(*arguments: Any) -> Any:
        def play() -> Any:
            raise EnvironmentFailure("the simulator is gone")

        return play

    engine.record_beside = failing  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFailure, match=r"simulator is gone; .*checkpoint"):
        next(rounds)
    resumed = Trainer.resume(tmp_path / "run")
    rounds_before = resumed.counters.rounds
    assert resumed.counters.updates == made + trainer.config.parallel_envs
    next(iter(resumed))  # what the failing round had learnt is not learnt again
    assert resumed.counters.updates == made + trainer.config.parallel_envs
    assert resumed.counters.rounds == rounds_before + 1
    resumed.run()
    several = resumed.counters.rounds - rounds_before
    assert resumed.counters.updates == made + trainer.config.parallel_envs * several


def test_on_policy_learning_has_no_pipeline() -> None:
    with pytest.raises(
        UserError, match="pipeline = true: maa2c learns from what it has just played"
    ):
        resolve({"environment": "lbf/lbf1", "algorithm": "maa2c", "pipeline": True})
