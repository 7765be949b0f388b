"""What a benchmark's rows say of where they come from."""

import platform
import subprocess
from pathlib import Path


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """The commit of this checkout, short, with + where what is measured has changes."""
    root = Path(__file__).parent.parent
    name = _git(root, "rev-parse", "--short", "HEAD")
    return name + ("+" if _git(root, "status", "--porcelain", "--", "src", "benchmarks") else "")


def _git(folder: Path, *arguments: str) -> str:
    run = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=folder)
    return run.stdout.strip()
