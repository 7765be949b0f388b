"""How long one full QMIX update takes: dense and masked in XLA, and compact with native kernels.

    taskset -c 0 python benchmarks/update.py 3m 3s5z --widths 64 256 --sparsities 0.9 0.95

An update is: online and target networks forward, double-Q, one-step target, backward, clipping and RMSProp
over a batch of 32 episodes. All arms run in one process, in turn, with the same allocator settings; a row
holds medians. `dense` and `masked` are the project's own learner, the best dense XLA program we have.

Two kinds of batches. `played`: episodes that a fresh team really played, of different lengths, padded to the
bucket of the longest as training does; compact skips the padding. `full`: the same observations, every
episode as long as the longest, so that no arm can skip anything.
"""

import argparse
import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mast import Trainer, resolve
from mast.kernels import library
from mast.learning.algorithms.value_decomposition import Sizes
from mast.learning.compact import CompactLearner
from mast.learning.learner import Learner
from mast.learning.method import method_from_config
from mast.learning.replay import Batch, bucket, length_buckets

TABLE = Path(__file__).parent.parent / "results" / "kernels_update.csv"
BATCH = 32


def played_batch(environment: str) -> Batch:
    """A batch as training sees it, of episodes that a fresh team played."""
    config = resolve({"environment": environment, "method": "mast", "eval_interval": 10**9})
    trainer = Trainer(config)
    rounds = iter(trainer)
    while len(trainer.runs[0].ring) < 2 * BATCH:
        next(rounds)
    buckets = length_buckets(trainer.environment.spec.episode_limit)
    ring = trainer.runs[0].ring
    slots = ring.sample_indices(BATCH, 12, 128, seed=0, update=0)
    return ring.gather(slots, bucket(ring.longest(slots), buckets))


def full_batch(batch: Batch) -> Batch:
    """The batch with every step real: what lay beyond an episode's end is that episode again."""
    steps = np.asarray(batch.mask).sum(0)
    length = int(steps.max())

    def repeated(values: Any, extra: int) -> Any:
        out = np.array(values[: length + extra])
        for episode, count in enumerate(steps):
            for t in range(count + extra, length + extra):
                out[t, episode] = out[t - count, episode]
        return out

    return Batch(
        observation=repeated(batch.observation, 1),
        state=repeated(batch.state, 1),
        available=repeated(batch.available, 1),
        action=repeated(batch.action, 0),
        reward=repeated(batch.reward, 0),
        terminated=np.zeros((length, BATCH), bool),
        mask=np.ones((length, BATCH), bool),
    )


def learner_for(environment: str, batch: Batch, width: int, sparsity: float) -> Learner:
    """The project's learner with one-step targets."""
    config = resolve(
        {
            "environment": environment,
            "method": "rigl" if sparsity else "dense",
            "hidden_size": width,
            **({"sparsity": sparsity} if sparsity else {}),
        }
    )
    _, _, agents, features = batch.observation.shape
    sizes = Sizes(
        features=features,
        actions=batch.available.shape[-1],
        agents=agents,
        state=batch.state.shape[-1],
        hidden_size=width,
        mixer_embed=config.mixer_embed,
        hypernet_hidden=config.hypernet_hidden,
    )
    return Learner(config, sizes)


def xla_arm(learner: Learner, batch: Batch) -> Callable[[], Any]:
    """One update of the project's learner, and the next, and so on."""
    method = method_from_config(learner.config)
    batch_on_device = jax.device_put(batch)
    update = jax.jit(
        lambda state, batch: learner.update(state, batch, method, jnp.float32(0))[:2],
        donate_argnums=0,
    )
    held = [jax.jit(learner.init)(jax.random.key(0))]

    def run() -> Any:
        held[0], metrics = update(held[0], batch_on_device)
        return metrics.loss

    return run


def compact_arm(learner: Learner, batch: Batch, threads: int = 1) -> Callable[[], Any]:
    """The same update with kernels, from the same parameters."""
    method = method_from_config(learner.config)
    compact = CompactLearner(learner, threads)
    batch_on_device = jax.device_put(batch)
    update = jax.jit(
        lambda state, batch: compact.update(state, batch, method, jnp.float32(0)),
        donate_argnums=0,
    )
    held = [jax.jit(compact.compact)(jax.jit(learner.init)(jax.random.key(0)))]

    def run() -> Any:
        held[0], metrics = update(held[0], batch_on_device)
        return metrics.loss

    return run


class Times(NamedTuple):
    """Milliseconds of one update, medians: on the clock, and of this process's processor time."""

    wall: float
    cpu: float


def medians(arms: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Times]:
    """The times of each arm, taken in turn."""
    for name, arm in arms.items():
        losses = [float(arm()) for _ in range(2)]
        print(f"  {name}: losses {losses}", file=sys.stderr)
    wall: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, wall.values())) < 5:
        for name, arm in arms.items():
            start = time.perf_counter(), time.process_time()
            jax.block_until_ready(arm())
            wall[name].append(1e3 * (time.perf_counter() - start[0]))
            cpu[name].append(1e3 * (time.process_time() - start[1]))
    return {name: Times(float(np.median(wall[name])), float(np.median(cpu[name]))) for name in arms}


def main() -> None:
    """Measure what the command line names and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument("--batches", nargs="+", default=["played", "full"])
    parser.add_argument("--seconds", type=float, default=10.0, help="per row")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--arms", nargs="+", default=["dense", "masked", "compact"])
    arguments = parser.parse_args()
    rows = []
    for name in arguments.maps:
        environment = f"smax/{name}"
        played = played_batch(environment)
        for kind in arguments.batches:
            batch = played if kind == "played" else full_batch(played)
            for width in arguments.widths:
                for sparsity in arguments.sparsities:
                    rows.append(measure(environment, batch, kind, width, sparsity, arguments))
                    print(rows[-1])
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(
    environment: str, batch: Batch, kind: str, width: int, sparsity: float, arguments: Any
) -> dict[str, Any]:
    """One row of the table."""
    sparse_learner = learner_for(environment, batch, width, sparsity)
    dense_learner = learner_for(environment, batch, width, 0.0)
    makers = {
        "dense": lambda: xla_arm(dense_learner, batch),
        "masked": lambda: xla_arm(sparse_learner, batch),
        "compact": lambda: compact_arm(sparse_learner, batch, arguments.threads),
    }
    spent = medians({name: makers[name]() for name in arguments.arms}, arguments.seconds)
    mask = np.asarray(batch.mask)
    return {
        "map": environment.removeprefix("smax/"),
        "batch": kind,
        "steps": mask.shape[0],
        "real_steps": round(float(mask.mean()), 3),
        "width": width,
        "sparsity": sparsity,
        **{f"{name}_ms": round(times.wall, 3) for name, times in spent.items()},
        **{f"{name}_cpu_ms": round(times.cpu, 3) for name, times in spent.items()},
        "ratio": round(spent.get("dense", spent["compact"]).wall / spent["compact"].wall, 2),
        "cpu_ratio": round(spent.get("dense", spent["compact"]).cpu / spent["compact"].cpu, 2),
        "instruction_set": library.active().instruction_set.name,
        "threads": arguments.threads,
        "cores": len(os.sched_getaffinity(0)),
        "machine": _processor(),
        "commit": _commit(),
        "command": " ".join(sys.argv),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip()


if __name__ == "__main__":
    main()
