"""On-policy updates as one compiled call: roll, learn, roll, learn."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from mast.algorithms.protocol import OnPolicyAlgorithm
from mast.envs.protocol import Environment
from mast.learning.learner import Learner, LearnerState, UpdateMetrics
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.training.streams import Finished, Streams, roll


class Advanced(NamedTuple):
    """What happened in some updates."""

    metrics: UpdateMetrics
    """Of each update, [updates]."""
    finished: Finished
    """Of all the episodes that ended."""
    trajectory: Trajectory | None
    """What was learned from, [updates time envs …]; None where it is not kept."""


def advance(
    learner: Learner,
    environment: Environment,
    state: LearnerState,
    streams: Streams,
    method: Method,
    key: PRNGKeyArray,
    env_steps: Float[jax.Array, ""],
    number: Int[jax.Array, ""],
    *,
    updates: int,
    keep: bool = False,
) -> tuple[LearnerState, Streams, Any, Advanced]:
    """So many updates, each from a rollout of the policy as it then is.

    Args:
        learner: of an algorithm of the loop "on_policy".
        environment: a JAX environment.
        state: the networks.
        streams: where the environments are.
        method: the method's numbers.
        key: of the run; folded with the number of each update.
        env_steps: of the run so far.
        number: updates made so far.
        updates: how many.
        keep: whether to give the trajectories back.

    Returns:
        The networks and environments then, the dense gradient of the last update, and what happened.
    """
    config = learner.config
    algorithm = learner.entry.algorithm
    assert isinstance(algorithm, OnPolicyAlgorithm)
    per_update = config.rollout_steps * config.parallel_envs

    def update(carry: tuple[Any, ...], index: Int[jax.Array, ""]) -> tuple[Any, Any]:
        state, streams, _ = carry
        streams, trajectory, finished = roll(
            environment,
            partial(algorithm.act, state.params),
            jax.random.fold_in(key, number + index + 1),
            streams,
            config.rollout_steps,
        )
        batch = algorithm.targets(state.params, trajectory, method)
        taken = env_steps + (index + 1) * per_update
        state, metrics, gradient = learner.update(state, batch, method, taken)
        return (state, streams, gradient), (metrics, finished, trajectory if keep else None)

    trainable = jax.tree.map(jnp.zeros_like, learner.trainable(state))
    (state, streams, gradient), (metrics, finished, trajectory) = jax.lax.scan(
        update, (state, streams, trainable), jnp.arange(updates)
    )
    finished = jax.tree.map(lambda each: each.sum(0), finished)
    return state, streams, gradient, Advanced(metrics, finished, trajectory)
