"""A run's evaluations sent to a logger of the user's choice, while it trains. Imports no JAX."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

from mast.config import Config
from mast.errors import UserError
from mast.training.metrics import Metrics

NUMBERS = ("episodes", "updates", "epsilon", "loss", "train_return", "density", "seconds")
"""What is sent of a round beside the evaluation's win rate, return and episode length."""


class WandbTracker:
    """A run of Weights & Biases, which takes project, mode and key from its own environment variables.

    wandb must be installed.

    Args:
        config: of the run, sent with it.
        out: the run's folder; its name is the run's, its path says which one goes on when it is resumed.

    Raises:
        UserError: it does not start.
    """

    def __init__(self, config: Config, out: Path) -> None:
        import wandb

        try:
            self._run: Any = wandb.init(
                id=hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12],
                name=out.name,
                resume="allow",
                config=config.model_dump(mode="json"),
            )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(f"log = wandb: it does not start: {reason}") from error

    def __enter__(self) -> WandbTracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run.finish()

    def update(self, metrics: Metrics) -> None:
        """Sends a round that was evaluated."""
        evaluation = metrics.evaluation
        if evaluation is None:
            return
        row = {name: getattr(metrics, name) for name in NUMBERS}
        row |= dict(metrics.loss_metrics)
        row |= {"win_rate": evaluation.win_rate, "return": evaluation.return_}
        row |= {"sampled_win_rate": evaluation.sampled_win_rate}
        row |= {"sampled_return": evaluation.sampled_return, "episode_length": evaluation.length}
        known = {name: value for name, value in row.items() if value is not None}
        self._run.log(known, step=metrics.env_steps)
