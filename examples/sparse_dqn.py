"""A sparse DQN on CartPole (gymnax's, in JAX), beside the dense one.

    taskset -c 0 .venv/bin/python -m examples.sparse_dqn

Double DQN with a network of 4-256-256-2; eight environments make a step for each update. Sparse arms begin
with random masks and have their active weights only (`compact`) from the first step on; every 500 updates
they evolve. The score is the mean length of 100 greedy episodes (at most 500) at the end.

Why these settings (dense, seeds 0 to 2): values rise by one step for each copy of the network, so a copy
every 100 updates leaves them at 40 after 5,000. With copies more often Huber's loss let them rise without
end: most errors pull upwards, and the few falls, which are far off, count no more than others. A squared
error holds them. A full memory of sixteen environments, a discount of 0.99 and the plain angle then still
ended near 300; what stands below ends near 500. Sparse arms take the first rate that did, 2e-3, with
`steps="density"` and no search of their own.
"""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from examples.sparse_arms import (
    Arm,
    Result,
    compare,
    evolving,
    network_of,
    sparse_and_compact,
    weights_of,
)
from gymnax.environments.classic_control.cartpole import CartPole

from mast.sparsity import every

WIDTH, UPDATES, ENVIRONMENTS, BATCH, CAPACITY = 256, 5_000, 8, 64, 10_000
CHUNK, INTERVAL, EPISODES = 100, 5, 100
"""Updates in one call, calls from one evolution to the next, episodes of the score."""
LEARNING_RATE, DISCOUNT, TARGET_PERIOD = 2e-3, 0.98, 25
DENSE_LEARNING_RATE, SMALL_LEARNING_RATE = 4e-3, 1e-2
"""Means of seeds 0 to 2: dense at 1e-3, 2e-3, 4e-3 and 8e-3 403, 500, 500 and 500, the small dense network at
2e-3, 5e-3 and 1e-2 390, 394 and 500."""
STEPS = "density"
EXPLORING, EPSILON = 0.2, 0.05
"""The share of updates until epsilon has fallen from 1 to its last value, and that value."""


class Game(CartPole):
    """Its angle is in tenths of a radian, so that all four numbers are about as large."""

    def get_obs(self, state, params=None, key=None):
        """Position, speed, angle, angular speed."""
        return jnp.array([state.x, state.x_dot, 10 * state.theta, state.theta_dot])


GAME = Game()
RULES = GAME.default_params


class Memory(NamedTuple):
    """Transitions, the oldest overwritten."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    after: jax.Array
    ends: jax.Array


class Training(NamedTuple):
    """What one update hands to the next."""

    network: Any
    target: Any
    state: Any
    memory: Memory
    games: Any
    observation: jax.Array
    step: jax.Array
    key: jax.Array


def play(key, games, action):
    """One step of every game; one that ended begins anew, and running out of time is no end to learn from."""
    keys = jax.random.split(key, len(action))
    after, following, reward, falls, _ = jax.vmap(GAME.step_env, (0, 0, 0, None))(
        keys, games, action, RULES
    )
    late = following.time >= RULES.max_steps_in_episode
    begun, fresh = jax.vmap(GAME.reset_env, (0, None))(keys, RULES)
    done = falls | late

    def where_done(new, old):
        return jnp.where(done.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    following, seen = jax.tree.map(where_done, (fresh, begun), (following, after))
    return following, seen, reward, after, falls, done


def begin(network, state, key):
    """Before the first update."""
    observation, games = jax.vmap(GAME.reset_env, (0, None))(
        jax.random.split(key, ENVIRONMENTS), RULES
    )
    memory = Memory(
        jnp.zeros((CAPACITY, 4)),
        jnp.zeros(CAPACITY, int),
        jnp.zeros(CAPACITY),
        jnp.zeros((CAPACITY, 4)),
        jnp.zeros(CAPACITY, bool),
    )
    return Training(network, network, state, memory, games, observation, jnp.asarray(0), key)


def loss_of(network, target, batch):
    """The squared error of double DQN."""
    values = jax.vmap(network)(batch.observation)
    best = jax.vmap(network)(batch.after).argmax(-1)
    following = jnp.take_along_axis(jax.vmap(target)(batch.after), best[:, None], 1)[:, 0]
    wanted = batch.reward + DISCOUNT * ~batch.ends * following
    taken = jnp.take_along_axis(values, batch.action[:, None], 1)[:, 0]
    return optax.l2_loss(taken, jax.lax.stop_gradient(wanted)).mean()


gradient_of = eqx.filter_grad(loss_of)


def drawn(memory, played, key):
    """A batch of what was played so far, in so many steps."""
    known = jnp.minimum(played * ENVIRONMENTS, CAPACITY)
    places = jax.random.randint(key, (BATCH,), 0, known)
    return jax.tree.map(lambda array: array[places], memory)


def one_update(training, optimizer, updates):
    """A step of every environment, and an update."""
    step = training.step
    key, explores, random, game, sample = jax.random.split(training.key, 5)
    epsilon = jnp.maximum(EPSILON, 1 - step / (EXPLORING * updates))
    greedy = jax.vmap(training.network)(training.observation).argmax(-1)
    action = jnp.where(
        jax.random.uniform(explores, greedy.shape) < epsilon,
        jax.random.randint(random, greedy.shape, 0, 2),
        greedy,
    )
    games, seen, *played, _ = play(game, training.games, action)
    places = (step * ENVIRONMENTS + jnp.arange(ENVIRONMENTS)) % CAPACITY
    memory = jax.tree.map(
        lambda array, new: array.at[places].set(new),
        training.memory,
        Memory(training.observation, action, *played),
    )
    gradient = gradient_of(training.network, training.target, drawn(memory, step + 1, sample))
    changes, state = optimizer.update(gradient, training.state, training.network)
    network = eqx.apply_updates(training.network, changes)
    target = jax.tree.map(
        lambda old, new: (
            jnp.where(step % TARGET_PERIOD == 0, new, old) if eqx.is_array(old) else old
        ),
        training.target,
        network,
    )
    return Training(network, target, state, memory, games, seen, step + 1, key)


@eqx.filter_jit
def evaluate(network, key):
    """The mean length of greedy episodes."""
    keys = jax.random.split(key, EPISODES)
    observation, games = jax.vmap(GAME.reset_env, (0, None))(keys, RULES)

    def step(carry, key):
        games, observation, lives = carry
        action = jax.vmap(network)(observation).argmax(-1)
        games, observation, *_, done = play(key, games, action)
        return (games, observation, lives & ~done), lives

    keys = jax.random.split(key, RULES.max_steps_in_episode)
    lives = jax.lax.scan(step, (games, observation, jnp.ones(EPISODES, bool)), keys)[1]
    return lives.sum(0).mean()


def train(arm: Arm, seed: int, width: int = WIDTH, updates: int = UPDATES) -> Result:
    """One run of one arm."""
    keys = jax.random.split(jax.random.key(seed), 5)
    dense = SMALL_LEARNING_RATE if arm.size_of else DENSE_LEARNING_RATE
    rate = LEARNING_RATE if arm.sparsity else dense
    rates = optax.linear_schedule(rate, 0.0, updates)
    network = network_of(arm, 4, 2, width, keys[0])
    network, optimizer, state = sparse_and_compact(arm, network, optax.adam(rates), keys[1], STEPS)
    evolve = every(INTERVAL, optimizer.evolve) if evolving(optimizer) else None

    @eqx.filter_jit
    def chunk(training):
        changing, fixed = eqx.partition(training, eqx.is_array)

        def step(changing, _):
            following = one_update(eqx.combine(changing, fixed), optimizer, updates)
            return eqx.partition(following, eqx.is_array)[0], None

        return eqx.combine(jax.lax.scan(step, changing, length=CHUNK)[0], fixed)

    @eqx.filter_jit
    def dense_gradient(masked, training):
        return gradient_of(
            masked, training.target, drawn(training.memory, training.step, training.key)
        )

    def learn(training, place):
        training = chunk(training)
        if evolve is not None:
            network, state, _ = evolve(
                training.network,
                training.state,
                lambda masked: dense_gradient(masked, training),
                step=place,
                total=updates // CHUNK,
                key=keys[2],
            )
            training = training._replace(network=network, state=state)
        return jax.block_until_ready(training)

    training = begin(network, state, keys[3])
    clock = [time.process_time()]
    learn(training, INTERVAL - 1)  # compiles; its result is not used
    clock.append(time.process_time())
    for place in range(updates // CHUNK):
        training = learn(training, place)
    clock.append(time.process_time())
    score = float(evaluate(training.network, keys[4]))
    return Result(score, clock[2] - clock[1], clock[1] - clock[0], weights_of(network))


if __name__ == "__main__":
    compare(__doc__.splitlines()[0], "steps", train)
