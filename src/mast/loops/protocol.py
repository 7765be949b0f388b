"""What a trainer needs of a loop."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mast.learning.learner import UpdateMetrics
from mast.training.counters import Counters
from mast.training.engine import State
from mast.training.meter import Meter
from mast.training.rollout import Totals


@runtime_checkable
class Loop(Protocol):
    """One round at a time: collect, then learn. A loop's own counters are kept by each checkpoint."""

    def collect(self, state: State, counters: Counters, meter: Meter) -> Totals:
        """Plays one round in every run and keeps what learning needs of it; what it came to."""
        ...

    def learn(
        self, state: State, counters: Counters, meter: Meter
    ) -> tuple[State, list[UpdateMetrics]]:
        """Makes the updates that are due, and what follows each; `state` is given away."""
        ...

    def record(self) -> dict[str, Any]:
        """The loop's own counters, ready for JSON."""
        ...

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counters of a checkpoint."""
        ...
