"""Played results of a study, for the tests of reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study_cells import row

from mast.studies.library import find_study
from mast.studies.results import CellFiles, Result, ResultFolder
from mast.studies.study import Study

SCORES = {
    "dense": (0.9, 0.8),
    "tiny": (0.7, 0.7),
    "ss": (0.5, 0.6),
    "set": (0.6, 0.6),
    "rigl": (0.6, 0.65),
    "rlx2": (0.2, 0.1),
    "mast": (0.85, 0.8),
}


def played(study: Study, scores: Mapping[str, tuple[float, ...]], folder: str) -> list[Result]:
    """Results of a study's first seeds, by method."""
    kept = ResultFolder(Path(folder))
    results = []
    for cell in study.cells:
        known = scores.get(cell.config.method, ())
        if cell.config.seed < len(known):
            score = known[cell.config.seed]
            lines = [f"{1000 * k},{score},{20 * score}" for k in range(1, 6)]
            curve = "\n".join(["env_steps,win_rate,return", *lines]) + "\n"
            ratio = 1.0 if cell.config.method == "dense" else 0.06
            more: dict[str, Any] = {
                "environment": "SMAX (jaxmarl 0.2.0), limit 101, reward x10",
                "size_ratio": ratio,
                "flops_train_ratio": ratio,
                "versions": {"jax": "0.10.2"},
                "settings": {"execution": "masked"},
                "machine": "<EPYC>",
            }
            results.append(kept.write(cell, CellFiles(row(score, 60.0, **more), curve)))
    return results


def lite(scores: Mapping[str, tuple[float, ...]] = SCORES) -> tuple[Study, list[Result]]:
    study = find_study("table1-lite")
    return study, played(study, scores, "results/table1-lite")
