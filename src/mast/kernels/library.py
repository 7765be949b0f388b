"""The native library: compiled for this machine at first use, loaded, and registered with XLA.

Nothing here is needed to install or import Mast. The sources travel in the package; the first caller of
`available` compiles them (some ten seconds, once) against the headers of the jaxlib that is really
installed, so that library and XLA always agree, and keeps the result in the user's cache folder.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import numpy as np

SOURCES = Path(__file__).parent / "native"

HANDLERS = (
    "agent_forward",
    "agent_backward",
    "agent_step",
    "mixer_forward",
    "mixer_backward",
    "joint_values",
    "team_gradient",
    "ring_gradient",
    "rmsprop_step",
    "layers_forward",
    "layers_backward",
    "matrix_product",
    "matrix_transposed_product",
    "matrix_gradient",
    "battle_step",
)
"""What XLA can call, each exported as `mast_` and this name."""

COMMON_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread"),
    # Nobody reads errno or traps; everything else of IEEE arithmetic is kept (-ffast-math is not used: it
    # would drop NaN and, as a side effect of linking, flush subnormal numbers in the whole process).
    *("-fno-math-errno", "-fno-trapping-math"),
    # a · b + c in one rounding, wherever it is written: the products' inner loops are made of it.
    "-ffp-contract=fast",
)


@dataclass(frozen=True)
class InstructionSet:
    """One compilation of the sources."""

    name: str
    vector_bytes: int
    flags: tuple[str, ...]


_X86 = (
    InstructionSet(
        "avx512", 64, ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mf16c")
    ),
    InstructionSet("avx2", 32, ("-mavx2", "-mfma", "-mf16c")),
)
BASELINE = InstructionSet("baseline", 16, ())
"""What every processor of the platform has: SSE2 on x86-64, NEON on ARM."""


class Unavailable(Exception):
    """Why there are no kernels; one sentence."""


@dataclass(frozen=True)
class Library:
    """A loaded library, its handlers registered with XLA."""

    instruction_set: InstructionSet
    path: Path
    agent_saved_size: Callable[[int, int, int, int], int]
    """(observations, lanes, hidden, networks) → floats that the agent's forward pass saves at most."""

    def target(self, handler: str) -> str:
        """The name under which XLA knows a handler."""
        return f"mast_{handler}_{self.instruction_set.name}"


def attributes(shapes: Sequence[Sequence[int]], threads: int) -> dict[str, Any]:
    """What every native call is told besides its operands: the layers' shapes, and threads."""
    return {"layers": np.asarray(shapes, np.int64).ravel(), "threads": np.int64(threads)}


def available() -> bool:
    """Whether there are kernels; compiles them where that has not happened yet."""
    return unavailable_reason() is None


def unavailable_reason() -> str | None:
    """Why there are no kernels, or None where there are."""
    try:
        active()
    except Unavailable as error:
        return str(error)
    return None


def active() -> Library:
    """The library in use: of the best instruction set, or of the one that `MAST_KERNELS` names.

    Raises:
      Unavailable: there is none.
    """
    return load(os.environ.get("MAST_KERNELS", "best"))


def instruction_sets() -> tuple[InstructionSet, ...]:
    """What this processor can execute, the best first.

    Raises:
      Unavailable: there is no compiler, or what it makes cannot be loaded.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return (BASELINE,)
    probe = _opened(_compiled("probe.cc", BASELINE))
    return (*(each for each in _X86 if getattr(probe, f"mast_has_{each.name}")()), BASELINE)


@functools.cache
def load(name: str) -> Library:
    """Compiles, loads and registers the library of an instruction set, or of the "best" one.

    Raises:
      Unavailable: it cannot be had here; also where `name` is "off".
    """
    if name == "off":
        raise Unavailable("MAST_KERNELS is off")
    choices = instruction_sets()
    chosen = choices[0] if name == "best" else next((x for x in choices if x.name == name), None)
    if chosen is None:
        known = ", ".join(each.name for each in choices)
        raise Unavailable(f"MAST_KERNELS is {name!r}, and this processor has {known}")
    path = _compiled("handlers.cc", chosen)
    native = _opened(path)
    saved_size = native.mast_agent_saved_size
    saved_size.argtypes, saved_size.restype = [ctypes.c_int64] * 4, ctypes.c_int64
    library = Library(chosen, path, saved_size)
    for handler in HANDLERS:
        function = jax.ffi.pycapsule(getattr(native, f"mast_{handler}"))
        jax.ffi.register_ffi_target(library.target(handler), function, platform="cpu")
    return library


def _opened(path: Path) -> ctypes.CDLL:
    """A library that `_compiled` has given."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"{path} cannot be loaded: {error}") from error


def _compiled(source: str, instruction_set: InstructionSet) -> Path:
    """The library of a source file, from the cache folder or fresh from the compiler."""
    compiler = _compiler()
    command = [
        *compiler,
        *COMMON_FLAGS,
        *instruction_set.flags,
        f"-DMAST_VECTOR_BYTES={instruction_set.vector_bytes}",
        *("-isystem", jax.ffi.include_dir()),
        str(SOURCES / source),
    ]
    key = hashlib.sha256(repr((command, _version(tuple(compiler)))).encode())
    key.update(jaxlib.version.__version__.encode())
    for path in sorted(SOURCES.iterdir()):
        key.update(path.read_bytes())
    name = f"{Path(source).stem}-{instruction_set.name}-{key.hexdigest()[:16]}.so"
    path = _folder() / name
    try:
        if _is_whole(path):
            return path
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
    if path.exists():
        print(f"mast: {path} is damaged; compiling it again …", file=sys.stderr)
    elif source == "handlers.cc":
        print("mast: compiling the native kernels, once for this machine …", file=sys.stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under a name of its own first: several processes may compile at once, the last one wins.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            result = Path(folder) / name
            run = subprocess.run([*command, "-o", str(result)], capture_output=True, text=True)
            if run.returncode != 0:
                first = (run.stderr.strip() or "no message").splitlines()[0]
                raise Unavailable(f"{compiler[0]} cannot compile the kernels: {first}")
            _keep(result, path)
    except OSError as error:
        raise Unavailable(f"the kernels cannot be kept in {path.parent}: {error}") from error
    return path


def _keep(built: Path, path: Path) -> None:
    """Gives a library its name in the cache, and a checksum beside it; both are on the disk by then.

    A process that dies in between leaves a library without its checksum, which is compiled again.
    """
    checksum = built.with_suffix(".sha256")
    checksum.write_text(_checksum(built))
    for each in (built, checksum):
        with open(each, "rb") as file:
            os.fsync(file.fileno())
    built.replace(path)
    checksum.replace(path.with_suffix(".sha256"))


def _is_whole(path: Path) -> bool:
    """Whether a library is there as it was written; loading half of one would end the process."""
    try:
        return path.with_suffix(".sha256").read_bytes() == _checksum(path).encode()
    except FileNotFoundError:
        return False


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _folder() -> Path:
    """Where compiled libraries are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mast" / "kernels"


def _compiler() -> list[str]:
    """The C++ compiler: `CXX`, or the first that is installed."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in (named, ["g++"], ["clang++"], ["c++"]):
        if command and shutil.which(command[0]):
            return command
    raise Unavailable("there is no C++ compiler (g++ or clang++)")


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    return subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
