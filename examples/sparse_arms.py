"""What the sparse examples share: their arms (dense, RigL, SRigL), several seeds of each, and a table."""

import argparse
import csv
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from mast.sparsity import SparseOptimizer, compact, sparsify


class Arm(NamedTuple):
    """One way to train: RigL evolves any weights, SRigL a constant fan-in."""

    name: str
    sparsity: float = 0.0
    pattern: str = "unstructured"

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.name} {self.sparsity:.0%}" if self.sparsity else self.name


class Result(NamedTuple):
    """Of one run."""

    score: float
    seconds: float
    """Processor time of the training, without compilation and evaluation."""
    weights: int


def sparse_and_compact(
    arm: Arm, network: Any, optimizer: optax.GradientTransformation, key: PRNGKeyArray
) -> tuple[Any, optax.GradientTransformation, Any]:
    """The network of an arm with its active weights only, its optimizer and that one's state."""
    if arm.sparsity:
        network, optimizer = sparsify(
            network, optimizer, arm.sparsity, key=key, pattern=arm.pattern
        )
        masks = optimizer.init(eqx.filter(network, eqx.is_inexact_array)).masks
        network = compact(network, masks, threads=1)
    return network, optimizer, optimizer.init(eqx.filter(network, eqx.is_inexact_array))


def weights_of(network: Any) -> int:
    """How many numbers are not zero; a layer with more than 30 % of its weights is stored with its zeros."""
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    return sum(int(jnp.count_nonzero(leaf)) for leaf in leaves)


def arms(sparsities: Sequence[float]) -> list[Arm]:
    """Dense, then both sparse ones at each sparsity."""
    found = [Arm("dense")]
    for sparsity in sparsities:
        found += [Arm("RigL", sparsity), Arm("SRigL", sparsity, "fan-in")]
    return found


def compare(about: str, score: str, train: Callable[[Arm, int], Result]) -> None:
    """Train what the command line asks for, print a table, and write a row for each run where it says so.

    Args:
        about: of the example, for its help.
        score: what a result's score is.
        train: an arm with a seed.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--sparsities", type=float, nargs="*", default=(0.9, 0.95, 0.98))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--csv", type=Path, help="a row for each run")
    asked = parser.parse_args()
    every_arm = arms(asked.sparsities)
    results: dict[Arm, list[Result]] = {arm: [] for arm in every_arm}
    for seed in asked.seeds:  # arms in turn: what else the machine does meets all of them
        for arm in every_arm:
            results[arm].append(train(arm, seed))
            print(f"{arm.label} with seed {seed}: {results[arm][-1]}", flush=True)
    print(f"\n{'arm':12} {'weights':>9} {score:>18} {'seconds':>8}")
    for arm, runs in results.items():
        scores = [run.score for run in runs]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(
            f"{arm.label:12} {runs[0].weights:9,} {statistics.mean(scores):9.1f} ± {spread:6.1f} "
            f"{statistics.median(run.seconds for run in runs):8.1f}"
        )
    if asked.csv:
        with asked.csv.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("arm", "sparsity", "pattern", "seed", "weights", "score", "seconds"))
            for arm, runs in results.items():
                for seed, run in zip(asked.seeds, runs, strict=True):
                    numbers = run.weights, round(run.score, 4), round(run.seconds, 2)
                    table.writerow((*arm, seed, *numbers))


def evolving(optimizer: optax.GradientTransformation) -> bool:
    """Whether an arm's optimizer is a sparse one."""
    return isinstance(optimizer, SparseOptimizer)
