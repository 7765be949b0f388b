"""Our A2C beside the code of SePS on one random batch: equal, but where its returns are wrong.

Runs SePS's own `_compute_loss` with our weights, from a checkout of uoe-agents/seps; nothing of it is copied.
Needs torch: PYTHONPATH=.peers python benchmarks/oracle_a2c.py SEPS (`make bench-peers` fills .peers).
"""

import argparse
import inspect
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from mast.config import Config
from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.learning.trajectory import Trajectory
from mast.networks.spec import Sizes

TIME, ENVS, AGENTS, FEATURES, ACTIONS, WIDTH = 5, 8, 6, 36, 6, 128
SETTINGS = {"gamma": 0.99, "value_loss_coef": 0.5, "entropy_coef": 0.01, "central_v": False}


class Sacred:
    """What SePS needs of sacred: `capture` fills in arguments that the caller leaves out."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.observers: list[Any] = []

    def capture(self, function: Callable[..., Any]) -> Callable[..., Any]:
        names = inspect.signature(function).parameters

        def filled(*args: Any) -> Any:
            missing = list(names)[len(args) :]
            return function(*args, **{name: SETTINGS[name] for name in missing})

        return filled

    def config(self, function: Any) -> Any:
        return function

    automain = config


def seps_of(folder: Path) -> tuple[Any, Any]:
    """SePS's modules `ac` and `model`; what they import and do not need here is a stand-in."""
    sys.path.insert(0, str(folder))
    names = "sacred sacred.observers cpprb kmeans_pytorch gym sklearn sklearn.cluster tqdm"
    names += " sklearn.metrics"
    names += " stable_baselines3 stable_baselines3.common stable_baselines3.common.vec_env wrappers"
    names += " matplotlib matplotlib.pyplot matplotlib.colors torch.utils.tensorboard gym.spaces"
    for name in names.split():
        sys.modules[name] = mock.MagicMock(__all__=[])
    sys.modules["sacred"].Experiment = sys.modules["sacred"].Ingredient = Sacred
    sys.modules["stable_baselines3.common.vec_env"].VecEnvWrapper = object
    wrappers = sys.modules["wrappers"] = types.ModuleType("wrappers")
    for name in ("RecordEpisodeStatistics", "SquashDones", "SMACCompatible"):
        setattr(wrappers, name, None)
    sys.modules["gym.spaces"].flatdim = lambda size: size
    import ac
    import model

    return ac, model


def batch_of(ended: bool) -> tuple[Trajectory, np.ndarray]:
    """A rollout by chance, and what was seen after its last step; with ends, one of them by the rules."""
    chance = np.random.default_rng(0)
    seen = chance.normal(size=(TIME + 1, ENVS, AGENTS, FEATURES)).astype(np.float32)
    terminated, over = np.zeros((2, TIME, ENVS), bool)
    if ended:
        terminated[1, 0] = over[1, 0] = over[2, 1] = True
    following = seen[1:].copy()
    following[over] += 1.0  # the last of an episode is not the first of the next
    trajectory = Trajectory(
        observation=seen[:-1],
        available=np.ones((TIME, ENVS, AGENTS, ACTIONS), bool),
        state=np.zeros((TIME, ENVS, 1), np.float32),
        action=chance.integers(ACTIONS, size=(TIME, ENVS, AGENTS)).astype(np.int32),
        reward=chance.normal(size=(TIME, ENVS, AGENTS)).astype(np.float32),
        next_observation=following,
        next_state=np.zeros((TIME, ENVS, 1), np.float32),
        terminated=terminated,
        ended=over,
        behaviour={},
    )
    return trajectory, seen


def ours(trajectory: Trajectory) -> tuple[Any, float, dict[str, list[np.ndarray]]]:
    """Our networks, their loss and its gradient."""
    config = Config(environment="own:Game", algorithm="maa2c", sharing="fups")
    learner = Learner(config, sizes_of(config, Sizes(FEATURES, 1, ACTIONS, AGENTS)))
    state, method = learner.init(jax.random.key(0)), method_from_config(config)
    arrays = jax.tree.map(jnp.asarray, trajectory)
    params, batch = learner.entry.algorithm.targets(state.params, arrays, method)
    metrics, gradient = learner.gradient(
        state._replace(params=params), batch, method, jnp.float32(0)
    )
    gradients = {
        name: [
            np.asarray(x)
            for layer in getattr(gradient, name).layers
            for x in (layer.weight, layer.bias)
        ]
        for name in ("agent", "critic")
    }
    return state.params, float(metrics.loss), gradients


def theirs(
    seps: tuple[Any, Any], params: Any, trajectory: Trajectory, seen: np.ndarray
) -> tuple[float, dict[str, list[np.ndarray]]]:
    """SePS's loss and gradient with our weights."""
    import torch

    ac, model = seps
    widths = {"actor": [WIDTH] * 3, "critic": [WIDTH] * 3}
    actions = [types.SimpleNamespace(n=ACTIONS)] * AGENTS
    with mock.patch.object(model, "flatdim", lambda space: getattr(space, "n", space)):
        policy = model.Policy([FEATURES] * AGENTS, actions, widths, 1, None)
    policy.sample_laac(ENVS)
    networks = {"agent": policy.actor.independent[0], "critic": policy.critic.independent[0]}
    linear = {
        name: [each for each in network if hasattr(each, "weight")]
        for name, network in networks.items()
    }
    for name, layers in linear.items():
        for mine, other in zip(getattr(params, name).layers, layers, strict=True):
            other.weight.data = torch.tensor(np.asarray(mine.weight))
            other.bias.data = torch.tensor(np.asarray(mine.bias))

    def per_agent(array: np.ndarray) -> list[Any]:
        return [torch.tensor(array[:, agent]) for agent in range(AGENTS)]

    storage = {
        "obs": [per_agent(each) for each in seen],
        "action_mask": [per_agent(np.ones((ENVS, AGENTS, ACTIONS), np.float32))] * (TIME + 1),
        "actions": [
            [each.long().unsqueeze(-1) for each in per_agent(row)] for row in trajectory.action
        ],
        "rewards": [torch.tensor(row) for row in trajectory.reward],
        "done": [torch.tensor(row.astype(np.float32)) for row in trajectory.ended],
    }
    loss = ac._compute_loss(policy, storage)
    loss.backward()
    gradients = {
        name: [x.grad.numpy() for layer in layers for x in (layer.weight, layer.bias)]
        for name, layers in linear.items()
    }
    return float(loss), gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seps", type=Path, help="a checkout of uoe-agents/seps")
    seps = seps_of(parser.parse_args().seps)
    found = {}
    for name, ended in (("no episode ends", False), ("one terminates, one is cut", True)):
        trajectory, seen = batch_of(ended)
        params, loss, gradients = ours(trajectory)
        other, others = theirs(seps, params, trajectory, seen)
        distance = max(
            float(np.abs(a - b).max() / np.abs(b).max())
            for network in gradients
            for a, b in zip(gradients[network], others[network], strict=True)
        )
        found[name] = {
            "ours": loss,
            "seps": other,
            "gradient, largest relative difference": distance,
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
