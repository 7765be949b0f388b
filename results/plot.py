"""Draw the learning curves of results/: one picture per map, one line per method (mean over seeds)."""

import csv
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mast.studies.report.style import COLOURS

HERE = Path(__file__).parent
HEURISTIC = {"smax/3m": 0.52, "smax/2s3z": 0.48}
"""Win rate of SMAX's own heuristic against itself, 128 episodes."""
WINDOW = 5
"""Evaluations in the running mean that is drawn over the single ones."""


def curve(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Env steps and win rate of each evaluation of a run."""
    with (HERE / "curves" / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps, wins = ([float(row[key]) for row in rows] for key in ("env_steps", "win_rate"))
    return np.array(steps), np.array(wins)


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over the last `WINDOW` values."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    return np.array(
        [
            (sums[i + 1] - sums[max(0, i + 1 - WINDOW)]) / min(i + 1, WINDOW)
            for i in range(len(values))
        ]
    )


def draw(environment: str, runs: list[dict[str, str]]) -> Path:
    """One picture: thin lines are seeds, thick ones their mean."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    groups = defaultdict(list)
    for run in runs:
        groups[run["method"], float(run["sparsity"])].append(run)
    for (method, sparsity), seeds in sorted(
        groups.items(), key=lambda item: list(COLOURS).index(item[0][0])
    ):
        curves = [curve(run["name"]) for run in seeds]
        shortest = min(len(steps) for steps, _ in curves)
        lines = np.array([smooth(wins[:shortest]) for _, wins in curves])
        steps = np.mean([steps[:shortest] for steps, _ in curves], axis=0) / 1e6
        for own_steps, wins in curves:
            axes.plot(
                own_steps / 1e6, smooth(wins), color=COLOURS[method], linewidth=0.7, alpha=0.6
            )
        label = method if method == "dense" else f"{method}, {sparsity:.0%} sparse"
        if int(seeds[0]["env_steps"]) < int(seeds[0]["steps"]):
            label += f", stopped at {steps[-1]:.1f}M"
        scores = ", ".join(f"{float(run['score']):.2f}" for run in seeds)
        axes.plot(
            steps,
            lines.mean(0),
            color=COLOURS[method],
            linewidth=2,
            label=f"{label} (score {scores})",
        )
    axes.axhline(HEURISTIC[environment], color="#555555", linestyle=":", label="SMAX's heuristic")
    axes.set(
        xlabel="environment steps (millions)",
        ylabel=f"greedy win rate (mean of {WINDOW} evaluations)",
        title=f"QMIX on {environment} (SMAX of jaxmarl {runs[0]['jaxmarl']}, not SMAC)",
        ylim=(0, 1),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    path = HERE / f"curves-{environment.replace('/', '-')}.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def main() -> None:
    """Draw every map that has runs."""
    with (HERE / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for environment in HEURISTIC:
        runs = [row for row in rows if row["environment"] == environment]
        if runs:
            print(draw(environment, runs))


if __name__ == "__main__":
    main()
