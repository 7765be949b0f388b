"""Hold a run's Q_tot against what really followed, and say how its lost games ended.

    python results/value_check.py RUN [EPISODES]

Plays greedy episodes with the online networks of the run's last checkpoint. Prints one JSON object:
mean Q_tot and mean discounted return over the steps played, at the first step and at all of them, their
correlation, and the shares of games won, lost, drawn and cut by the time limit.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mast.config import load_run_config
from mast.networks.agent import NO_ACTION
from mast.runs.trainer import Trainer
from mast.training.checkpoint import CheckpointStore
from mast.training.rollout import players_for


def q_tot_along(params, recording, length: int) -> np.ndarray:
    """Q_tot of the actions taken, [time, episodes], for the first `length` steps."""
    observation = jnp.asarray(recording.observation[:length], jnp.float32)
    state = jnp.asarray(recording.state[:length], jnp.float32)
    action = jnp.asarray(recording.action[:length], jnp.int32)
    last_action = jnp.concatenate([jnp.full_like(action[:1], NO_ACTION), action[:-1]])
    q = params.agent.sequence(observation, last_action)
    chosen = (q * jax.nn.one_hot(action, q.shape[-1])).sum(-1)
    return np.asarray(params.mixer(chosen, state).mean(-1))


def main() -> None:
    """Play and print."""
    run = Path(sys.argv[1])
    config = load_run_config(run).model_copy(update={"execution": "masked"})  # as checkpoints are
    trainer = Trainer(config)  # without a folder: nothing of the run is touched
    restored = CheckpointStore(run).restore(trainer.state, trainer.runs[0].ring)
    if restored is None:
        raise SystemExit(f"{run} has no checkpoint")
    params = restored.state.params
    episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 128
    config, spec = trainer.config, trainer.environment.spec
    players = players_for(trainer.environment, jnp.float32)
    keys = jax.random.split(jax.random.key(10_000), episodes)
    totals, recording = players.record(params.agent, keys, jnp.float32(0.0))
    lengths, won, terminated = (
        np.asarray(x) for x in (totals.length, totals.won, totals.terminated)
    )
    longest = int(lengths.max())
    mask = np.arange(longest)[:, None] < lengths
    reward = np.where(mask, np.asarray(recording.reward[:longest]), 0.0)
    truth = np.zeros_like(reward)
    following = np.zeros(episodes)
    for step in reversed(range(longest)):
        following = truth[step] = reward[step] + config.discount * following
    q = q_tot_along(params, recording, longest)
    damage = reward.sum(0) / spec.reward_scale - won  # share of the enemy's health taken
    lost = terminated & ~won
    report = {
        "run": run.name,
        "env_steps": restored.counters["run"]["env_steps"],
        "episodes": episodes,
        "won": won.mean(),
        "lost_or_drawn": lost.mean(),
        "drawn": (lost & (damage > 1 - 1e-3)).mean(),
        "cut": (~terminated).mean(),
        "enemy_health_left_when_lost": float(1 - damage[lost].mean()) if lost.any() else None,
        "length_won": lengths[won].mean() if won.any() else None,
        "length_lost": lengths[lost].mean() if lost.any() else None,
        "q_tot_first_step": q[0].mean(),
        "return_first_step": truth[0].mean(),
        "q_tot_all_steps": q[mask].mean(),
        "return_all_steps": truth[mask].mean(),
        "correlation": np.corrcoef(q[mask], truth[mask])[0, 1],
    }
    print(json.dumps({k: v if isinstance(v, str | None) else float(v) for k, v in report.items()}))


if __name__ == "__main__":
    main()
