"""On-policy updates as one compiled call: roll, learn, roll, learn."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, PRNGKeyArray

from mast.algorithms.protocol import OnPolicyAlgorithm
from mast.envs.protocol import Environment, EnvironmentSpec, TimeStep
from mast.execution.learner import Learner, LearnerState, UpdateMetrics
from mast.learning.method import Method
from mast.learning.observed import Observed
from mast.learning.trajectory import Trajectory
from mast.own_code import told_of
from mast.training.breaches import Breach
from mast.training.streams import Finished, Streams, roll


class Advanced(NamedTuple):
    """What happened in some rollouts; of later rows, up to the most that there may be, zeros."""

    metrics: UpdateMetrics
    """Of the updates from each rollout, their means, [rollouts]."""
    finished: Finished
    """Of the episodes that ended in each rollout, [rollouts]."""
    breach: Breach
    """The first of each rollout, [rollouts]."""
    trajectory: Trajectory | None
    """What was learned from, [rollouts time envs …]; None where it is not kept."""


def advance(
    learner: Learner,
    environment: Environment,
    state: LearnerState,
    streams: Streams,
    observed: Observed | None,
    method: Method,
    key: PRNGKeyArray,
    env_steps: Float[jax.Array, ""],
    number: Int[jax.Array, ""],
    rollouts: Int[jax.Array, ""],
    *,
    at_most: int,
    keep: bool = False,
) -> tuple[LearnerState, Streams, Observed | None, Any, Advanced]:
    """So many rollouts of the policy as it then is, and the updates from each.

    One program for any number of them.

    Args:
        learner: of an algorithm of the loop "on_policy".
        environment: a JAX environment.
        state: the networks.
        streams: where the environments are.
        observed: statistics by which observations are normalised, those before a rollout for all of it.
        method: the method's numbers.
        key: of the run; folded with the number of each update.
        env_steps: of the run so far.
        number: rollouts made so far.
        rollouts: how many, at least 1.
        at_most: how many there may be.
        keep: whether to give the trajectories back.

    Returns:
        Networks, environments and statistics then, the dense gradient of the last update, and what happened.
    """
    config = learner.config
    per_rollout = config.rollout_steps * config.parallel_envs

    def one(
        index: Any, state: LearnerState, streams: Streams, observed: Observed | None
    ) -> tuple[Any, Advanced]:
        play_key, learn_key = jax.random.split(jax.random.fold_in(key, number + index + 1))
        streams, trajectory, finished, breach = roll(
            environment,
            partial(act_on, learner, state.params, observed),
            play_key,
            streams,
            config.rollout_steps,
        )
        taken = env_steps + (index + 1) * per_rollout
        learnt = learn_from(
            learner, environment.spec, state, observed, trajectory, method, taken, learn_key
        )
        told = Advanced(learnt.metrics, finished, breach, learnt.trajectory if keep else None)
        return (learnt.state, streams, learnt.observed, learnt.gradient), told

    def step(index: Any, carry: tuple[Any, Advanced]) -> tuple[Any, Advanced]:
        (state, streams, observed, _), done = carry
        after, told = one(index, state, streams, observed)
        return after, jax.tree.map(lambda all_, own: all_.at[index].set(own), done, told)

    _, told = jax.eval_shape(one, jnp.int32(0), state, streams, observed)
    blank = jax.tree.map(lambda own: jnp.zeros((at_most, *own.shape), own.dtype), told)
    gradient = jax.tree.map(jnp.zeros_like, learner.trainable(state))
    (state, streams, observed, gradient), done = jax.lax.fori_loop(
        0, rollouts, step, ((state, streams, observed, gradient), blank)
    )
    return state, streams, observed, gradient, done


class Learnt(NamedTuple):
    """What followed from one rollout."""

    state: LearnerState
    observed: Observed | None
    metrics: UpdateMetrics
    gradient: Any
    """The dense one of the last update."""
    trajectory: Trajectory
    """As networks read it."""


def learn_from(
    learner: Learner,
    spec: EnvironmentSpec,
    state: LearnerState,
    observed: Observed | None,
    trajectory: Trajectory,
    method: Method,
    env_steps: Float[jax.Array, ""],
    key: PRNGKeyArray,
) -> Learnt:
    """The updates from one rollout, and the statistics with it.

    Args:
        learner: of an algorithm of the loop "on_policy".
        spec: of the environment.
        state: the networks.
        observed: statistics by which the rollout is normalised.
        trajectory: of the rollout, as it came.
        method: the method's numbers.
        env_steps: of the run, with the rollout.
        key: for the order of minibatches.
    """
    algorithm = learner.entry.algorithm
    assert isinstance(algorithm, OnPolicyAlgorithm)
    if observed is not None:
        observed, trajectory = observed.after(spec, trajectory), observed.read(trajectory)
    with told_of(learner.config.algorithm, "targets"):
        params, batch = algorithm.targets(state.params, trajectory, method)
    state, metrics, gradient = _learn(
        learner, state._replace(params=params), batch, method, env_steps, key
    )
    return Learnt(state, observed, metrics, gradient, trajectory)


def act_on(
    learner: Learner,
    params: Any,
    observed: Observed | None,
    key: PRNGKeyArray,
    seen: TimeStep,
) -> tuple[Int[jax.Array, "envs agents"], dict[str, jax.Array]]:
    """Actions of what the environments show, normalised where it is to be."""
    algorithm = learner.entry.algorithm
    assert isinstance(algorithm, OnPolicyAlgorithm)
    with told_of(learner.config.algorithm, "act"):
        return algorithm.act(params, key, seen if observed is None else observed.seen(seen))


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
