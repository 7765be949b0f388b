"""Greedy evaluation: whole episodes, one per environment, divided by the episodes really played."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.envs.protocol import Environment
from mast.networks.agent import Agent
from mast.runtime import prepare
from mast.training.exploration import is_stochastic
from mast.training.random_keys import PLAY, run_key
from mast.training.rollout import Totals, play, players_for
from mast.training.statistics import bootstrap_interval


@dataclass(frozen=True)
class Evaluation:
    """The means over the episodes of one greedy evaluation."""

    win_rate: float | None
    """Share of episodes won; None where nothing can be won."""
    return_: float
    """Undiscounted, scaled."""
    length: float
    """Steps."""
    episodes: int
    sampled_win_rate: float | None = None
    """As `win_rate`, with actions drawn from the policy; None where there is none to draw from."""
    sampled_return: float | None = None


def summarise(totals: Totals, has_win: bool, sampled: Totals | None = None) -> Evaluation:
    """The means of finished episodes.

    Args:
        totals: of one run's greedy episodes, [episodes].
        has_win: whether the environment can be won.
        sampled: of episodes with actions that are drawn from the policy.
    """
    return Evaluation(
        win_rate=float(np.mean(totals.won)) if has_win else None,
        return_=float(np.mean(totals.return_)),
        length=float(np.mean(totals.length)),
        episodes=len(totals.length),
        sampled_win_rate=float(np.mean(sampled.won)) if sampled is not None and has_win else None,
        sampled_return=None if sampled is None else float(np.mean(sampled.return_)),
    )


def evaluate_policy(
    agent: Agent,
    environment: Environment,
    *,
    episodes: int = 128,
    seed: int = 0,
    at_once: int = 32,
) -> dict[str, Any]:
    """Greedy win rate, return and episode length, each with a 95 % bootstrap interval.

    Args:
        agent: the acting network.
        environment: where it plays.
        episodes: how many whole episodes.
        seed: of the episodes; the same seed gives the same battles.
        at_once: episodes played side by side.

    Returns:
        `win_rate`, `return`, `episode_length`, each {"mean", "low", "high"} (win_rate None where nothing
        can be won), and `episodes`; of a stochastic policy also `sampled_win_rate` and `sampled_return`, of
        as many episodes in which actions are drawn from it.
    """
    prepare()
    keys = jax.random.split(run_key(seed, PLAY), episodes)
    players = players_for(environment, jnp.float32)
    totals = play(players, agent, keys, jnp.float32(0.0), min(at_once, episodes))

    def interval(samples: np.ndarray) -> dict[str, float]:
        mean, low, high = bootstrap_interval(samples.astype(np.float64))
        return {"mean": mean, "low": low, "high": high}

    found = {
        "win_rate": interval(totals.won) if environment.spec.has_win else None,
        "return": interval(totals.return_),
        "episode_length": interval(totals.length),
        "episodes": episodes,
    }
    if is_stochastic(agent):
        drawn = play(players, agent, keys, jnp.float32(1.0), min(at_once, episodes))
        found["sampled_win_rate"] = interval(drawn.won) if environment.spec.has_win else None
        found["sampled_return"] = interval(drawn.return_)
    return found


def mean_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The mean over runs; an only one as it is."""
    if len(evaluations) < 2:
        return evaluations[0] if evaluations else None

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return Evaluation(
        win_rate=mean([each.win_rate for each in evaluations]),
        sampled_win_rate=mean([each.sampled_win_rate for each in evaluations]),
        sampled_return=mean([each.sampled_return for each in evaluations]),
        return_=float(np.mean([each.return_ for each in evaluations])),
        length=float(np.mean([each.length for each in evaluations])),
        episodes=sum(each.episodes for each in evaluations),
    )
