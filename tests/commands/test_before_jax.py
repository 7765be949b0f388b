"""A wrong run folder is refused at once: before JAX is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from export.teams import make_run


@pytest.mark.parametrize(
    "line",
    [
        ["compact", "{run}"],
        ["export", "{run}", "--to", "c", "--out", "{out}"],
        ["watch", "{run}", "--out", "{out}.html"],
    ],
    ids=lambda line: line[0],
)
def test_refusals_come_before_jax(line: list[str], tmp_path: Path) -> None:
    empty = make_run(tmp_path / "empty", name="other.safetensors")
    line = [word.format(run=empty, out=tmp_path / "out") for word in line]
    code = f"import sys; from mast.cli import main; code = main({line!r});"
    code += "sys.exit(99 if 'jax' in sys.modules else code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
