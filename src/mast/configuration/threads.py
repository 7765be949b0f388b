"""How many CPU threads a run has: part of its bit-identity, and settled before JAX starts."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mast.configuration.settings import Config

_VARIABLES = ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read by XLA when its CPU client starts, and by the linear algebra under NumPy."""


def limit_threads(threads: int | None) -> None:
    """Makes XLA and NumPy use this many CPU threads; None leaves them what they have.

    Args:
        threads: of this process. It has no effect on a JAX that has already started.
    """
    if threads is not None:
        # Not the CPU affinity: two runs started by hand would share the same first core.
        for variable in _VARIABLES:
            os.environ[variable] = str(threads)


def usable_cpus() -> int:
    """CPU threads that XLA uses in this process: the limit if there is one, else the cores."""
    limit = os.environ.get("PJRT_NPROC", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_notices(config: "Config") -> list[str]:
    """Says where `threads` is set but not in force: only the command line can, before JAX starts."""
    if config.threads is None or config.threads == usable_cpus():
        return []
    return [
        f"threads = {config.threads} is not in force here (it is {usable_cpus()}): call "
        "mast.config.limit_threads before anything imports JAX"
    ]
