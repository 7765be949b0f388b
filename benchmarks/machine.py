"""What a benchmark's rows say of where they come from."""

import subprocess
from pathlib import Path

from mast.configuration.record import processor

__all__ = ["commit", "processor"]


def commit() -> str:
    """The commit of this checkout, short, with + where what is measured has changes."""
    root = Path(__file__).parent.parent
    name = _git(root, "rev-parse", "--short", "HEAD")
    return name + ("+" if _git(root, "status", "--porcelain", "--", "src", "benchmarks") else "")


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=folder)
    return run.stdout.strip()
