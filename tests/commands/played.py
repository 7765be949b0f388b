"""A trainer that is only played, for tests of what the commands say and do around it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mast.config import Config, load_run_config, write_run_record
from mast.folders import held
from mast.training.evaluation import Evaluation
from mast.training.metrics import Metrics

EVALUATION = Evaluation(win_rate=0.5, return_=12.0, length=20.0, episodes=32)
SUMMARY = {
    "env_steps": 3000,
    "episodes": 160,
    "updates": 128,
    "seconds": 12.5,
    "compile_seconds": 3.0,
    "env_steps_per_second": 900.0,
    "updates_per_second": float("nan"),
    "learner_updates_per_second": None,
    "win_rate": 0.5,
    "score": 0.4,
    "return": 12.0,
    "parameters": 3409,
    "parameters_dense": 53417,
    "density": 0.05,
    "flops_train_ratio": 0.051,
    "flops_inference_ratio": 0.05,
}


def round_metrics(steps: int, total: int) -> Metrics:
    return Metrics(
        env_steps=steps,
        total_env_steps=total,
        episodes=8,
        updates=0,
        epsilon=1.0,
        loss=None,
        loss_metrics={},
        gradient_norm=None,
        train_return=1.0,
        train_win_rate=None,
        train_length=20.0,
        density=0.05,
        env_steps_per_second=None,
        updates_per_second=None,
        eta_seconds=None,
        seconds=1.0,
        evaluation=EVALUATION,
        last_evaluation=EVALUATION,
        compiling=False,
    )


class FakeTrainer:
    """Plays three rounds; what happens in the second is the test's."""

    made: list["FakeTrainer"] = []  # noqa: RUF012 (emptied by the fixture)
    second_round: Any = staticmethod(lambda: None)
    finished_before = False
    can_save = True

    def __init__(self, config: Config, out: Path | None = None, given: Any = None) -> None:
        print("a library greets")
        self.config, self.out, self.given = config, out, given
        self.notices = ["the ring takes 12 MiB"]
        self.finished = self.finished_before
        self.saved = 0
        self.made.append(self)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_run_record(out, config, given)

    @classmethod
    def resume(cls, path: Path, steps: int | None = None) -> "FakeTrainer":
        with held(path, print):
            trainer = cls(load_run_config(path), None, {})
        trainer.out = path
        trainer.steps = steps  # type: ignore[attr-defined]
        trainer.notices = ["a damaged checkpoint was skipped"]
        return trainer

    def __iter__(self) -> Iterator[Metrics]:
        for number in (1, 2, 3):
            if number == 2:
                type(self).second_round()
            yield round_metrics(number * 1000, 3000)
        self.finished = True

    def save(self) -> bool:
        self.saved += 1
        return self.can_save

    def close(self) -> None:
        pass

    def summary(self) -> dict[str, Any]:
        return SUMMARY | {"out": str(self.out)}


def last_json(text: str) -> dict[str, Any]:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text.splitlines()[-1], parse_constant=refuse)
