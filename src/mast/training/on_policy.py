"""On-policy updates as one compiled call: roll, learn, roll, learn."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from mast.algorithms.protocol import OnPolicyAlgorithm
from mast.envs.protocol import Environment
from mast.execution.learner import Learner, LearnerState, UpdateMetrics
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.training.streams import Finished, Streams, roll


class Advanced(NamedTuple):
    """What happened in some rollouts; of later rows, up to the most that there may be, zeros."""

    metrics: UpdateMetrics
    """Of the updates from each rollout, their means, [rollouts]."""
    finished: Finished
    """Of the episodes that ended in each rollout, [rollouts]."""
    trajectory: Trajectory | None
    """What was learned from, [rollouts time envs …]; None where it is not kept."""


def advance(
    learner: Learner,
    environment: Environment,
    state: LearnerState,
    streams: Streams,
    method: Method,
    key: PRNGKeyArray,
    env_steps: Float[jax.Array, ""],
    number: Int[jax.Array, ""],
    rollouts: Int[jax.Array, ""],
    *,
    at_most: int,
    keep: bool = False,
) -> tuple[LearnerState, Streams, Any, Advanced]:
    """So many rollouts of the policy as it then is, and the updates from each.

    One program for any number of them.

    Args:
        learner: of an algorithm of the loop "on_policy".
        environment: a JAX environment.
        state: the networks.
        streams: where the environments are.
        method: the method's numbers.
        key: of the run; folded with the number of each update.
        env_steps: of the run so far.
        number: rollouts made so far.
        rollouts: how many, at least 1.
        at_most: how many there may be.
        keep: whether to give the trajectories back.

    Returns:
        The networks and environments then, the dense gradient of the last update, and what happened.
    """
    config = learner.config
    algorithm = learner.entry.algorithm
    assert isinstance(algorithm, OnPolicyAlgorithm)
    per_rollout = config.rollout_steps * config.parallel_envs

    def one(index: Any, state: LearnerState, streams: Streams) -> tuple[Any, Advanced]:
        play_key, learn_key = jax.random.split(jax.random.fold_in(key, number + index + 1))
        streams, trajectory, finished = roll(
            environment,
            partial(algorithm.act, state.params),
            play_key,
            streams,
            config.rollout_steps,
        )
        params, batch = algorithm.targets(state.params, trajectory, method)
        taken = env_steps + (index + 1) * per_rollout
        state, metrics, gradient = _learn(
            learner, state._replace(params=params), batch, method, taken, learn_key
        )
        return (state, streams, gradient), Advanced(metrics, finished, trajectory if keep else None)

    def step(index: Any, carry: tuple[Any, Advanced]) -> tuple[Any, Advanced]:
        (state, streams, _), done = carry
        after, told = one(index, state, streams)
        return after, jax.tree.map(lambda all_, own: all_.at[index].set(own), done, told)

    _, told = jax.eval_shape(one, jnp.int32(0), state, streams)
    blank = jax.tree.map(lambda own: jnp.zeros((at_most, *own.shape), own.dtype), told)
    gradient = jax.tree.map(jnp.zeros_like, learner.trainable(state))
    (state, streams, gradient), done = jax.lax.fori_loop(
        0, rollouts, step, ((state, streams, gradient), blank)
    )
    return state, streams, gradient, done


def _learn(
    learner: Learner,
    state: LearnerState,
    batch: Any,
    method: Method,
    env_steps: Float[jax.Array, ""],
    key: PRNGKeyArray,
) -> tuple[LearnerState, UpdateMetrics, Any]:
    """The updates from one rollout: one from all of it, or `epochs` times one from each of its minibatches.

    Returns:
        The networks then, means of what the updates tell, and the last one's dense gradient.
    """
    config = learner.config
    if config.epochs == config.minibatches == 1:
        return learner.update(state, batch, method, env_steps)
    count = config.rollout_steps * config.parallel_envs
    rows = jax.tree.map(lambda each: each.reshape(count, *each.shape[2:]), batch)

    def epoch(carry: Any, key: PRNGKeyArray) -> tuple[Any, UpdateMetrics]:
        order = jax.random.permutation(key, count).reshape(config.minibatches, -1)

        def minibatch(carry: Any, places: jax.Array) -> tuple[Any, UpdateMetrics]:
            part = jax.tree.map(lambda each: each[places], rows)
            state, metrics, gradient = learner.update(carry[0], part, method, env_steps)
            return (state, gradient), metrics

        return jax.lax.scan(minibatch, carry, order)

    start = (state, jax.tree.map(jnp.zeros_like, learner.trainable(state)))
    keys = jax.random.split(key, config.epochs)
    (state, gradient), metrics = jax.lax.scan(epoch, start, keys)
    return state, jax.tree.map(lambda each: each.mean((0, 1)), metrics), gradient
