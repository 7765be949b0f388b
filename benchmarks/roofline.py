"""How near each loop of the agent's kernel comes to what a core can do at most.

    taskset -c 0 python benchmarks/roofline.py

Compiles benchmarks/kernels_primitives.cc as the kernels are compiled, for each instruction set of this
machine, and runs every loop on one tile in cache. The two roofs are measured in the same run: multiply-adds
in registers, and loads from the first cache. A loop is bound by the roof of which it takes the larger share.
Of elementary functions each operation is counted, a multiply-add as two.
"""

import argparse
import csv
import io
import subprocess
import tempfile
from pathlib import Path

from machine import commit, processor

from mast.kernels import library

TABLE = Path(__file__).parent.parent / "results" / "kernels_roofline.csv"
SOURCE = Path(__file__).parent / "kernels_primitives.cc"
SHAPES = {"3m": (75, 8, 3), "3s5z": (205, 13, 8)}
"""Observation's numbers, actions, agents."""


def compiled(instruction_set: library.InstructionSet, folder: Path) -> Path:
    """The benchmark for one instruction set."""
    target = folder / instruction_set.name
    flags = [flag for flag in library.COMMON_FLAGS if flag not in ("-fPIC", "-shared")]
    width = f"-DMAST_VECTOR_BYTES={instruction_set.vector_bytes}"
    subprocess.run(
        [
            "g++",
            *flags,
            *instruction_set.flags,
            width,
            f"-I{library.SOURCES}",
            SOURCE,
            "-o",
            target,
        ],
        check=True,
    )
    return target


def rows_of(program: Path, shape: tuple[int, int, int], width: int, sparsity: float) -> list[dict]:
    """What the program measured, with shares of the two roofs."""
    arguments = [*map(str, shape), str(width), str(sparsity)]
    told = subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout
    loops = {row["loop"]: row for row in csv.DictReader(io.StringIO(told))}

    def rate(name: str, what: str) -> float:
        return float(loops[name][what]) / float(loops[name]["microseconds"]) / 1000

    roofs = rate("peak arithmetic", "operations"), rate("peak loads", "bytes")
    return [
        {
            "loop": name,
            "microseconds": round(float(row["microseconds"]), 3),
            "gflops": round(rate(name, "operations"), 1),
            "share_of_arithmetic": round(rate(name, "operations") / roofs[0], 3),
            "gigabytes_per_second": round(rate(name, "bytes"), 1),
            "share_of_loads": round(rate(name, "bytes") / roofs[1], 3),
        }
        for name, row in loops.items()
    ]


def main() -> None:
    """Measure and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for instruction_set in library.instruction_sets():
            program = compiled(instruction_set, Path(folder))
            for name, shape in SHAPES.items():
                for width, sparsity in ((64, 0.95), (64, 0.9), (256, 0.95)):
                    about = {
                        "instruction_set": instruction_set.name,
                        "map": name,
                        "width": width,
                        "sparsity": sparsity,
                    }
                    found = rows_of(program, shape, width, sparsity)
                    rows += [
                        {**about, **row, "machine": processor(), "commit": commit()}
                        for row in found
                    ]
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
