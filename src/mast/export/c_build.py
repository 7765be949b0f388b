"""Compiling a C export with this machine's compiler: to run it, and to measure it."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mast.errors import SelfCheckError, UserError

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic")


def c_compiler() -> str | None:
    """The C compiler of this machine: that of the environment variable CC, else cc; None without one."""
    return shutil.which(os.environ.get("CC", "cc"))


def compile_c(compiler: str, source: Path, target: Path, flags: Sequence[str]) -> str:
    """Compile one file.

    Args:
        compiler: its path.
        source, target: from and to.
        flags: after the source, so that libraries may be among them.

    Returns:
        what the compiler said.

    Raises:
        SelfCheckError: it refused.
    """
    command = [compiler, str(source.resolve()), *flags, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=target.parent)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise SelfCheckError(f"{compiler} refused the exported C: {lines[0]}")
    return done.stderr


@dataclass(frozen=True)
class Footprint:
    """What a C export takes when compiled for this machine, for size."""

    compiler: str
    flash_bytes: int | None
    """Code and constants; None where the machine has no `size`."""
    stack_bytes: int | None
    """Of the deepest call; None where the compiler does not say."""
    warnings: int


def footprint(compiler: str, source: Path) -> Footprint:
    """Measure a C export.

    Args:
        compiler: its path.
        source: the C file.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "agent.o")
        said = compile_c(compiler, source, target, (*STRICT, "-Os", "-c"))
        stack = _stack_bytes(compiler, source, target.with_name("usage.o"))
        return Footprint(compiler, _flash(target), stack, said.count("warning:"))


def _stack_bytes(compiler: str, source: Path, target: Path) -> int | None:
    """An upper bound of the stack; None where the compiler does not say."""
    # What x86-64 keeps below the stack's end is not among what the compiler says; others have no such zone.
    for more in (("-mno-red-zone",), ()):
        with contextlib.suppress(SelfCheckError):
            compile_c(compiler, source, target, ("-std=c99", "-Os", "-c", "-fstack-usage", *more))
            return _deepest(target.with_suffix(".su"))
    return None


def flash_bytes(compiler: str, source: Path) -> int | None:
    """Code and constants of a C export compiled for size; None where the machine has no `size`.

    Args:
        compiler: its path.
        source: the C file.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "agent.o")
        compile_c(compiler, source, target, ("-std=c99", "-Os", "-c"))
        return _flash(target)


def _flash(target: Path) -> int | None:
    """The code and the constants of an object file."""
    size = shutil.which("size")
    if size is None:
        return None
    done = subprocess.run([size, str(target)], capture_output=True, text=True, check=False)
    words = done.stdout.splitlines()[1].split() if done.returncode == 0 else []
    return int(words[0]) + int(words[1]) if words else None


def _deepest(usage: Path) -> int | None:
    """An upper bound from what the compiler says of each function's stack.

    A call is never deeper than step → network → layer → part of a layer.
    """
    if not usage.is_file():
        return None
    step, network, others = 0, 0, [0, 0]
    for line in usage.read_text().splitlines():
        place, size = line.split("\t")[:2]
        name, bytes_ = place.rsplit(":", 1)[1], int(size)
        if name.endswith("_step"):
            step = bytes_
        elif name.endswith("_network"):
            network = max(network, bytes_)
        else:
            others.append(bytes_)
    return step + network + sum(sorted(others)[-2:])


class CArtefact:
    """A C export, compiled and called here.

    Args:
        source: the C file.
        prefix: of its names.
        sizes: features, actions and hidden width.
        units: [agents, hidden], as `Artefact.units`.
        flags: for the compiler, beside the strict ones.

    Raises:
        UserError: there is no C compiler.
        SelfCheckError: the compiler refuses the file.
    """

    def __init__(
        self,
        source: Path,
        prefix: str,
        sizes: tuple[int, int, int],
        units: np.ndarray,
        flags: Sequence[str] = ("-O1",),
    ) -> None:
        compiler = c_compiler()
        if compiler is None:
            raise UserError("no C compiler found: install one, or name it in CC")
        self.units = units
        self._actions = sizes[1]
        self._state = np.dtype(
            [
                ("agent", np.int32),
                ("last_action", np.int32),
                ("hidden", np.float32, (sizes[2],)),
                ("q", np.float32, (sizes[1],)),
            ]
        )
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "agent.so")
            link = ("-shared", "-fPIC")
            self.warnings = compile_c(compiler, source, library, (*STRICT, *flags, *link))
            loaded = ctypes.CDLL(str(library))  # stays mapped when the file goes
        self._step = getattr(loaded, f"{prefix}_step")
        self._step.restype = ctypes.c_int
        self._step.argtypes = [ctypes.c_void_p] * 4

    def step(
        self,
        observation: np.ndarray,
        last_action: np.ndarray,
        agent: np.ndarray,
        hidden: np.ndarray,
        available: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One step of several agents; see `Artefact`."""
        state = np.zeros(len(agent), self._state)
        state["agent"], state["last_action"], state["hidden"] = agent, last_action, hidden
        observation = np.ascontiguousarray(observation, np.float32)
        allowed = np.ascontiguousarray(available, np.uint8)
        action = np.zeros(len(agent), np.int32)
        for row in range(len(agent)):
            self._step(
                state[row : row + 1].ctypes.data,
                observation[row].ctypes.data,
                allowed[row].ctypes.data,
                action[row : row + 1].ctypes.data,
            )
        return state["q"], action, state["hidden"]
