"""The campaign: everything that may happen to a run, tried, in a table of tried and passed.

    make campaign                            the long form, about half an hour
    python tests/campaign/run.py --short     what the suite runs (no fuzz)
    python tests/campaign/run.py --only disk damage

Each module below has `trials(long)`, which gives the trials of its kind.
"""

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from campaign.trial import Trial

KINDS = ("kill", "disk", "damage", "settings", "policies", "fuzz")
"""Modules of this folder."""


def trials_of(kinds: Iterable[str], long: bool) -> Iterator[Trial]:
    """The trials of these kinds."""
    for kind in kinds:
        yield from import_module(f"campaign.{kind}").trials(long)


def play_all(trials: Iterable[Trial]) -> tuple[dict[str, list[int]], list[str]]:
    """Plays trials, each in an empty folder.

    Returns:
        per group how many were tried and how many passed, and of each failure its name and last lines.
    """
    tried, passed, failures = Counter[str](), Counter[str](), []
    for trial in trials:
        tried[trial.group] += 1
        with tempfile.TemporaryDirectory() as folder:
            try:
                trial.play(Path(folder))
                passed[trial.group] += 1
            except Exception:
                failures.append(f"{trial.group}, {trial.name}\n{traceback.format_exc(limit=-3)}")
    return {group: [tried[group], passed[group]] for group in tried}, failures


def table(counts: dict[str, list[int]]) -> str:
    """A line per group, and the sum."""
    rows = [
        *counts.items(),
        ("all", [sum(count[place] for count in counts.values()) for place in (0, 1)]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{'':{width}}  tried  passed"]
    lines += [f"{name:{width}}  {tried:5}  {passed:6}" for name, (tried, passed) in rows]
    return "\n".join(lines)


def main() -> int:
    """Plays what was asked for; 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="what the suite runs")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="these kinds")
    asked = parser.parse_args()
    counts, failures = play_all(trials_of(asked.only, not asked.short))
    print("\n".join(failures))
    print(table(counts))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
