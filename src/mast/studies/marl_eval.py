"""A study's results in the format of marl-eval (Gorsane et al. 2022), for its plots and tables. No JAX.

    {environment: {task: {algorithm: {run: {"step_0": {...}, ..., "absolute_metrics": {...}}}}}}

Each step has `step_count`, `elapsed_time` and the metrics as lists of one number; `absolute_metrics` has the
score, the mean of the last 20 evaluations (marl-eval means the best policy over more episodes, which no study
plays).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mast.studies.groups import Panel
from mast.studies.results import Result
from mast.training.statistics import SCORE_WINDOW

METRICS = ("win_rate", "return", "sampled_return")
"""The columns of a curve that are evaluations' results; a result's number is the score of one of them."""


def marl_eval_data(panels: Iterable[Panel]) -> dict[str, Any]:
    """The nested dictionary of all panels, ready for JSON.

    Runs of different seeds are `seed_K`. An algorithm is called ALGORITHM_METHOD with its arm, so that it has
    the same name on every map.
    """
    data: dict[str, Any] = {}
    for panel in panels:
        environment, _, task = panel.environment.rpartition("/")
        names = panel.names
        tasks = data.setdefault(_key(environment or "own"), {}).setdefault(_key(task), {})
        for group in panel.groups:
            runs = tasks.setdefault(_key(f"{panel.algorithm}_{names[group.label]}"), {})
            for result in group.results:
                runs[f"seed_{result.cell.config.seed}"] = _run(result)
    return data


def _run(result: Result) -> dict[str, Any]:
    curve = result.curve
    metrics = [name for name in METRICS if np.isfinite(curve.get(name, np.nan)).any()]
    run: dict[str, Any] = {
        f"step_{number}": {
            "step_count": int(steps),
            "elapsed_time": float(curve["seconds"][number]) if "seconds" in curve else 0.0,
            **{name: [float(curve[name][number])] for name in metrics},
        }
        for number, steps in enumerate(curve["env_steps"])
    }
    run["absolute_metrics"] = {
        name: [float(np.mean(curve[name][-SCORE_WINDOW:]))] for name in metrics
    }
    return run


def _key(text: str) -> str:
    """Lower case with underscores, as marl-eval wants it."""
    return "_".join(text.lower().replace(",", " ").replace("%", "").split())
