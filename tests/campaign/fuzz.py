"""The kernels' fuzz: calls that do not fit, of every function that XLA calls, under the sanitizers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from campaign.trial import Trial

SCRIPT = Path(__file__).parents[1] / "kernels" / "native" / "sanitize.sh"
CALLS = 100_000


def sanitize(calls: int, folder: Path) -> None:
    """The kernels' own test and so many calls, for every instruction set of this processor."""
    run = subprocess.run(
        ["bash", str(SCRIPT), str(calls)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": sys.executable, "TMPDIR": str(folder)},
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:] + run.stdout[-500:]
    assert "fuzzed, all well" in run.stdout


def trials(long: bool) -> Iterator[Trial]:
    """None in the short form: compiling takes a minute; tests/kernels/test_kernel_sanitizers.py has it."""
    if long:
        yield Trial("kernels: fuzz", f"{CALLS} calls", partial(sanitize, CALLS))
