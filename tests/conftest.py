"""Every test runs with jaxtyping's shape checks on our own modules (hooking `jaxmarl` crashes).

Nearly all of the suite's time is XLA compiling small programs that then run for a moment. So programs are
compiled quickly instead of well, and kept in build/ for all processes of this session and the next, apart
from the user's. A module marked `as_shipped` compiles as users do: what is promised bit for bit is a promise
about those programs. All others pad batches to one length instead of four, each of which is a compilation;
and a module that uses `shared_programs` compiles what its trainers have in common once.
"""

import contextlib
import ctypes
import gc
import json
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # xdist's workers inherit their parent's
    # By machine: what is compiled for one processor may crash another. Of 2 GB most is of changed code.
    folder = Path(__file__).parents[1] / "build" / "test-programs" / platform.node()
    if sum(file.stat().st_size for file in folder.glob("*")) > 2e9:
        shutil.rmtree(folder)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

import jax
import pytest
from jax._src import compiler
from jaxtyping import install_import_hook

install_import_hook("mast", "beartype.beartype")

QUICK = (
    ("xla_backend_optimization_level", 0),
    ("xla_llvm_disable_expensive_passes", True),
    ("xla_cpu_use_fusion_emitters", False),
    ("xla_cpu_parallel_codegen_split_count", 1),
)
"""What XLA leaves out: three quarters of the time of compiling a small recurrent network's gradient."""

MEMORY_BYTES = 2e9
"""A compiled program stays in memory, the smallest with 2 MB. Above this a module leaves none behind."""

SECONDS: dict[str, float] = json.loads((Path(__file__).parent / "seconds.json").read_text())
"""What tests of a second and more take on a busy core (`tests/seconds.py`); `make test` leaves them out."""

shipped_options = compiler.get_compile_options


def quick_options(*arguments: Any, **named: Any) -> Any:
    options = shipped_options(*arguments, **named)
    options.env_option_overrides = [*options.env_option_overrides, *QUICK]
    return options


compiler.get_compile_options = quick_options  # while modules are imported too


@pytest.fixture(scope="module", autouse=True)
def compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Quick or as shipped; nothing compiled one way stays for a module that wants the other."""
    shipped = request.node.get_closest_marker("as_shipped") is not None
    with contextlib.ExitStack() as stack:
        if shipped:
            forget_programs()
            stack.enter_context(mock.patch.object(compiler, "get_compile_options", shipped_options))
        elif "mast.loops.replay" in sys.modules:
            stack.enter_context(mock.patch("mast.loops.replay.length_buckets", one_length))
        yield
    if shipped or memory() > MEMORY_BYTES:
        forget_programs()


def one_length(episode_limit: int) -> tuple[int]:
    """Instead of `length_buckets`."""
    return (episode_limit,)


@pytest.fixture(scope="module")
def shared_programs(compilation: None) -> Iterator[None]:
    """The module's trainers share their compiled programs."""
    from shared_programs import shared_programs

    with shared_programs():
        yield


def memory() -> int:
    """What this process holds, in bytes; 0 where that cannot be asked."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def forget_programs() -> None:
    """Gives what compiled programs hold back to the system."""
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow tests, and puts the longest files first, so that none begins when the rest ends.

    For `--dist loadfile --no-loadscope-reorder`, which hands out whole files in this order.
    """
    of_file: Counter[Path] = Counter()
    for item in items:
        seconds = SECONDS.get(item.nodeid, 0)
        if seconds and item.get_closest_marker("always") is None:
            item.add_marker("slow")
        of_file[item.path] += seconds
    items.sort(key=lambda item: -of_file[item.path])
