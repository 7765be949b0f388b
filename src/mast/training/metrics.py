"""What a round of training tells its watcher."""

from collections.abc import Mapping
from dataclasses import dataclass

from mast.training.evaluation import Evaluation


@dataclass(frozen=True)
class Metrics:
    """One collection round; None where not yet defined. Of several runs in one program: their means."""

    env_steps: int
    total_env_steps: int
    episodes: int
    updates: int
    epsilon: float | None
    """Share of random actions; None where actions are drawn from a policy."""
    loss: float | None
    loss_metrics: Mapping[str, float]
    """What the algorithm tells of its loss, by the names of its entry; empty before the first update."""
    gradient_norm: float | None
    train_return: float | None
    """Of the episodes that ended in this round; None, as the length, where none did."""
    train_win_rate: float | None
    train_length: float | None
    density: float
    env_steps_per_second: float | None
    updates_per_second: float | None
    eta_seconds: float | None
    seconds: float
    """Wall time of training so far, earlier sessions of the run included."""
    evaluation: Evaluation | None
    """The evaluation that followed this round, if one did."""
    last_evaluation: Evaluation | None
    compiling: bool
    """Whether something was compiled in this round, so that its speed means nothing."""
