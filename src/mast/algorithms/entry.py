"""All facts about an algorithm, in one record. Imports no JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from mast.accounting.costs import Use
from mast.networks.spec import NetworkSpec, Sizes

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from mast.algorithms.protocol import Algorithm


SAMPLED = ("sampled_win_rate", "sampled_return")
"""Columns of evaluations in which the agents draw their actions as in training, beside the greedy ones."""


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm, and what accounting, executions and settings must know of it.

    Attributes:
        name: as `--algorithm` takes it.
        about: in one line.
        implementation: initialises the networks and computes the loss; or where it stands, "module:name", so
            that it is imported, and JAX with it, when it is first used.
        networks: the online networks by the name of their field in the parameters; each has a sparsity
            budget of its own. The acting one is called "agent".
        uses: copies and forward passes of each network, for size and FLOPs, by sizes and backup operator.
        loop: a name of `mast.loops.LOOPS`.
        metrics: what the loss tells beside its value, in the order of the columns of metrics.csv.
        rewards: "agent" where each agent can learn from its own reward; else the environment's are added up
            or averaged (`team_reward`).
        has_target: whether it learns from a target copy of its networks.
        stochastic: whether agents draw their actions from a policy; evaluations then also play so.
        compact_speedup: how much compact execution gains, as a share of what it gains with QMIX; None
            where there are no kernels, so that it is masked only.
        defaults: settings that it wants with every method; of ours only.
        mast_defaults: settings that MAST's targets want on it, of whichever method; of ours only.
    """

    name: str
    about: str
    implementation: Algorithm | str
    networks: Callable[[Sizes], dict[str, NetworkSpec]]
    uses: Callable[[Sizes, str], dict[str, Use]]
    loop: str = "replay"
    metrics: tuple[str, ...] = ("q_tot", "target", "td_error")
    rewards: Literal["team", "agent"] = "team"
    has_target: bool = True
    stochastic: bool = False
    compact_speedup: float | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    mast_defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Its own columns of metrics.csv."""
        return (*self.metrics, *(SAMPLED if self.stochastic else ()))

    @property
    def algorithm(self) -> Algorithm:
        """The implementation."""
        if isinstance(self.implementation, str):
            module, _, name = self.implementation.partition(":")
            return cast("Algorithm", getattr(importlib.import_module(module), name))
        return self.implementation

    def init(self, key: PRNGKeyArray, sizes: Sizes) -> Any:
        """Fresh dense parameters: its networks, at these sizes."""
        return self.algorithm.init(key, self.networks(sizes), sizes)


def pair_uses(sizes: Sizes, operator: str) -> dict[str, Use]:
    """Of an agent and a mixer with a target copy each: passes of 1 (target) + 1 (loss) + 2 (backward)."""
    return {"agent": Use(2, training=4, inference=1), "mixer": Use(2, training=4)}
