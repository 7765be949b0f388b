"""The jitted steps of learning, in each of the two executions: dense arrays in XLA, or native kernels."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mast.execution.compact import (
    CompactLearner,
    CompactState,
    compact_density,
    copy_compact_target,
)
from mast.execution.learner import Learner, LearnerState, UpdateMetrics, copy_target
from mast.learning.method import Method
from mast.learning.replay import Batch
from mast.learning.stored import StoredBatch, gathered, half_gathered
from mast.sparsity.topology import Evolution

State = TypeVar("State")
"""How an execution keeps what is learned: `LearnerState` or `CompactState`."""


@runtime_checkable
class Programs(Protocol[State]):
    """What the engine needs. A state is given away where it is changed."""

    update_gives_gradient: bool
    """Whether `update` tells the dense gradient, or None instead."""
    reads_ring: bool
    """Whether a batch may be a `StoredBatch`."""

    def begin(self, state: LearnerState) -> State:
        """The state as these programs keep it."""

    def team(self, state: State) -> LearnerState:
        """The inverse of `begin`: dense arrays and their masks."""

    def agent(self, state: State) -> Any:
        """The online agent as rollouts take it."""

    def densities(self, state: State) -> list[float]:
        """Share of active weights of each run's online networks."""

    def update(
        self,
        state: State,
        batch: Batch | StoredBatch,
        method: Method,
        env_steps: Float[Array, "*runs"],
    ) -> tuple[State, UpdateMetrics, Any]:
        """`Learner.update`."""

    def gradient(
        self,
        state: State,
        batch: Batch | StoredBatch,
        method: Method,
        env_steps: Float[Array, "*runs"],
    ) -> tuple[UpdateMetrics, Any]:
        """`Learner.gradient`."""

    def evolve(
        self,
        state: State,
        gradient: Any,
        method: Method,
        budget: Mapping[str, Int[Array, "..."]],
        env_steps: Float[Array, "*runs"],
        key: Key[Array, "*runs"],
    ) -> tuple[State, Evolution]:
        """`Learner.evolve`."""

    def copy_target(self, state: State) -> State:
        """The state with its target networks set to the online ones."""

    def finite(self, state: State) -> Bool[Array, "..."]:
        """Whether every parameter of each run is finite."""


class MaskedPrograms:
    """Dense arrays with zeros, in XLA.

    Args:
        learner: whose steps these are.
        vmapped: whether all operands lead with a run axis.
    """

    def __init__(self, learner: Learner, vmapped: bool) -> None:
        self.update_gives_gradient, self.reads_ring = True, False
        self._vmapped = vmapped
        over_runs = jax.vmap if vmapped else (lambda function: function)
        self.update = jax.jit(over_runs(learner.update), donate_argnums=0)
        self.gradient = jax.jit(over_runs(learner.gradient))
        self.evolve = jax.jit(over_runs(learner.evolve), donate_argnums=0)
        self.copy_target = jax.jit(copy_target)
        self._finite = jax.jit(over_runs(_all_finite))

    def begin(self, state: LearnerState) -> LearnerState:
        """The state as it is."""
        return state

    def team(self, state: LearnerState) -> LearnerState:
        """The state as it is."""
        return state

    def agent(self, state: LearnerState) -> Any:
        """The online agent."""
        return state.params.agent

    def densities(self, state: LearnerState) -> list[float]:
        """Share of active weights of each run's masks."""
        masks = state.optimizer.masks.values()
        runs = jax.tree.leaves(state.params)[0].shape[0] if self._vmapped else 1
        active = sum(np.asarray(mask).reshape(runs, -1).sum(1) for mask in masks)
        return (active / (sum(mask.size for mask in masks) // runs)).tolist()

    def finite(self, state: LearnerState) -> Bool[Array, "..."]:
        """Whether every parameter of each run is finite."""
        return self._finite(state.params)


class CompactPrograms:
    """Only the active values, in native kernels; evolution goes by way of the masked learner.

    Args:
        learner: the masked learner whose numbers these are.
        threads: that the kernels may use.
    """

    def __init__(self, learner: Learner, threads: int) -> None:
        self.update_gives_gradient, self.reads_ring = False, True
        compact = CompactLearner(learner, threads)
        self.begin, self.team = compact.compact, compact.dense
        self.agent = compact.acting
        self.copy_target = jax.jit(copy_compact_target)
        self._update = jax.jit(compact.update, donate_argnums=0)
        self._finite = jax.jit(_all_finite)
        self._is_fused = compact.is_fused
        self._gathered, self._half_gathered = jax.jit(gathered), jax.jit(half_gathered)

        self._compact = compact
        self._gradient = jax.jit(learner.gradient)
        self._evolve = jax.jit(learner.evolve, donate_argnums=0)

    def update(
        self,
        state: CompactState,
        batch: Batch | StoredBatch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[CompactState, UpdateMetrics, None]:
        """`CompactLearner.update`: the gradient of inactive weights is never computed."""
        if not isinstance(batch, StoredBatch):
            return (*self._update(state, batch, method, env_steps), None)
        # Where nothing is padded one program serves all lengths.
        read = batch.episodes if self._is_fused else self._half_gathered(batch)
        return (*self._update(state, read, method, env_steps), None)

    def gradient(
        self,
        state: CompactState,
        batch: Batch | StoredBatch,
        method: Method,
        env_steps: Float[Array, ""],
    ) -> tuple[UpdateMetrics, Any]:
        """`Learner.gradient`, of a copy where the batch is in the ring."""
        if isinstance(batch, StoredBatch):
            batch = self._gathered(batch)
        return self._gradient(self.team(state), batch, method, env_steps)

    def evolve(
        self,
        state: CompactState,
        gradient: Any,
        method: Method,
        budget: Mapping[str, Int[Array, "..."]],
        env_steps: Float[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[CompactState, Evolution]:
        """`Learner.evolve`; between two copies the targets keep their older structure."""
        dense = self.team(state)
        evolved, evolution = self._evolve(dense, gradient, method, budget, env_steps, key)
        return self._compact.compact_beside(state.target, evolved), evolution

    def densities(self, state: CompactState) -> list[float]:
        """Share of active weights, known without looking at one."""
        return [compact_density(state)]

    def finite(self, state: CompactState) -> Bool[Array, "..."]:
        """Whether every parameter is finite."""
        return self._finite(state.params)


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
