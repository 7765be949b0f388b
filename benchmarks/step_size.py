"""What updates move in a network's utilities, by density and learning rate.

    taskset -c 0 python benchmarks/step_size.py

One batch of 32 played 2s3z episodes, fresh QMIX networks (static sparse, one-step targets), 200 updates on
it. Printed is the standard deviation of the change of Q_i over states, agents and the actions taken, and
that within each action: a bias moves an action's value in all states alike, and only the rest tells states
apart. Means over three seeds; rows go to results/step_size.csv.
"""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
from update import played_batch

from mast import resolve
from mast.algorithms.value.decomposition import episodes_of, utilities
from mast.execution.account import sizes_of
from mast.execution.environment import environment_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config

ROOT = Path(__file__).parent.parent
ENVIRONMENT = "smax/2s3z"
DENSITIES = (1.0, 0.2, 0.05)
LEARNING_RATES = (0.0005, 0.005)
UPDATES = 200
SEEDS = 3


def change(batch, density: float, learning_rate: float, seed: int) -> tuple[float, float]:
    """Standard deviation of the change of Q_i after `UPDATES` updates, and that within each action."""
    method = {"method": "dense"} if density == 1 else {"method": "ss", "sparsity": 1 - density}
    config = resolve({"environment": ENVIRONMENT, "learning_rate": learning_rate, **method})
    learner = Learner(config, sizes_of(config, environment_of(config).spec))
    numbers = method_from_config(config)

    @jax.jit
    def move(state):
        def step(_, state):
            return learner.update(state, batch, numbers, jnp.float32(0))[0]

        return jax.lax.fori_loop(0, UPDATES, step, state)

    state = learner.init(jax.random.key(seed))
    episodes = episodes_of(batch)
    before, after = (utilities(each.params.agent, episodes).taken for each in (state, move(state)))
    steps = batch.mask[..., None]
    played = jnp.broadcast_to(steps, before.shape) > 0
    moved, action = (after - before)[played], episodes.action[played]
    sums = jnp.zeros(batch.available.shape[-1])
    means = sums.at[action].add(moved) / jnp.maximum(sums.at[action].add(1.0), 1.0)
    return float(moved.std()), float((moved - means[action]).std())


def main() -> None:
    """Measure and write."""
    batch = jax.device_put(played_batch(ENVIRONMENT))
    with (ROOT / "results" / "step_size.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "environment",
                "density",
                "learning_rate",
                "updates",
                "seeds",
                "std_change",
                "std_within_action",
            ]
        )
        for density in DENSITIES:
            for rate in LEARNING_RATES:
                moved = [change(batch, density, rate, seed) for seed in range(SEEDS)]
                means = [f"{sum(each) / SEEDS:.4f}" for each in zip(*moved, strict=True)]
                row = [ENVIRONMENT, density, rate, UPDATES, SEEDS, *means]
                writer.writerow(row)
                print(*row, flush=True)


if __name__ == "__main__":
    main()
