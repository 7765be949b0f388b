"""What there is to say of an algorithm, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mast.accounting.costs import Use
from mast.networks.spec import NetworkSpec, Sizes

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from mast.algorithms.value.decomposition import Algorithm


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm, and what accounting, executions and settings must know of it.

    Attributes:
        name: as `--algorithm` takes it.
        about: in one line.
        algorithm: initialises the networks and computes the loss.
        networks: the online networks by the name of their field in the parameters; each has a sparsity
            budget of its own. The acting one is called "agent".
        uses: copies and forward passes of each network, for size and FLOPs, by sizes and backup operator.
        loop: a name of `mast.loops.LOOPS`.
        metrics: what the loss tells beside its value, in the order of the columns of metrics.csv.
        compact_speedup: how much compact execution gains, as a share of what it gains with QMIX; None
            where there are no kernels, so that it is masked only.
        defaults: settings that it wants with every method.
        mast_defaults: settings that MAST's targets want on it, of whichever method.
    """

    name: str
    about: str
    algorithm: Algorithm
    networks: Callable[[Sizes], dict[str, NetworkSpec]]
    uses: Callable[[Sizes, str], dict[str, Use]]
    loop: str = "replay"
    metrics: tuple[str, ...] = ("q_tot", "target", "td_error")
    compact_speedup: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    mast_defaults: Mapping[str, Any] = field(default_factory=dict)

    def init(self, key: PRNGKeyArray, sizes: Sizes) -> Any:
        """Fresh dense parameters: its networks, at these sizes."""
        return self.algorithm.init(key, self.networks(sizes), sizes)


def pair_uses(sizes: Sizes, operator: str) -> dict[str, Use]:
    """Of an agent and a mixer with a target copy each: passes of 1 (target) + 1 (loss) + 2 (backward)."""
    return {"agent": Use(2, training=4, inference=1), "mixer": Use(2, training=4)}
