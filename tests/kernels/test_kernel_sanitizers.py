"""The kernels without Python under the address and undefined-behaviour sanitizers, a build of their own."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "native" / "sanitize.sh"


@pytest.mark.skipif(
    shutil.which("g++") is None or shutil.which("bash") is None, reason="there is no g++ or no bash"
)
def test_the_kernels_are_clean_under_sanitizers() -> None:
    run = subprocess.run(["bash", str(SCRIPT), "best"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:] + run.stdout[-500:]
    assert "all well" in run.stdout
