"""A sparse classifier of handwritten digits (those that scikit-learn ships), beside the dense one.

    taskset -c 0 .venv/bin/python -m examples.sparse_digits

An MLP of 64-1024-1024-10, trained by Adam on 1,437 pictures. Sparse arms begin with random masks and have
their active weights only (`compact`) from the first step on; every 200 steps they evolve. The score is
the share of the 360 other pictures that are classified correctly, in percent.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mast.sparsity import every

WIDTH, BATCH, STEPS, INTERVAL, LEARNING_RATE = 1024, 128, 1000, 200, 1e-3


def train(arm: Arm, seed: int, width: int = WIDTH, steps: int = STEPS) -> Result:
    """One run of one arm."""
    pictures, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        (pictures / 16).astype(np.float32), digits, test_size=0.2, random_state=0, stratify=digits
    )
    keys = jax.random.split(jax.random.key(seed), 3)
    network = network_of(arm, 64, 10, width, keys[0])
    network, optimizer, state = sparse_and_compact(arm, network, optax.adam(LEARNING_RATE), keys[1])

    @eqx.filter_value_and_grad
    def loss_and_gradient(network, x, y):
        logits = jax.vmap(network)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @eqx.filter_jit
    def update(network, state, x, y):
        loss, gradient = loss_and_gradient(network, x, y)
        updates, state = optimizer.update(gradient, state, network)
        return eqx.apply_updates(network, updates), state, loss

    @eqx.filter_jit
    def dense_gradient(masked, x, y):
        return loss_and_gradient(masked, x, y)[1]

    evolve = every(INTERVAL, optimizer.evolve) if evolving(optimizer) else None
    batches = np.random.default_rng(seed).integers(0, len(x), (steps, BATCH))

    def learn(network, state, begin, end):
        for step in range(begin, end):
            batch = x[batches[step]], y[batches[step]]
            network, state, _ = update(network, state, *batch)
            if evolve is not None:
                network, state, _ = evolve(
                    network,
                    state,
                    lambda masked, batch=batch: dense_gradient(masked, *batch),
                    step=step,
                    total=steps,
                    key=keys[2],
                )
        jax.block_until_ready(jax.tree.leaves(eqx.filter(network, eqx.is_array)))
        return network

    clock = [time.process_time()]
    first = min(INTERVAL, steps)
    learn(network, state, first - 2, first)  # compiles; its result is not used
    clock.append(time.process_time())
    network = learn(network, state, 0, steps)
    clock.append(time.process_time())
    right = jnp.argmax(jax.vmap(network)(x_test), axis=1) == y_test
    score = 100 * float(right.mean())
    return Result(score, clock[2] - clock[1], clock[1] - clock[0], weights_of(network))


if __name__ == "__main__":
    compare(__doc__.splitlines()[0], "% right", train)
