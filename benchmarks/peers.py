"""The whole training loop against peers: ours dense and sparse, JaxMARL's QMIX, and a learner in PyTorch.

    make bench-peers JAXMARL=path/to/JaxMARL

Every arm is a process of its own, so that none inherits another's heap, threads or garbage; only one works
at a time. They take turns in *blocks* of about `--updates` updates. A row holds medians over its blocks; a
ratio is the median of the ratios to the dense arm's block of the same turn. Beside wall time there is the
processor time of the arm's process, all its threads: on a machine that others use, too, only that means
something (it still grows a little where they take caches and memory bandwidth; `load` is the machine's).

Equal in all arms: SMAX of the installed jaxmarl, hidden 64, mixer 32, hypernetworks 64, batches of 32,
room for 5000 episodes, 8 environments side by side, one update per episode, targets copied now and then,
glibc's allocator told to keep freed memory (`mast.runtime.prepare`). ε stays 1, so that our arms play the
same stream of episodes and do the same work, whatever they learn; actions are computed all the same.
Nothing is evaluated or saved. What an arm does per environment step and per update stands in `WHAT` and in
its row.
"""

import argparse
import csv
import importlib.metadata
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

from machine import commit, processor

TABLE = Path(__file__).parent.parent / "results" / "peers.csv"
JAXMARL_STEPS = 128
"""The length of its sequences in JaxMARL's own settings for SMAX."""
LOSS_TOLERANCE = 1e-4

OURS: dict[str, dict[str, Any]] = {
    "dense": {"method": "dense", "execution": "masked"},
    "mast-masked": {"method": "mast", "sparsity": 0.95, "execution": "masked"},
    "mast-compact": {"method": "mast", "sparsity": 0.95, "execution": "compact"},
    "torch": {"method": "dense", "execution": "masked"},
}
_OUR_STEP = (
    "whole episodes of 8 environments until the last ends, one acting pass each, float16 ring"
)
WHAT = {
    "dense": (_OUR_STEP, "32 episodes padded to 1 of 4 lengths; double Q, one-step; RMSProp; XLA"),
    "mast-masked": (
        _OUR_STEP,
        "the same, 95 % of the weights zero in dense arrays; Soft Mellowmax, TD(λ); evolution every 200",
    ),
    "mast-compact": (
        _OUR_STEP + ", acting by kernels",
        "as mast-masked, by native kernels on active weights; padding is skipped",
    ),
    "torch": (
        _OUR_STEP + ", acting in JAX with copied weights",
        "as dense, in eager PyTorch, with a hand-written backward pass of the GRU",
    ),
    "jaxmarl-128": (
        "rollouts of 128 steps with auto-reset, one acting pass and one reset per step, float32 buffer",
        "32 sequences of 128 steps, several episodes each; double Q, one-step; RAdam; one XLA program",
    ),
    "jaxmarl-short": (
        "as jaxmarl-128, rollouts as long as our batches are on average",
        "as jaxmarl-128, 32 sequences as long as our batches are on average",
    ),
}
"""Per arm: what an environment step is, and what an update is."""


class Block(NamedTuple):
    """What one turn of an arm came to."""

    env_steps: int
    updates: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of the process, all threads."""
    rows: int
    """Time steps (of 32 sequences each) that its updates read."""


class Loop(Protocol):
    """A training loop that can be run in parts."""

    @property
    def compile_seconds(self) -> float:
        """How long something has been compiled so far."""
        ...

    def loss_error(self) -> float | None:
        """How far its objective is from ours; None where it is another one by design."""
        ...

    def rounds(self, count: int) -> tuple[int, int, int]:
        """Train `count` rounds; environment steps, updates, and time steps read by them."""
        ...


class OurLoop:
    """The trainer with one of our arms' settings, or with the learner in PyTorch."""

    def __init__(self, arm: str, environment: str) -> None:
        from mast import Trainer, resolve

        settings = OURS[arm] | {"environment": environment, "epsilon_end": 1.0, "threads": 1}
        config = resolve(settings | {"eval_interval": 10**9, "steps": 2_000_000})
        self._trainer = Trainer(config)
        self._is_reference = arm in ("dense", "mast-masked")
        if arm == "torch":
            from peer_torch import TorchPrograms

            programs = TorchPrograms(config)
            # The engine takes no other programs than ours: this is the one place that asks for it.
            self._trainer.engine._programs = programs
            self._trainer.state = programs.begin(self._trainer.state)
        self._steps_read = 0
        engine = self._trainer.engine
        update = engine.update

        def counted(state: Any, batches: Any, *rest: Any) -> Any:
            self._steps_read += batches[0].shape[0]
            return update(state, batches, *rest)

        engine.update = counted  # type: ignore[method-assign]
        self._iterator = iter(self._trainer)

    def rounds(self, count: int) -> tuple[int, int, int]:
        """Train `count` rounds of 8 episodes and 8 updates."""
        run, counters = self._trainer.runs[0], self._trainer.counters
        before = run.counters.env_steps, counters.updates, self._steps_read
        for _ in range(count):
            next(self._iterator)
        after = run.counters.env_steps, counters.updates, self._steps_read
        return tuple(b - a for a, b in zip(before, after, strict=True))  # type: ignore[return-value]

    @property
    def compile_seconds(self) -> float:
        """How long the engine has compiled."""
        return self._trainer.engine.compile_seconds

    def loss_error(self) -> float | None:
        """How far loss and gradient norm are from those of XLA's learner with the same weights.

        On one batch of the ring, relative, the larger of the two; it trains one update on the way. None
        where the arm is that learner.
        """
        if self._is_reference:
            return None
        import jax
        import numpy as np

        from mast.execution.account import sizes_of
        from mast.execution.learner import Learner
        from mast.execution.method import method_from_config
        from mast.learning.replay import bucket, length_buckets

        trainer = self._trainer
        learner = Learner(trainer.config, sizes_of(trainer.config, trainer.environment.spec))
        run, method = trainer.runs[0], method_from_config(trainer.config)
        slots = run.draw(1)
        buckets = length_buckets(trainer.environment.spec.episode_limit)
        batch = run.gather(slots, bucket(run.ring.longest(slots), buckets))
        team = trainer.engine.team(trainer.state, 0)
        steps = np.float32(run.counters.env_steps)
        expected, _ = jax.jit(learner.gradient)(team, batch, method, steps)
        programs = trainer.engine._programs
        trainer.state, told, _ = programs.update(trainer.state, batch, method, steps)
        pairs = ((expected.loss, told.loss), (expected.gradient_norm, told.gradient_norm))
        return max(abs(float(a) - float(b)) / abs(float(a)) for a, b in pairs)


class JaxMarlRounds:
    """JaxMARL's loop, counted as ours is."""

    def __init__(self, checkout: Path, scenario: str, steps: int, updates: int) -> None:
        from peer_jaxmarl import JaxMarlLoop

        from mast.runtime import prepare

        prepare()
        self._loop = JaxMarlLoop(checkout, scenario, steps, updates)
        self._length = steps
        self.compile_seconds = 0.0  # one program, compiled by the warm-up

    def loss_error(self) -> None:
        """Another optimizer, another mean and another treatment of episodes' ends: nothing to compare."""

    def rounds(self, count: int) -> tuple[int, int, int]:
        """Train `count` rollouts and the updates after each."""
        before = self._loop.counted
        self._loop.run(count)
        steps, updates = (b - a for a, b in zip(before, self._loop.counted, strict=True))
        return steps, updates, updates * self._length


def serve(pipe: Connection, make: Callable[[], Loop], warm_up: int) -> None:
    """The life of an arm's process: build, warm up, then a block at every request."""
    loop = make()
    loop.rounds(warm_up)
    pipe.send(loop.loss_error())
    while (rounds := pipe.recv()) is not None:
        compiled = None
        while compiled != loop.compile_seconds:  # a block with a compilation in it is run again
            compiled = loop.compile_seconds
            start = time.perf_counter(), time.process_time()
            steps, updates, read = loop.rounds(rounds)
            wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        pipe.send(Block(steps, updates, wall, cpu, read))


class Arm:
    """A process that trains when it is told to.

    Args:
        name: for the table.
        make: builds its loop, there.
        warm_up: rounds before the first block.
        rounds: of a block.
    """

    def __init__(self, name: str, make: Callable[[], Loop], warm_up: int, rounds: int) -> None:
        self.name, self._rounds = name, rounds
        self.blocks: list[Block] = []
        self._pipe, there = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(there, make, warm_up), daemon=True
        )
        self._process.start()
        there.close()
        self.loss_error: float | None = self._pipe.recv()
        if self.loss_error is not None and not self.loss_error < LOSS_TOLERANCE:
            raise SystemExit(f"{name}: its loss is off by {self.loss_error:.1e}: another objective")

    def block(self) -> Block:
        """One turn."""
        self._pipe.send(self._rounds)
        self.blocks.append(self._pipe.recv())
        return self.blocks[-1]

    def end(self) -> None:
        """Let the process go."""
        self._pipe.send(None)
        self._process.join()


class Setting(NamedTuple):
    """What the command line asks for."""

    jaxmarl: Path | None
    updates: int
    turns: int
    warm_up: int
    arms: list[str]


def measured(scenario: str, setting: Setting) -> list[Arm]:
    """All arms of one map, with their blocks; the dense one is the first and sets the peers' ratio."""
    dense = _ours("dense", scenario, setting)
    first = dense.block()
    dense.blocks.clear()
    arms = [
        dense,
        *(_ours(n, scenario, setting) for n in OURS if n in setting.arms and n != "dense"),
    ]
    per_update = first.env_steps / first.updates
    lengths = {"jaxmarl-128": JAXMARL_STEPS, "jaxmarl-short": round(first.rows / first.updates)}
    for name, steps in lengths.items():
        if setting.jaxmarl is None or name not in setting.arms:
            continue
        updates = max(1, round(8 * steps / per_update))
        make = partial(JaxMarlRounds, setting.jaxmarl, scenario, steps, updates)
        # Its buffer gives nothing before it holds 32 rollouts; the 32nd round learns.
        arms.append(Arm(name, make, 32, max(1, round(setting.updates / updates))))
        print(f"{scenario} {name}: {updates} updates per rollout of 8 x {steps} steps", flush=True)
    for turn in range(setting.turns):
        for arm in arms:
            block = arm.block()
            each = 1e3 * block.wall / block.updates, 1e3 * block.cpu / block.updates
            print(f"{scenario} {turn} {arm.name}: {each[0]:.1f} ms, {each[1]:.1f} cpu", flush=True)
    for arm in arms:
        arm.end()
    return arms


def _ours(name: str, scenario: str, setting: Setting) -> Arm:
    arm = Arm(
        name,
        partial(OurLoop, name, f"smax/{scenario}"),
        setting.warm_up,
        max(1, round(setting.updates / 8)),
    )
    print(f"{scenario} {name}: loss and gradient norm off by {arm.loss_error}", flush=True)
    return arm


def row(scenario: str, arm: Arm, dense: Arm) -> dict[str, Any]:
    """One row of the table."""
    blocks = arm.blocks
    pairs = list(zip(blocks, dense.blocks, strict=True))
    updates, env_steps = sum(b.updates for b in blocks), sum(b.env_steps for b in blocks)
    cpu_ms = [1e3 * b.cpu / b.updates for b in blocks]
    step, update = WHAT[arm.name]
    return {
        "map": scenario,
        "arm": arm.name,
        "env_steps_per_update": round(env_steps / updates, 2),
        "sequence_length": round(sum(b.rows for b in blocks) / updates, 1),
        "env_steps_per_second": round(median(b.env_steps / b.wall for b in blocks), 1),
        "updates_per_second": round(median(b.updates / b.wall for b in blocks), 2),
        "env_steps_per_cpu_second": round(median(b.env_steps / b.cpu for b in blocks), 1),
        "updates_per_cpu_second": round(median(b.updates / b.cpu for b in blocks), 2),
        "cpu_ms_per_update": round(median(cpu_ms), 2),
        "cpu_ms_least": round(min(cpu_ms), 2),
        "cpu_ms_most": round(max(cpu_ms), 2),
        "speed_to_dense": round(median(_speed(b, "wall") / _speed(d, "wall") for b, d in pairs), 2),
        "cpu_speed_to_dense": round(
            median(_speed(b, "cpu") / _speed(d, "cpu") for b, d in pairs), 2
        ),
        "loss_error": "" if arm.loss_error is None else f"{arm.loss_error:.1e}",
        "blocks": len(blocks),
        "updates": updates,
        "per_env_step": step,
        "per_update": update,
    }


def _speed(block: Block, clock: str) -> float:
    """Updates per second."""
    return block.updates / float(getattr(block, clock))


def provenance(checkout: Path | None) -> dict[str, Any]:
    """Machine, load, versions, commits and command, for every row."""
    from mast.configuration.record import without_folder

    names = ("jax", "jaxmarl", "flax", "flashbax", "torch", "numpy")
    return {
        "machine": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": " ".join(f"{x:.1f}" for x in os.getloadavg()),
        "versions": " ".join(f"{name} {_version(name)}" for name in names),
        "jaxmarl_commit": "" if checkout is None else _commit(checkout),
        "commit": commit(),
        "allocator": f"MALLOC_ARENA_MAX={os.environ.get('MALLOC_ARENA_MAX', '')}",
        "command": " ".join([Path(sys.argv[0]).name, *map(without_folder, sys.argv[1:])]),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def _commit(folder: Path) -> str:
    """The commit of a checkout; for one without git, the text of its file COMMIT."""
    named = folder / "COMMIT"
    if named.exists():
        return named.read_text().strip()[:7]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measure the maps of the command line and replace their rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", nargs="+")
    parser.add_argument("--jaxmarl", type=Path, help="a checkout of FLAIROx/JaxMARL")
    parser.add_argument("--updates", type=int, default=64, help="of a block, about")
    parser.add_argument("--turns", type=int, default=5, help="blocks of each arm")
    parser.add_argument("--warm-up", type=int, default=8, help="rounds before the first block")
    parser.add_argument("--arms", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    names = ("jaxmarl", "updates", "turns", "warm_up", "arms")
    setting = Setting(*(getattr(arguments, name) for name in names))
    for scenario in arguments.maps:
        arms = measured(scenario, setting)
        about = provenance(arguments.jaxmarl)
        write(arguments.out, scenario, [row(scenario, arm, arms[0]) | about for arm in arms])


def write(table: Path, scenario: str, rows: list[dict[str, Any]]) -> None:
    """Replace a map's rows, keeping the other maps'."""
    if table.exists():
        with table.open(newline="") as file:
            rows = [old for old in csv.DictReader(file) if old["map"] != scenario] + rows
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
