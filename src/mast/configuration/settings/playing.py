"""Settings of exploration and evaluation."""

from pydantic import BaseModel

from mast.configuration.settings.declaration import setting

EXPLORATION = "exploration"
WATCH = "evaluation"


class ExplorationSettings(BaseModel):
    """Random actions."""

    epsilon_start: float = setting(
        1.0, EXPLORATION, "share of random actions at first, ε", "MAST Table 5", ge=0, le=1
    )
    epsilon_end: float = setting(
        0.05, EXPLORATION, "share of random actions at last", "MAST Table 5", ge=0, le=1
    )
    epsilon_steps: int = setting(
        50_000,
        EXPLORATION,
        "environment steps from the first to the last",
        "MAST Table 5; with a preset its 50,000 and 100,000",
        ge=1,
        le=10**12,
    )


class EvaluationSettings(BaseModel):
    """What is looked at and kept along the way."""

    eval_interval: int = setting(
        10_000, WATCH, "environment steps between two evaluations", "PyMARL", ge=1, le=10**12
    )
    eval_episodes: int = setting(
        32, WATCH, "greedy episodes per evaluation", "PyMARL", ge=1, le=100_000
    )
    diagnostics: bool = setting(
        False,
        WATCH,
        "at each evaluation, record values against returns, dead neurons and mask changes in "
        "diagnostics.jsonl",
        "docs/inspect.md",
    )
    snapshots: tuple[float, ...] | None = setting(
        (0.0, 0.25, 0.5, 1.0),
        WATCH,
        "shares of the steps at which the masks are saved, for mast inspect",
        "MAST Fig 10 (0, 0.5, 1, 2 of 2 million)",
    )
    checkpoint_interval: float = setting(
        30.0,
        WATCH,
        "seconds between two checkpoints; 0 = after every round",
        "ours",
        ge=0,
        le=10**7,
    )
