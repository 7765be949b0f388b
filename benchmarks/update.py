"""How long one full QMIX update takes: dense and masked in XLA, and compact with native kernels.

    taskset -c 0 python benchmarks/update.py 3m 3s5z --widths 64 256 --sparsities 0.9 0.95

An update is: online and target networks forward, double-Q, one-step target, backward, clipping and RMSProp
over a batch of 32 episodes; all arms are the project's own learners, and `dense` is the best dense XLA
program we have. Arms that share map, batch and width run in one process, in turn, with the same allocator
settings. They take turns in blocks of some updates, as a training consists of like updates too: the first
one after another arm's pays for what that left behind (caches, freed buffers, threads that still spin), and
the median leaves it out. A row holds medians of all updates of an arm.

Two kinds of batches. `played`: episodes that a fresh team really played, of different lengths, padded to the
bucket of the longest as training does; compact skips the padding. `full`: the same observations, every
episode as long as the longest, so that no arm can skip anything.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from machine import commit, processor

from mast import Trainer, resolve
from mast.configuration.record import without_folder
from mast.execution.compact import CompactLearner
from mast.execution.learner import Learner, LearnerState
from mast.execution.method import method_from_config
from mast.kernels import library
from mast.learning.replay import Batch, bucket, length_buckets
from mast.networks.sharing import assigned
from mast.networks.spec import Sizes

TABLE = Path(__file__).parent.parent / "results" / "kernels_update.csv"
BATCH = 32
COLUMNS = (
    *("map", "batch", "steps", "real_steps", "width", "sparsity"),
    *(f"{arm}_{unit}" for unit in ("ms", "cpu_ms") for arm in ("dense", "masked", "compact")),
    *("ratio", "cpu_ratio", "instruction_set", "threads", "cores", "machine", "commit", "command"),
)


def played_batch(environment: str) -> Batch:
    """A batch as training sees it, of episodes that a fresh team played."""
    settings = {"method": "mast", "execution": "masked", "eval_interval": 10**9}
    config = resolve({"environment": environment} | settings)
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
        observation=features,
        actions=batch.available.shape[-1],
        agents=agents,
        state=batch.state.shape[-1],
        hidden_size=width,
        mixer_embed=config.mixer_embed,
        hypernet_hidden=config.hypernet_hidden,
    )
    return Learner(config, sizes)


def first_state(learner: Learner) -> LearnerState:
    """Where every arm begins; agents of SePS are dealt out to its networks in turn."""
    state: LearnerState = jax.jit(learner.init)(jax.random.key(0))
    agent = learner.networks["agent"]
    if not agent.clustered:
        return state
    network_of = jnp.arange(agent.users) % agent.copies
    return assigned(state, network_of)


def xla_arm(learner: Learner, batch: Batch) -> Callable[[], Any]:
    """One update of the project's learner, and the next, and so on."""
    method = method_from_config(learner.config)
    batch_on_device = jax.device_put(batch)
    update = jax.jit(
        lambda state, batch: learner.update(state, batch, method, jnp.float32(0))[:2],
        donate_argnums=0,
    )
    held = [first_state(learner)]

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
    held = [compact.compact(first_state(learner))]

    def run() -> Any:
        held[0], metrics = update(held[0], batch_on_device)
        return metrics.loss

    return run


class Times(NamedTuple):
    """Milliseconds of one update, medians: on the clock, and of this process's processor time."""

    wall: float
    cpu: float


def medians(arms: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Times]:
    """The times of each arm, taken in turn, in blocks of a tenth of a second but at least two updates."""
    blocks = {}
    for name, arm in arms.items():
        losses = [float(arm()) for _ in range(2)]
        print(f"  {name}: losses {losses}", file=sys.stderr)
        start = time.perf_counter()
        jax.block_until_ready(arm())
        blocks[name] = int(np.clip(0.1 / (time.perf_counter() - start), 2, 32))
    wall: dict[str, list[float]] = {name: [] for name in arms}
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, wall.values())) < 5:
        for name, arm in arms.items():
            for _ in range(blocks[name]):
                start, spent = time.perf_counter(), time.process_time()
                jax.block_until_ready(arm())
                wall[name].append(1e3 * (time.perf_counter() - start))
                cpu[name].append(1e3 * (time.process_time() - spent))
    return {name: Times(float(np.median(wall[name])), float(np.median(cpu[name]))) for name in arms}


def main() -> None:
    """Measure what the command line names; rows are added to the table as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.9, 0.95])
    parser.add_argument("--batches", nargs="+", default=["played", "full"])
    parser.add_argument("--seconds", type=float, default=10.0, help="per map, batch and width")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--add", action="store_true", help="keep the rows that the table has")
    arguments = parser.parse_args()
    started = arguments.add and arguments.out.exists()
    with arguments.out.open("a" if started else "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not started:
            writer.writeheader()
        for name in arguments.maps:
            environment = f"smax/{name}"
            played = played_batch(environment)
            for kind in arguments.batches:
                batch = played if kind == "played" else full_batch(played)
                for width in arguments.widths:
                    for row in measure(environment, batch, width, arguments):
                        writer.writerow({"map": name, "batch": kind, **row})
                        print(row)
                    file.flush()


def measure(environment: str, batch: Batch, width: int, arguments: Any) -> list[dict[str, Any]]:
    """The rows of one map, batch and width: one for each sparsity, beside one dense and one masked arm."""
    sparsities = arguments.sparsities
    arms = {"dense": xla_arm(learner_for(environment, batch, width, 0.0), batch)}
    arms["masked"] = xla_arm(learner_for(environment, batch, width, sparsities[-1]), batch)
    for sparsity in sparsities:
        learner = learner_for(environment, batch, width, sparsity)
        arms[f"compact {sparsity}"] = compact_arm(learner, batch, arguments.threads)
    spent = medians(arms, arguments.seconds)
    dense, masked = spent["dense"], spent["masked"]
    steps = np.asarray(batch.mask)
    rows = []
    for sparsity in sparsities:
        compact = spent[f"compact {sparsity}"]
        rows.append(
            {
                "steps": steps.shape[0],
                "real_steps": round(float(steps.mean()), 3),
                "width": width,
                "sparsity": sparsity,
                "dense_ms": round(dense.wall, 3),
                "masked_ms": round(masked.wall, 3),
                "compact_ms": round(compact.wall, 3),
                "dense_cpu_ms": round(dense.cpu, 3),
                "masked_cpu_ms": round(masked.cpu, 3),
                "compact_cpu_ms": round(compact.cpu, 3),
                "ratio": round(dense.wall / compact.wall, 2),
                "cpu_ratio": round(dense.cpu / compact.cpu, 2),
                "instruction_set": library.active().instruction_set.name,
                "threads": arguments.threads,
                "cores": len(os.sched_getaffinity(0)),
                "machine": processor(),
                "commit": commit(),
                "command": " ".join(map(without_folder, sys.argv)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
