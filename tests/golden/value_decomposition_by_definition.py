"""The loss of IQL, VDN and QMIX from the spec's sentences: float64, one episode and step at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.networks_by_definition import agent_utilities, qmix
from golden.returns_by_definition import td_lambda_return

Operator = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(target utilities, online utilities, available) of one agent at one step → its backup value."""


@dataclass(frozen=True)
class Step:
    """One head at one real step."""

    q_tot: float
    target: float


def double_q_max(target_q: np.ndarray, online_q: np.ndarray, available: np.ndarray) -> float:
    best = None
    for action in range(len(online_q)):
        if available[action] and (best is None or online_q[action] > online_q[best]):
            best = action
    assert best is not None
    return float(target_q[best])


def own_max(target_q: np.ndarray, online_q: np.ndarray, available: np.ndarray) -> float:
    return max(float(target_q[action]) for action in range(len(target_q)) if available[action])


def mix(algorithm: str, mixer: Any, utilities: np.ndarray, state: np.ndarray) -> list[float]:
    """One value per head."""
    if algorithm == "iql":
        return [float(utility) for utility in utilities]
    if algorithm == "vdn":
        return [float(sum(utilities))]
    return [qmix(mixer, utilities, state)]


def steps_of_episode(
    algorithm: str,
    params: Any,
    target: Any,
    episode: Any,
    operator: Operator,
    discount: float,
    lambda_: float,
    cuts_are_terminal: bool,
) -> list[Step]:
    """Q and its target for every step and head of one unpadded episode."""
    steps, agents = episode.action.shape
    online_q = agent_utilities(params.agent, episode.observation, episode.action)
    target_q = agent_utilities(target.agent, episode.observation, episode.action)
    chosen: list[list[float]] = []
    for t in range(steps):
        taken = np.array([online_q[t, i, episode.action[t, i]] for i in range(agents)])
        chosen.append(mix(algorithm, params.mixer, taken, episode.state[t]))
    values: list[list[float]] = []
    for t in range(steps + 1):
        backups = np.array(
            [
                operator(target_q[t, i], online_q[t, i], episode.available[t, i])
                for i in range(agents)
            ]
        )
        values.append(mix(algorithm, target.mixer, backups, episode.state[t]))
    terminates = bool(episode.terminated) or cuts_are_terminal
    reward = np.asarray(episode.reward, np.float64)
    result = []
    for head in range(len(chosen[0])):
        value = np.array([each[head] for each in values])
        for t in range(steps):
            y = td_lambda_return(reward, value, terminates, discount, t, lambda_)
            result.append(Step(chosen[t][head], y))
    return result


def loss(steps: Sequence[Step]) -> float:
    """Mean squared error over all real steps (and heads) of the batch."""
    return float(np.mean([(step.target - step.q_tot) ** 2 for step in steps]))
