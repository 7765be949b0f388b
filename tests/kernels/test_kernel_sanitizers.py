"""The kernels without Python under the address and undefined-behaviour sanitizers, a build of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "native" / "sanitize.sh"


@pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("bash") is None, reason="there is no g++ or no bash"
)
def test_the_kernels_and_what_xla_calls_are_clean_under_sanitizers() -> None:
    run = subprocess.run(
        ["bash", str(SCRIPT), "best", "12000"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": sys.executable},
    )
    assert run.returncode == 0, run.stderr[-2000:] + run.stdout[-500:]
    assert "lanes: all well" in run.stdout
    assert "fuzzed, all well" in run.stdout
