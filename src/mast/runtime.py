"""What is set up once per process before anything is compiled."""

import contextlib
import ctypes
import hashlib
import os
import platform
import sys
from functools import cache
from pathlib import Path

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
"""glibc's names of three allocator settings (malloc.h)."""


@cache
def prepare() -> None:
    """Keep compiled programs between processes, and freed memory within one.

    Compiled programs go to JAX's persistent cache in the user's cache folder, unless JAX is already told
    where (`JAX_COMPILATION_CACHE_DIR`); `MAST_NO_CACHE=1` turns that off. The folder is one per kind of
    processor, since a home folder may be shared and code compiled for one can crash another.

    The allocator is told not to give freed memory back to the system, and to have one arena for all threads,
    as the other two settings do not reach the arenas of XLA's threads: an update frees and asks again for
    tens of megabytes, and the page faults of fresh memory cost up to half of a dense update on a CPU.
    """
    told = {"JAX_COMPILATION_CACHE_DIR", "MAST_NO_CACHE"} & os.environ.keys()
    if not told:
        cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update(
            "jax_compilation_cache_dir", str(Path(cache_home) / "mast" / _processor_kind())
        )
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to set
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_ARENA_MAX, 1)


def platform_of_jax() -> str:
    """Where JAX computes by default: "cpu", "gpu", "tpu".

    Asking starts JAX's threads, and what `prepare` tells the allocator does not reach them any more: it comes
    first.
    """
    prepare()
    return jax.default_backend()


def _processor_kind() -> str:
    """A name for what this processor can execute."""
    kind = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kind += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"jax-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
