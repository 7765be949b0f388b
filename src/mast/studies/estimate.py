"""How long cells will take here: from cells that are done, else from a few measured runs. No JAX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from mast.algorithms.registry import algorithm_entry
from mast.config import Config, resolve
from mast.execution.account import account_of
from mast.studies.cell import Cell
from mast.studies.results import Result
from mast.studies.run_result import team_sizes
from mast.training.execution import settings_obstacle

MEASURED = {
    ("smax/3m", "masked"): 1_094.0,
    ("smax/2s3z", "masked"): 417.0,
    ("smax/3s5z", "masked"): 296.0,
    ("smax/3m", "compact"): 3_400.0,
}
"""Env steps per second of QMIX on one core, dense and 95 % sparse in native kernels (whole_loop.csv and
runs.csv below results/, on an EPYC); others are scaled from 3m until a cell of them is done."""
ON_POLICY = 13_000.0
"""Env steps per second of `maa2c` on lbf/lbf1 on one core (of processor time, on a busy EPYC)."""
_FORAGING = resolve({"environment": "lbf/lbf1", "algorithm": "maa2c"})
_COMPACT_FROM = 0.8
"""Sparsity from which `auto` takes the kernels, roughly: it asks a table of measured kernels."""
_START = 25.0
"""Seconds until a process has imported and compiled."""


def expects_compact(config: Config) -> bool:
    """Whether `--execution auto` will most likely take the native kernels (on a CPU with a compiler)."""
    is_sparse = config.initial_mask != "ones" or config.widths == "tiny"
    return is_sparse and config.sparsity >= _COMPACT_FROM and settings_obstacle(config) is None


class Estimator:
    """Seconds of one cell on one core.

    Args:
        done: results of cells like those asked about.
    """

    def __init__(self, done: Iterable[Result]) -> None:
        self._rates: dict[tuple[str, ...], list[float]] = {}
        self._known: dict[str, float] = {}
        for result in done:
            for kind in _kinds(result.cell.config):
                seconds = result.cpu_seconds or result.seconds  # cores may have been shared
                self._rates.setdefault(kind, []).append(seconds / result.cell.config.steps)

    def seconds(self, cell: Cell) -> float:
        """Seconds of wall time on one core: the median of cells that are most alike, else a scaled guess."""
        if cell.key not in self._known:
            self._known[cell.key] = self._estimate(cell)
        return self._known[cell.key]

    def _estimate(self, cell: Cell) -> float:
        for kind in _kinds(cell.config):
            if kind in self._rates:
                return median(self._rates[kind]) * cell.config.steps
        return _START + cell.config.steps / _guessed_rate(cell.config)


def _kinds(config: Config) -> list[tuple[str, ...]]:
    """What cells have in common that take as long per step, the most alike first."""
    which = "compact" if expects_compact(config) else "masked"
    base = (config.environment, config.algorithm, which)
    return [(*base, config.method, f"{config.sparsity:g}"), (*base, config.method), base]


def _guessed_rate(config: Config) -> float:
    """Env steps per second, scaled by the FLOPs of an update from what was measured.

    There is one update of a batch of whole episodes per episode, so the work per env step is that of as many
    samples as the batch has episodes, however long the episodes are.
    """
    if algorithm_entry(config.algorithm).loop == "on_policy":
        work, reference = _work(config), _work(_FORAGING)
        return ON_POLICY if not work or not reference else ON_POLICY * reference / work
    which = "compact" if expects_compact(config) else "masked"
    environment = config.environment if (config.environment, which) in MEASURED else "smax/3m"
    rate = MEASURED[environment, which]
    reference = _work(_reference(environment, 0.95 if which == "compact" else 0.0))
    # Half of a 3m update is not arithmetic that grows with the networks.
    work = _work(config)
    return rate if work is None or reference is None else rate / (0.5 + 0.5 * work / reference)


def _reference(environment: str, sparsity: float) -> Config:
    method = "mast" if sparsity else "dense"
    return resolve({"environment": environment, "method": method, "sparsity": sparsity})


def _work(config: Config) -> float | None:
    """FLOPs of training per env step, zeros counted where they are computed."""
    sizes = team_sizes(config)
    if sizes is None:
        return None
    flops = account_of(config, sizes).costs.flops_train
    computed = flops.sparse if expects_compact(config) or config.widths == "tiny" else flops.dense
    if algorithm_entry(config.algorithm).loop == "on_policy":
        return computed * config.epochs
    return computed * config.batch_size * config.updates_per_episode


def makespan(seconds: Sequence[int | float], slots: int) -> float:
    """Wall time of these cells, longest first, on so many cores."""
    free = [0.0] * max(1, slots)
    for each in sorted(seconds, reverse=True):
        free.sort()
        free[0] += each
    return max(free)
