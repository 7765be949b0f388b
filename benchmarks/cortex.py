"""What one decision of an exported agent takes on a Cortex-M4: instructions, flash and RAM of every form.

    taskset -c 1 python benchmarks/cortex.py

Random networks of SMAX 3m's sizes (75 features, 8 actions, the ids of 3 agents) with Erdős–Rényi masks, and
of patterns with the same budgets, without their dead neurons as `mast export` leaves them out, on random
observations. The C is compiled for a
Cortex-M4 with its floating-point unit; qemu executes one instruction at a time and tells each, so that no
noise moves the counts. qemu's user mode does not run M cores: it plays the same code on a Cortex-A15, which
has all of its instructions. The last action must be the network's. Instructions are not cycles: qemu knows
neither the pipeline nor the flash's wait states.

`define` is what the compiler was given beside the flags; `state_bytes` is what an agent keeps from step to
step, `work_bytes` the arrays on the stack during one. Rows go to results/cortex.csv.

Needs `arm-none-eabi-gcc` with its binutils and `qemu-arm` (Debian: gcc-arm-none-eabi, qemu-user).
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ship import random_network

from mast.export.c_forms import FORMS, MOST_UNROLLED
from mast.export.c_layers import dequantized
from mast.export.c_source import CSource, c_source
from mast.export.network import Network, without_dead_neurons

TABLE = Path(__file__).parent.parent / "results" / "cortex.csv"
COLUMNS = (
    "width", "sparsity", "pattern", "weights", "form", "define", "layers", "instructions", "flash_bytes",
    "state_bytes", "work_bytes",
)  # fmt: skip
FEATURES, ACTIONS, AGENTS = 75, 8, 3
COMPILER, SIZE, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-arm"
PACKAGES = {COMPILER: "gcc-arm-none-eabi", SIZE: "binutils-arm-none-eabi", EMULATOR: "qemu-user"}
FLAGS = (
    "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard",
    "-std=c99", "-O2", "-ffreestanding",
)  # fmt: skip
PATTERNS = ("unstructured", "fan-in", "n:16", "block-4x4", "neuron")
OF_PATTERNS = ("pattern",)
"""What is measured of networks with a pattern: the other forms cost what they do of unstructured ones."""
WITHOUT_VECTORS = "MAST_NO_VECTORS"
"""Gives plain C: the processor has no vectors of floats, and what stands in for them takes moves."""
MORE = 10
"""Steps by which the longer of two programs is longer: their difference leaves out what is done once."""
MAIN = """
#include "mast_agent.h"

static const float observations[{rows}][MAST_FEATURES] = {{
{observations}
}};

__attribute__((noreturn)) void _start(void) /* no C library, so that nothing else is counted */
{{
    register int request __asm__("r7") = 1; /* Linux: exit */
    register int code __asm__("r0");
    static const unsigned char available[MAST_ACTIONS] = {{{available}}};
    static mast_state state;
    int i, action = 0;

    mast_reset(&state, 0);
    for (i = 0; i < STEPS; i++)
        mast_step(&state, observations[i], available, &action);
    code = action;
    __asm__ volatile("svc 0" : : "r"(request), "r"(code));
    for (;;)
        ;
}}
"""


def missing() -> list[str]:
    """Which tools are not there, and Debian's packages that have them."""
    return [f"{tool} ({name})" for tool, name in PACKAGES.items() if shutil.which(tool) is None]


def random_observations() -> np.ndarray:
    """One for each step of the longer program."""
    return np.random.default_rng(1).normal(size=(MORE + 1, FEATURES)).astype(np.float32)


def main_program() -> str:
    """A program that decides as often as STEPS says; its exit code is the last action."""
    rows = random_observations()
    text = ",\n".join("{" + ", ".join(f"{float(x)!r}f" for x in row) + "}" for row in rows)
    return MAIN.format(rows=len(rows), observations=text, available=", ".join("1" * ACTIONS))


def last_action(network: Network, steps: int) -> int:
    """What the network decides at the last of so many steps."""
    action, hidden = -1, np.zeros(network.hidden)
    for observation in random_observations()[:steps]:
        q, hidden = network.step(observation, action, 0, hidden)
        action = int(q.argmax())
    return action


def compiled(folder: Path, *words: str) -> None:
    """Call the compiler in a folder."""
    subprocess.run([COMPILER, *FLAGS, *words], cwd=folder, check=True)


def executed(program: Path) -> tuple[int, int]:
    """How many instructions a program executes until it ends, and its exit code."""
    command = [EMULATOR, "-cpu", "cortex-a15", "-singlestep", "-d", "exec,nochain", str(program)]
    count = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while block := process.stderr.read(1 << 20):
            count += block.count(b"Trace ")
    return count, process.returncode


def instructions(source: CSource, network: Network, flags: Sequence[str], folder: Path) -> int:
    """Of one decision, the mean of `MORE`."""
    for name, text in {**source.files, "main.c": main_program()}.items():
        (folder / name).write_text(text)
    counts = []
    for steps in (1, 1 + MORE):
        program = f"steps-{steps}"
        words = (f"-DSTEPS={steps}", "-nostdlib", "main.c", "mast_agent.c", "-o", program)
        compiled(folder, *flags, *words)
        count, action = executed(folder / program)
        if action != (wanted := last_action(network, steps)):
            raise SystemExit(f"step {steps} gave action {action}, the network's is {wanted}")
        counts.append(count)
    return round((counts[1] - counts[0]) / MORE)


def flash_bytes(flags: Sequence[str], folder: Path) -> int:
    """Code and constants of the agent alone."""
    compiled(folder, *flags, "-c", "mast_agent.c", "-o", "agent.o")
    done = subprocess.run([SIZE, "agent.o"], cwd=folder, check=True, capture_output=True, text=True)
    text, data = done.stdout.splitlines()[1].split()[:2]
    return int(text) + int(data)


def measure(network: Network, width: int, sparsity: float, pattern: str) -> list[dict[str, object]]:
    """The rows of one network."""
    rows = []
    for name, form, int8 in FORMS:
        if form == "unrolled" and network.weights > MOST_UNROLLED:
            continue
        if pattern != "unstructured" and name not in OF_PATTERNS:
            continue
        source = c_source([network], AGENTS, "A benchmark.", form=form, int8=int8)
        stored = dequantized(source.networks[0]) if int8 else network
        vectors = "blocked" in source.forms[0].values() and not int8
        for define in ("", WITHOUT_VECTORS) if vectors else ("",):
            flags = [f"-D{define}"] if define else []
            with tempfile.TemporaryDirectory() as folder:
                row = {
                    "width": width,
                    "sparsity": sparsity,
                    "pattern": pattern,
                    "weights": network.weights,
                    "form": name,
                    "define": define,
                    "layers": "/".join(source.forms[0].values()),
                    "instructions": instructions(source, stored, flags, Path(folder)),
                    "flash_bytes": flash_bytes(flags, Path(folder)),
                    "state_bytes": source.state_bytes,
                    "work_bytes": source.work_bytes,
                }
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> int:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=(64, 256))
    parser.add_argument("--sparsities", type=float, nargs="+", default=(0.95,))
    parser.add_argument("--patterns", nargs="+", default=PATTERNS, help="other rows stay")
    asked = parser.parse_args()
    if absent := missing():
        print(f"not found: {', '.join(absent)}", file=sys.stderr)
        return 2
    with TABLE.open(newline="") as file:
        rows: list[dict[str, object]] = [
            dict(row) for row in csv.DictReader(file) if row["pattern"] not in asked.patterns
        ]
    for pattern in asked.patterns:
        for width in asked.widths:
            for sparsity in asked.sparsities:
                sizes = {"features": FEATURES, "codes": ACTIONS + AGENTS}
                network = random_network(width, 1 - sparsity, pattern=pattern, **sizes)
                rows += measure(without_dead_neurons(network), width, sparsity, pattern)
    with TABLE.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
