"""What `mast train` says of each environment of own_worlds.py, by replay and on-policy, as a table.

    python tests/envs/breaches.py

prints it; test_breaches.py holds it to what must be said.
"""

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mast.cli import main

HERE = Path(__file__).parent
ALGORITHMS = ("vdn", "maa2c")

BREACHES: dict[str, tuple[str, int, str]] = {
    "Good": ("keeps the contract", 0, ""),
    "NumpySizes": ("NumPy's integers as sizes", 0, ""),
    "Idle": (
        "nobody has an action",
        2,
        "step 2 of an episode: available: agent 0 has no action, must have at least one",
    ),
    "IdleOne": (
        "an agent has no action",
        2,
        "step 2 of an episode: available: agent 1 has no action, must have at least one",
    ),
    "AvailableNumbers": (
        "−1.0 for a boolean",
        2,
        "step 2 of an episode: available: has type float64, must be bool",
    ),
    "LateShape": (
        "one row for all",
        2,
        "step 2 of an episode: observation: has shape [1, 4], must be [2, 4]",
    ),
    "FewRows": (
        "a row too few, in a list",
        2,
        "step 2 of an episode: observation: has 1 rows for 2 agents",
    ),
    "Ragged": (
        "a row too short",
        2,
        "step 2 of an episode: observation of agent 1: has shape [3], must be [4]",
    ),
    "RaggedArray": (
        "a row that is itself ragged",
        2,
        "step 2 of an episode: observation of agent 0: is no array of shape [4]: its rows differ in length",
    ),
    "LateNaN": ("a NaN", 3, "step 3 of an episode: observation of agent 0: holds a NaN"),
    "LateNaNState": ("a NaN in the state", 3, "step 2 of an episode: state: holds a NaN"),
    "LateNaNReward": ("a NaN for a reward", 3, "step 1 of an episode: reward: holds a NaN"),
    "LateInfinity": (
        "an infinity",
        2,
        "step 2 of an episode: observation of agent 1: holds an infinity",
    ),
    "LateRewardPerAgent": (
        "reward [1.0]",
        2,
        "step 1 of an episode: reward: has shape [1], must be []",
    ),
    "LateNotTimeStep": (
        "a tuple for a TimeStep",
        2,
        "step 1 of an episode: must return a TimeStep second, not tuple",
    ),
    "LateNothing": (
        "None",
        2,
        "step 1 of an episode: must return (env_state, TimeStep, Outcome)",
    ),
    "NeverEnds": (
        "no end at the limit",
        2,
        "step: neither terminated nor truncated after spec.episode_limit = 5 steps",
    ),
    "BothEnds": (
        "two ends at once",
        2,
        "step 5 of an episode: terminated and truncated are both True",
    ),
    "WinsWithoutAnEnd": (
        "a win without an end",
        2,
        "step 1 of an episode: won is True without terminated, or although spec.has_win is False",
    ),
    "ResetRaises": ("`reset` raises", 2, "reset failed: ConnectionError: simulator gone"),
    "StepRaises": (
        "`step` raises",
        2,
        "step 1 of an episode failed: ConnectionError: simulator gone",
    ),
    "Leaves": ("`sys.exit`", 2, "step 1 of an episode failed: SystemExit: 0"),
    "ManyActions": (
        "more than 32,767 actions",
        2,
        "spec.actions is 40000, must be at most 32767",
    ),
}
"""Of each environment what is odd, the exit code, and what follows its name in the line."""


class Said(NamedTuple):
    """What came of a training."""

    code: int
    line: str
    """The error; "" where there is none."""
    saved: bool
    """Whether the run can be resumed."""


def train(world: str, algorithm: str, out: Path) -> Said:
    """Trains in one of the worlds; their folder must be on the path."""
    settings = (
        "--steps 500 --parallel-envs 2 --hidden-size 4 --eval-interval 250 --eval-episodes 2 "
        f"--algorithm {algorithm} --method dense --batch-size 4 --checkpoint-interval 0 --quiet"
    ).split()
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = main(["train", f"own_worlds:{world}", *settings, "--out", str(out)])
    lines = [line for line in told.getvalue().splitlines() if line.startswith("mast: error: ")]
    return Said(code, "".join(lines).removeprefix("mast: error: "), (out / "checkpoints").is_dir())


def print_table() -> None:
    """Trains in all of them."""
    sys.path.insert(0, str(HERE))
    print(
        "| environment | what is odd | algorithm | exit code | saved | the line |\n|---|---|---|---|---|---|"
    )
    folder = Path(tempfile.mkdtemp())
    for world, (odd, *_) in BREACHES.items():
        for algorithm in ALGORITHMS:
            said = train(world, algorithm, folder / f"{world}-{algorithm}")
            line = said.line.replace(str(folder), "runs")
            print(
                f"| {world} | {odd} | {algorithm} | {said.code} | {said.saved} | {line} |",
                flush=True,
            )
    shutil.rmtree(folder)


if __name__ == "__main__":
    print_table()
