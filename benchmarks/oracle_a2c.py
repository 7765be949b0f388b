"""Our A2C beside the codes of SePS and EPyMARL on one random batch: equal, but where their returns are wrong.

Runs SePS's own `_compute_loss` and EPyMARL's own `ActorCriticLearner.train` with our weights, from checkouts
of uoe-agents/seps and uoe-agents/epymarl; nothing of them is copied. EPyMARL's batches are whole episodes, so
what follows an end is masked there. Its losses of actor and critic are means over agents, where ours are sums
and half of the critic's: its gradients are scaled to that. Needs torch:
PYTHONPATH=.peers python benchmarks/oracle_a2c.py SEPS EPYMARL (`make bench-peers` fills .peers).
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


def epymarl_of(folder: Path) -> Any:
    """EPyMARL's module of the actor–critic learner; to be imported before SePS's stand-ins."""
    import torch._dynamo  # noqa: F401 (Torch's optimizers import it, and it looks for scikit-learn)

    sys.path.insert(0, str(folder / "src"))
    from learners import actor_critic_learner

    return actor_critic_learner


def of_epymarl(
    learners: Any, params: Any, trajectory: Trajectory, seen: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """EPyMARL's gradients with our weights, scaled to a sum over agents and half of the critic's loss."""
    import torch

    def network(layers: Any) -> Any:
        parts: list[Any] = []
        for layer in layers:
            parts += [
                torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0]),
                torch.nn.ReLU(),
            ]
            parts[-2].weight.data = torch.tensor(np.asarray(layer.weight))
            parts[-2].bias.data = torch.tensor(np.asarray(layer.bias))
        return torch.nn.Sequential(*parts[:-1])

    class Critic(torch.nn.Module):
        def __init__(self, scheme: Any, args: Any) -> None:
            super().__init__()
            self.layers = network(params.critic.layers)

        def forward(self, batch: Any) -> Any:
            return self.layers(batch["obs"])

    actor = network(params.agent.layers)
    mac = types.SimpleNamespace(
        parameters=actor.parameters,
        init_hidden=lambda size: None,
        forward=lambda batch, t: torch.softmax(actor(batch["obs"][:, t]), -1),
    )

    def by_episode(array: np.ndarray) -> Any:
        return torch.tensor(array.swapaxes(0, 1).copy())

    class Batch(dict[str, Any]):
        batch_size, max_seq_length = ENVS, TIME + 1

    steps = np.ones((TIME + 1, ENVS, 1), np.float32)
    following = np.concatenate([seen[:1], trajectory.next_observation])
    ends = np.concatenate([trajectory.ended, np.zeros((1, ENVS), bool)])[..., None]
    actions = np.concatenate([trajectory.action, trajectory.action[-1:]])[..., None]
    rewards = np.concatenate([trajectory.reward, trajectory.reward[-1:]])
    batch = Batch(
        obs=by_episode(following),
        actions=by_episode(actions.astype(np.int64)),
        reward=by_episode(rewards),
        terminated=by_episode(ends.astype(np.float32)),
        filled=by_episode(steps),
    )
    arguments = types.SimpleNamespace(
        **{"n_agents": AGENTS, "n_actions": ACTIONS, "lr": 0.0, "critic_type": "ours"},
        **{"use_cuda": False, "standardise_returns": False, "standardise_rewards": False},
        **{"common_reward": False, "q_nstep": TIME, "gamma": SETTINGS["gamma"]},
        **{"add_value_last_step": True, "entropy_coef": SETTINGS["entropy_coef"]},
        **{"grad_norm_clip": 1e9, "target_update_interval_or_tau": 1.0, "learner_log_interval": 1},
    )
    with mock.patch.dict(learners.critic_resigtry, {"ours": Critic}):
        learner = learners.ActorCriticLearner(mac, None, mock.MagicMock(), arguments)
    learner.train(batch, 0, 0)
    scale = {"agent": AGENTS, "critic": AGENTS * SETTINGS["value_loss_coef"]}
    both = {"agent": actor, "critic": learner.critic}
    return {
        name: [scale[name] * each.grad.numpy() for each in network.parameters()]
        for name, network in both.items()
    }


def distance(ours: Any, theirs: Any) -> float:
    """The largest difference of two gradients, over the largest entry of its array."""
    return max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for network in ours
        for a, b in zip(ours[network], theirs[network], strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seps", type=Path, help="a checkout of uoe-agents/seps")
    parser.add_argument("epymarl", type=Path, help="a checkout of uoe-agents/epymarl")
    arguments = parser.parse_args()
    epymarl = epymarl_of(arguments.epymarl)
    seps = seps_of(arguments.seps)
    found = {}
    for name, ended in (("no episode ends", False), ("one terminates, one is cut", True)):
        trajectory, seen = batch_of(ended)
        params, loss, gradients = ours(trajectory)
        other, others = theirs(seps, params, trajectory, seen)
        found[name] = {
            "ours": loss,
            "seps": other,
            "gradient, largest relative difference": distance(gradients, others),
            "from epymarl's": distance(gradients, of_epymarl(epymarl, params, trajectory, seen)),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
