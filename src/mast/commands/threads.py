"""How many CPU threads a run has; to be said before JAX is imported."""

import os


def limit_threads(threads: int | None) -> None:
    """Makes XLA and NumPy use this many CPU threads; None leaves them all cores.

    Args:
        threads: of this process. It has no effect on a JAX that has already started.
    """
    if threads is not None:
        # Not the CPU affinity: two runs started by hand would share the same first core.
        for variable in ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[variable] = str(threads)
