"""What a trainer needs of a loop."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mast.training.counters import Counters
from mast.training.engine import State
from mast.training.meter import Meter
from mast.training.rounds import Round


@runtime_checkable
class Loop(Protocol):
    """One round at a time: play and learn. What a loop must remember is kept by each checkpoint."""

    @property
    def can_save(self) -> bool:
        """Whether a checkpoint made now would hold all that the loop needs to go on."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether a run that goes on from a checkpoint made now is the same as one that was never stopped."""
        ...

    def round(self, state: State, counters: Counters, meter: Meter) -> tuple[State, Round]:
        """Plays and makes the updates that are due; `state` is given away."""
        ...

    def learnt(self, state: State) -> State:
        """What to save where a round failed: `state`, which it was given, or what came of it since."""
        ...

    def record(self) -> dict[str, Any]:
        """The loop's own counters, ready for JSON."""
        ...

    def restore(self, record: Mapping[str, Any]) -> None:
        """Takes up the counters of a checkpoint."""
        ...

    def arrays(self, place: int) -> Any:
        """The loop's own arrays of the run at that place, a pytree; empty where it has none."""
        ...

    def take_up(self, arrays: list[Any]) -> None:
        """Takes up the arrays of a checkpoint, of every run."""
        ...
