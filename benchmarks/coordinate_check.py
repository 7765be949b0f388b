"""How far updates move what each layer of the agent computes, by density: μP's coordinate check.

    taskset -c 0 python benchmarks/coordinate_check.py

One batch of 32 played 2s3z episodes, fresh QMIX networks, one-step targets. For each layer of the agent: the
root mean square, over the states of the batch, of x ΔWᵀ and of Δb, where ΔW and Δb are what a number of
updates on that batch change and x is the layer's input before them; once from the start, and once after 20
evolutions (RigL) with ten updates before each. Rows go to results/coordinate_check.csv, the picture to
results/coordinate_check.png.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from update import played_batch

from mast import resolve
from mast.execution.account import sizes_of
from mast.execution.environment import environment_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.networks.agent import RecurrentAgent, last_actions
from mast.networks.gru import gru_sequence, split_gates

ROOT = Path(__file__).parent.parent / "results"
ENVIRONMENT = "smax/2s3z"
DENSITIES = (1.0, 0.2, 0.1, 0.05, 0.02, 0.01)
RULES: dict[str, dict[str, Any]] = {
    "the paper's": {"step_exponent": 0.0},
    "by density": {},
    "by density, 1/ρ": {"step_exponent": 1.0, "step_cap": 1000.0},
}
UPDATES = (10, 200)
EVOLUTIONS, BETWEEN = 20, 10
LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")
COLUMNS = ("rule", "density", "after_evolutions", "updates", "layer", "seed", "weights", "bias")


def inputs_of(agent: RecurrentAgent, batch: Any) -> dict[str, jax.Array]:
    """What each layer is given, over time, batch and agents."""
    last = last_actions(jnp.asarray(batch.action))
    observation = jnp.asarray(batch.observation, jnp.float32)
    time, episodes, agents, _ = observation.shape
    x = agent.encode(observation, last)
    gates = [gate(x.reshape(time, episodes * agents, -1)) for gate in split_gates(agent.gru_input)]
    initial = agent.initial_hidden(episodes * agents)
    hidden = gru_sequence(agent.gru_hidden, tuple(gates), initial).reshape(x.shape)
    before = jnp.concatenate([jnp.zeros_like(hidden[:1]), hidden[:-1]])
    ids = jnp.broadcast_to(jnp.eye(agents), (time, episodes, agents, agents))
    codes = jax.nn.one_hot(last, agent.actions)
    whole = jnp.concatenate([observation, codes, ids], axis=-1)
    return {"fc1": whole, "gru_input": x, "gru_hidden": before, "fc2": hidden}


def root_mean_square(values: jax.Array) -> float:
    """Over all entries."""
    return float(jnp.sqrt(jnp.mean(jnp.square(values))))


def measure(batch: Any, rule: str, density: float, seed: int) -> list[tuple[Any, ...]]:
    """The rows of one network."""
    method = {"method": "dense"} if density == 1 else {"method": "rigl", "sparsity": 1 - density}
    config = resolve({"environment": ENVIRONMENT, "execution": "masked", **RULES[rule], **method})
    learner = Learner(config, sizes_of(config, environment_of(config).spec))
    numbers, steps = method_from_config(config), jnp.float32(0)

    @jax.jit
    def move(state: Any, updates: Any) -> Any:
        return jax.lax.fori_loop(
            0, updates, lambda _, s: learner.update(s, batch, numbers, steps)[0], state
        )

    @jax.jit
    def evolve(state: Any, key: Any) -> Any:
        _, gradient = learner.gradient(state, batch, numbers, steps)
        return learner.evolve(state, gradient, numbers, learner.budget(state.params), steps, key)[0]

    state = learner.init(jax.random.key(seed))
    real = jnp.asarray(batch.mask) > 0
    rows = []
    for evolutions in (0, EVOLUTIONS):
        for number in range(evolutions if density < 1 else 0):
            state = evolve(move(state, BETWEEN), jax.random.key(number))
        inputs = inputs_of(state.params.agent, batch)
        for updates in UPDATES:
            moved = move(state, updates).params.agent
            for name in LAYERS:
                old, new = getattr(state.params.agent, name), getattr(moved, name)
                taken = inputs[name][:-1][real]
                change = root_mean_square(taken @ (new.weight - old.weight).T)
                bias = root_mean_square(new.bias - old.bias)
                rows.append((rule, density, evolutions, updates, name, seed, change, bias))
    return rows


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Change against density relative to dense, one panel per layer and number of updates."""
    import matplotlib.pyplot as plt

    def mean(rule: str, density: float, layer: str, updates: int) -> float:
        found = [
            float(row["weights"])
            for row in rows
            if (row["rule"], row["layer"]) == (rule, layer)
            and float(row["density"]) == density
            and int(row["updates"]) == updates
            and int(row["after_evolutions"]) == EVOLUTIONS
        ]
        return float(np.mean(found)) if found else float("nan")

    figure, axes = plt.subplots(
        1, len(LAYERS), figsize=(12, 3.2), sharey=True, layout="constrained"
    )
    for axis, layer in zip(axes, LAYERS, strict=True):
        for rule in RULES:
            dense = mean(next(iter(RULES)), 1.0, layer, UPDATES[-1])
            sparse = [mean(rule, density, layer, UPDATES[-1]) for density in DENSITIES[1:]]
            ratios = [1.0, *(value / dense for value in sparse)]
            axis.plot(DENSITIES, ratios, marker="o", label=rule)
        axis.axhspan(0.7, 1.3, color="0.92", zorder=0)
        axis.set(xscale="log", yscale="log", title=layer, xlabel="density")
        axis.invert_xaxis()
    axes[0].set_ylabel("change of x Wᵀ, of dense")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--draw", action="store_true", help="only the picture, from the rows")
    options = parser.parse_args()
    table = ROOT / "coordinate_check.csv"
    if not options.draw:
        batch = jax.device_put(played_batch(ENVIRONMENT))
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for seed in range(options.seeds):
                for density in DENSITIES:
                    for rule in list(RULES)[: 1 if density == 1 else None]:  # dense knows no rule
                        for row in measure(batch, rule, density, seed):
                            writer.writerow([*row[:-2], *(f"{value:.4g}" for value in row[-2:])])
                        file.flush()
                        print(seed, density, rule, flush=True)
    with table.open(newline="") as file:
        draw(list(csv.DictReader(file)), ROOT / "coordinate_check.png")


if __name__ == "__main__":
    main()
