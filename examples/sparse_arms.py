"""What the sparse examples share: their arms (dense, RigL, SRigL), several seeds of each, and a table."""

import argparse
import csv
import importlib.metadata
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from mast.configuration.record import processor
from mast.sparsity import SparseOptimizer, compact, sparsify

SMALL = 0.95
"""The small dense network has as many numbers as one of this sparsity."""


class Arm(NamedTuple):
    """One way to train: RigL evolves any weights, SRigL a constant fan-in."""

    name: str
    sparsity: float = 0.0
    pattern: str = "unstructured"
    size_of: float = 0.0
    """A dense network so narrow that it has as many numbers as one of this sparsity; 0 for the full width."""

    @property
    def label(self) -> str:
        """For tables."""
        share = self.sparsity or self.size_of
        return f"{self.name} {share:.0%}" if share else self.name


class Result(NamedTuple):
    """Of one run."""

    score: float
    seconds: float
    """Processor time of the training, without compilation and evaluation."""
    compile_seconds: float
    """Processor time until everything was compiled."""
    weights: int


def network_of(arm: Arm, inputs: int, outputs: int, width: int, key: PRNGKeyArray) -> eqx.nn.MLP:
    """An MLP with two hidden layers, not sparse yet."""

    def numbers(width: int, density: float = 1.0) -> float:
        return density * width * (inputs + width + outputs) + 2 * width + outputs

    if arm.size_of:
        most = numbers(width, 1 - arm.size_of)
        width = max(each for each in range(1, width) if numbers(each) <= most)
    return eqx.nn.MLP(inputs, outputs, width, depth=2, key=key)


def sparse_and_compact(
    arm: Arm,
    network: Any,
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    steps: str = "flat",
) -> tuple[Any, optax.GradientTransformation, Any]:
    """The network of an arm with its active weights only, its optimizer and that one's state.

    `steps` is that of `sparsify`.
    """
    if arm.sparsity:
        network, optimizer = sparsify(
            network, optimizer, arm.sparsity, key=key, pattern=arm.pattern, steps=steps
        )
        masks = optimizer.init(eqx.filter(network, eqx.is_inexact_array)).masks
        network = compact(network, masks, threads=1)
    return network, optimizer, optimizer.init(eqx.filter(network, eqx.is_inexact_array))


def weights_of(network: Any) -> int:
    """How many numbers are not zero; a layer with more than 30 % of its weights is stored with its zeros."""
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    return sum(int(jnp.count_nonzero(leaf)) for leaf in leaves)


def arms(sparsities: Sequence[float]) -> list[Arm]:
    """Dense, a dense one as small as a sparse one, then both sparse ones at each sparsity."""
    found = [Arm("dense"), Arm("small dense", size_of=SMALL)]
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
            if asked.csv:
                record(asked.csv, arm, seed, results[arm][-1])
    print(f"\n{'arm':15} {'weights':>9} {score:>18} {'seconds':>8} {'compiling':>9}")
    for arm, runs in results.items():
        scores = [run.score for run in runs]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        print(
            f"{arm.label:15} {runs[0].weights:9,} {statistics.mean(scores):9.1f} ± {spread:6.1f} "
            f"{statistics.median(run.seconds for run in runs):8.1f} "
            f"{statistics.median(run.compile_seconds for run in runs):9.1f}"
        )


def record(path: Path, arm: Arm, seed: int, run: Result) -> None:
    """Adds the row of a run to a table."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(describe, capture_output=True, text=True, cwd=Path(__file__).parent)
    where = {"commit": commit.stdout.strip(), "machine": processor()}
    where |= {name: importlib.metadata.version(name) for name in ("jax", "equinox", "optax")}
    row = {"arm": arm.label, **arm._asdict(), "seed": seed, **run._asdict(), **where}
    del row["name"]
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        table = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            table.writeheader()
        rounded = {name: round(it, 4) if isinstance(it, float) else it for name, it in row.items()}
        table.writerow(rounded)


def evolving(optimizer: optax.GradientTransformation) -> bool:
    """Whether an arm's optimizer is a sparse one."""
    return isinstance(optimizer, SparseOptimizer)
