"""What a checkpoint keeps of training beside arrays and episodes, ready for JSON."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Counters:
    """What all runs of a program share; a predicate may read nothing else."""

    rounds: int = 0
    episodes: int = 0
    updates: int = 0
    evaluations: int = 0
    evaluated_at: int = 0
    """Environment steps at the last evaluation."""
    seconds: float = 0.0
    """Wall time of earlier sessions."""
    rounds_since_evaluation: list[dict[str, list[float]]] = field(default_factory=list)
    """Means of the rounds that the next row of metrics.csv is about."""


@dataclass
class RunCounters:
    """What a checkpoint keeps of a run beside arrays and episodes."""

    env_steps: int = 0
    win_rates: list[float] = field(default_factory=list)
    last_evaluation: dict[str, Any] | None = None
    best: list[float] | None = None
    """Win rate and return of the best evaluation so far."""
    done: bool = False
    """Whether its last evaluation is made; beside slower runs of its program it then plays on unseen."""
    evaluated_at: int = 0
    """Its environment steps at its last evaluation."""
    watched: dict[str, Any] = field(default_factory=dict)
    """What the next line of diagnostics.jsonl is made of; see `mast.training.watch`."""
