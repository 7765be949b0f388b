"""The learner: parameters, target networks and sparse optimizer, and the one step that changes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.algorithms.entry import AlgorithmEntry
from mast.algorithms.protocol import LossMetrics
from mast.algorithms.registry import algorithm_entry
from mast.config import Config
from mast.errors import UserError
from mast.execution.account import densities_per_copy
from mast.execution.method import method_from_config
from mast.execution.rules import Rules, rules_of
from mast.execution.topology import (
    agent_leaves,
    final_counts,
    initial_masks,
    team_patterns,
)
from mast.learning.method import Method
from mast.networks.sharing import mean_over_users
from mast.networks.spec import NetworkSpec, Sizes
from mast.own_code import told_of
from mast.sparsity.masks import Masks, apply_masks, leaf_path
from mast.sparsity.optimizer import SparseState, sparse
from mast.sparsity.schedules import cubic_count, schedule_by_number
from mast.sparsity.scores import score_by_number
from mast.sparsity.step_size import scale_by_density
from mast.sparsity.topology import Evolution, evolve


class LearnerState(NamedTuple):
    """Everything that learning changes."""

    params: Any
    """The networks. Their arrays of whole numbers and of booleans are fixed: they have no gradient."""
    target: Any
    """Their target copy; None of an algorithm without one."""
    optimizer: SparseState


class UpdateMetrics(NamedTuple):
    """What one update tells."""

    loss: Float[Array, ""]
    loss_metrics: LossMetrics
    gradient_norm: Float[Array, ""]
    """Of the masked gradient, before clipping."""


@dataclass(frozen=True)
class Learner:
    """Makes and updates the networks of one run; pure, so that it can be jitted and vmapped.

    Args:
        config: resolved settings; of them, what changes shapes or program text and the optimizer's numbers.
        sizes: shapes of the networks.
        rules: what methods choose from by number; those of `config` alone where None.
    """

    config: Config
    sizes: Sizes
    rules: Rules | None = None

    @property
    def entry(self) -> AlgorithmEntry:
        """The algorithm that the configuration names."""
        return algorithm_entry(self.config.algorithm)

    @property
    def networks(self) -> Mapping[str, NetworkSpec]:
        """The declarations of the networks, by the fields of the parameters."""
        return self.entry.networks(self.sizes)

    def init(self, key: PRNGKeyArray) -> LearnerState:
        """Fresh networks with their masks; the target is a copy."""
        return self.begin(key, self.dense_params(key))

    def dense_params(self, key: PRNGKeyArray) -> Any:
        """The networks' first weights, before a mask."""
        with told_of(self.config.algorithm, "init"):
            return self.entry.init(jax.random.split(key)[0], self.sizes)

    def begin(self, key: PRNGKeyArray, params: Any, masks: Masks | None = None) -> LearnerState:
        """The state at the start.

        Args:
            key: as for `dense_params`.
            params: dense weights, fresh or of an earlier run.
            masks: of an earlier run; made by `initial_masks` where None.
        """
        if masks is None:
            masks = initial_masks(jax.random.split(key)[1], params, self.config, self.networks)
        if self.config.init_scale == "sparse" and self.config.initial_weights != "final":
            params = rescale_to_sparse_fan_in(params, masks)
        params = apply_masks(params, masks)
        target = jax.tree.map(jnp.copy, params) if self.entry.has_target else None
        method = method_from_config(self.config)
        trainable, _ = split_fixed(params)
        return LearnerState(params, target, self.optimizer(masks, method).init(trainable))

    def trainable(self, state: LearnerState) -> Any:
        """The networks without their fixed arrays: what a gradient is of."""
        return split_fixed(state.params)[0]

    def optimizer(
        self, masks: Masks, method: Method, env_steps: Float[ArrayLike, ""] = 0.0
    ) -> optax.GradientTransformationExtraArgs:
        """The team's optimizer, blind to inactive weights.

        Args:
            masks: of the online networks.
            method: the learning rate, and how it depends on the density.
            env_steps: of the run so far; the rate falls with them.
        """
        return sparse(team_optimizer(self.config, method, env_steps), masks)

    def gradient(
        self, state: LearnerState, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[UpdateMetrics, Any]:
        """What a batch asks for, without a step.

        Args:
            state: the networks.
            batch: whole episodes.
            method: the method's numbers.
            env_steps: of the run so far.

        Returns:
            What to report, and the *dense* gradient: unmasked and unclipped, as growth needs it.
        """
        trainable, fixed = split_fixed(state.params)

        def loss_of(trainable: Any) -> tuple[Float[Array, ""], LossMetrics]:
            params = eqx.combine(trainable, fixed)
            return self.loss(params, state.target, batch, method, env_steps)

        (loss, loss_metrics), gradient = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        if self.config.agent_gradient == "mean":
            networks = self.entry.networks(self.sizes)
            gradient = mean_over_users(gradient, state.params, networks)
        norm = optax.tree.norm(apply_masks(gradient, state.optimizer.masks))
        return UpdateMetrics(loss, loss_metrics, norm), gradient

    def loss(
        self, params: Any, target: Any, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """The algorithm's loss and metrics, held to what its entry says; while they are traced, so only once.

        Args:
            params, target: the networks, as the execution has them.
            batch, method, env_steps: as in `gradient`.

        Raises:
            UserError: an own loss fails, or returns something else.
        """
        with told_of(self.config.algorithm, "loss"):
            told = self.entry.algorithm.loss(params, target, batch, method, env_steps)
        pair = isinstance(told, tuple) and len(told) == 2 and isinstance(told[1], dict)
        if not pair or jnp.shape(told[0]) != ():
            raise UserError(
                f"{self.config.algorithm}: the loss must return one number and a dictionary of metrics"
            )
        wanted, found = set(self.entry.metrics), set(told[1])
        if wanted != found:
            raise UserError(
                f"{self.config.algorithm}: the loss tells {', '.join(sorted(found)) or 'nothing'}, "
                f"the entry's metrics are {', '.join(sorted(wanted)) or 'none'}"
            )
        return told

    def update(
        self, state: LearnerState, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[LearnerState, UpdateMetrics, Any]:
        """One gradient step; arguments as in `gradient`, whose results it gives after the new state."""
        metrics, gradient = self.gradient(state, batch, method, env_steps)
        optimizer = self.optimizer(state.optimizer.masks, method, env_steps)
        trainable, fixed = split_fixed(state.params)
        updates, opt_state = optimizer.update(gradient, state.optimizer, trainable)
        params = eqx.combine(optax.apply_updates(trainable, updates), fixed)
        return LearnerState(params, state.target, opt_state), metrics, gradient

    def budget(self, params: Any) -> dict[str, Int[Array, "..."]]:
        """Active weights that each layer has in the end, by leaf path; data of `evolve`."""
        return {
            name: jnp.asarray(count, jnp.int32)
            for name, count in final_counts(params, self.config, self.networks).items()
        }

    def evolve(
        self,
        state: LearnerState,
        gradient: Any,
        method: Method,
        budget: dict[str, Int[Array, "..."]],
        env_steps: Float[Array, ""],
        key: PRNGKeyArray,
    ) -> tuple[LearnerState, Evolution]:
        """One topology evolution of the online networks (MAST, Algorithm 1).

        Args:
            state: after the update that gave the gradient.
            gradient: the dense gradient of the current batch.
            method: scores, ζ_0 and its schedule, pruning, and what grown weights remember.
            budget: of `budget`, for pruning.
            env_steps: of the run so far; ζ_t falls with it.
            key: for random scores.
        """
        rules = self.rules or rules_of([self.config])
        trainable, fixed = split_fixed(state.params)
        evolved, opt_state, evolution = evolve(
            trainable,
            state.optimizer,
            self.optimizer(state.optimizer.masks, method),
            gradient,
            key=key,
            drop_fraction=schedule_by_number(method.drop_schedule, list(rules.schedule.values()))(
                method.drop_fraction, env_steps, method.total_env_steps
            ),
            drop_score=score_by_number(method.drop, list(rules.drop.values())),
            growth_score=score_by_number(method.growth, list(rules.growth.values())),
            grown_state=method.grown_state,
            active=self._active_at(env_steps, state.optimizer.masks, method, budget),
            per_unit=agent_leaves(state.params) if densities_per_copy(self.config, 1) else False,
            patterns=team_patterns(self.config, self.networks),
        )
        params = eqx.combine(evolved, fixed)
        return LearnerState(params, state.target, opt_state), evolution

    def _active_at(
        self,
        env_steps: Float[Array, ""],
        masks: Masks,
        method: Method,
        budget: dict[str, Int[Array, "..."]],
    ) -> dict[str, Int[Array, "..."]]:
        """How many weights each layer may have now: all that it has, but where it is pruned."""
        between = (method.prune_begin_env_steps, method.prune_end_env_steps)
        allowed = {}
        for name, final in budget.items():
            size = (
                masks[name].size // final.size
            )  # of one agent's matrix where each has its own count
            pruned = cubic_count(size, final, env_steps, *between)
            allowed[name] = jnp.where(method.prunes, pruned, size)
        return allowed


def split_fixed(params: Any) -> tuple[Any, Any]:
    """The networks' trainable arrays, and those without gradient: whole numbers and booleans."""
    return eqx.partition(params, eqx.is_inexact_array)


def team_optimizer(
    config: Config, method: Method, env_steps: Float[ArrayLike, ""] = 0.0
) -> optax.GradientTransformation:
    """Clipped RMSProp or Adam as in Torch (eps outside the root), with steps that fit the density."""
    rms = (
        optax.scale_by_adam(eps=config.rms_epsilon)
        if config.optimizer == "adam"
        else optax.scale_by_rms(decay=config.rms_decay, eps=config.rms_epsilon, eps_in_sqrt=False)
    )
    return optax.chain(
        optax.clip_by_global_norm(config.gradient_clip),
        optax.chain(
            rms,
            scale_by_density(
                method.step_exponent, method.step_cap, method.annealed(env_steps), method.final_step
            ),
            optax.scale(-method.learning_rate),
        ),
    )


def copy_target(state: LearnerState) -> LearnerState:
    """The state with its target networks set to the online ones (values and, through them, masks)."""
    return state._replace(target=jax.tree.map(jnp.copy, state.params))


def rescale_to_sparse_fan_in(params: Any, masks: Masks) -> Any:
    """Weights drawn for the dense fan-in, scaled to the mean fan-in that the mask leaves (`init_scale`)."""

    def rescaled(path: tuple[Any, ...], leaf: Array) -> Array:
        mask = masks.get(leaf_path(path))
        return leaf if mask is None else leaf * jnp.sqrt(mask.size / mask.sum())

    return jax.tree_util.tree_map_with_path(rescaled, params)
