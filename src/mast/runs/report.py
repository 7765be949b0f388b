"""What training reports: a round to its watcher, a row per evaluation, the summary at the end."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mast.algorithms.entry import SAMPLED
from mast.algorithms.registry import algorithm_entry
from mast.execution.account import account_of
from mast.runs.session import Session
from mast.training.evaluation import Evaluation, mean_evaluation
from mast.training.metrics import Metrics
from mast.training.run import Run


def summary(session: Session) -> dict[str, Any]:
    """What `mast train --json` and `mast resume --json` print; of several runs, the means.

    Keys: env_steps, episodes, updates, seconds, compile_seconds, env_steps_per_second,
    updates_per_second, learner_updates_per_second, win_rate, score, return, parameters,
    parameters_dense, density, flops_train_ratio, flops_inference_ratio, phases, out; None where undefined.
    Several runs in one program add `runs`, a list of what differs between them.
    """
    runs, meter = session.runs, session.meter
    costs = account_of(session.config, session.environment.spec)
    last = [run.last_evaluation for run in runs]
    several = [_of_run(run) for run in runs] if len(runs) > 1 else None
    return ({} if several is None else {"runs": several}) | {
        "env_steps": int(np.mean([run.counters.env_steps for run in runs])),
        "episodes": session.counters.episodes,
        "updates": session.counters.updates,
        "seconds": meter.seconds,
        "compile_seconds": session.engine.compile_seconds,
        "env_steps_per_second": meter.env_steps_per_second,
        "updates_per_second": meter.updates_per_second,
        "learner_updates_per_second": meter.learner_updates_per_second,
        "win_rate": _mean([None if each is None else each.win_rate for each in last]),
        "score": _mean([run.score for run in runs]),
        "return": _mean([None if each is None else each.return_ for each in last]),
        "parameters": costs.parameters,
        "parameters_dense": costs.parameters_dense,
        "density": float(np.mean(session.densities)),
        "flops_train_ratio": costs.flops_train_ratio,
        "flops_inference_ratio": costs.flops_inference_ratio,
        "phases": dict(meter.phases),
        "out": None if session.out is None else str(session.out),
    }


def evaluation_row(session: Session, place: int, evaluation: Evaluation) -> dict[str, Any]:
    """One row of metrics.csv: the means since the last evaluation."""
    run, meter = session.runs[place], session.meter
    means = meter.since_last_evaluation(place)
    if not session.environment.spec.has_win:
        means.pop("train_win_rate", None)
    if algorithm_entry(session.config.algorithm).stochastic:
        for name in SAMPLED:
            drawn = getattr(evaluation, name)
            if drawn is not None:
                means[name] = drawn
    return means | {
        "env_steps": run.counters.env_steps,
        "episodes": session.counters.episodes,
        "updates": session.counters.updates,
        "seconds": meter.seconds,
        "epsilon": run.epsilon if session.explores else None,
        "win_rate": evaluation.win_rate,
        "return": evaluation.return_,
        "episode_length": evaluation.length,
        "density": session.densities[place],
        "env_steps_per_second": meter.env_steps_per_second,
        "updates_per_second": meter.updates_per_second,
    }


def round_metrics(
    session: Session,
    row: Mapping[str, np.ndarray],
    evaluation: Evaluation | None,
    compiling: bool,
) -> Metrics:
    """One round for its watcher; of several runs, the means."""
    steps = int(np.mean([run.counters.env_steps for run in session.runs]))
    total = session.config.steps
    rate = session.meter.env_steps_per_second
    means = {name: _known_mean(values) for name, values in row.items()}
    last = [run.last_evaluation for run in session.runs]
    return Metrics(
        env_steps=steps,
        total_env_steps=total,
        episodes=session.counters.episodes,
        updates=session.counters.updates,
        epsilon=float(np.mean([run.epsilon for run in session.runs])) if session.explores else None,
        loss=means.get("loss"),
        loss_metrics={
            name: value
            for name in algorithm_entry(session.config.algorithm).metrics
            if (value := means.get(name)) is not None
        },
        gradient_norm=means.get("gradient_norm"),
        train_return=means["train_return"],
        train_win_rate=means["train_win_rate"] if session.environment.spec.has_win else None,
        train_length=means["train_length"],
        density=float(np.mean(session.densities)),
        env_steps_per_second=rate,
        updates_per_second=session.meter.updates_per_second,
        eta_seconds=None if rate is None else max(0, total - steps) / rate,
        seconds=session.meter.seconds,
        evaluation=evaluation,
        last_evaluation=mean_evaluation([each for each in last if each is not None]),
        compiling=compiling,
    )


def _known_mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _of_run(run: Run) -> dict[str, Any]:
    last = run.last_evaluation
    return {
        "seed": run.config.seed,
        "env_steps": run.counters.env_steps,
        "win_rate": None if last is None else last.win_rate,
        "score": run.score,
        "return": None if last is None else last.return_,
        "out": None if run.out is None else str(run.out),
    }


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
