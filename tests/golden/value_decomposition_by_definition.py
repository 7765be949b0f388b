"""The loss of IQL, VDN and QMIX from the spec's sentences: float64, one episode and step at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.networks_by_definition import agent_utilities, qmix
from golden.returns_by_definition import n_step_return, td_lambda_return

Operator = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(target utilities, online utilities, available) of one agent at one step → its backup value."""


@dataclass(frozen=True)
class Rules:
    """What decides a target beside the networks."""

    operator: Operator | None
    """None: RES's softmax over joint actions."""
    lambda_: float = 0.0
    n_step: int = 0
    """0: the λ-return."""
    discount: float = 0.99
    cuts_are_terminal: bool = False
    alpha: float = 0.1
    beta: float = 5.0
    counts_unavailable: bool = False
    pull: float = 0.05


@dataclass(frozen=True)
class Step:
    """One head at one real step."""

    q_tot: float
    target: float
    weight: float = 1.0
    unrestricted: float | None = None
    """Q̂* of the taken actions, learned too (OW and CW)."""
    followed: float | None = None
    """R, the return that q_tot is also pulled to (RES)."""


def greedy_action(q: np.ndarray, available: np.ndarray) -> int:
    best = None
    for action in range(len(q)):
        if available[action] and (best is None or q[action] > q[best]):
            best = action
    assert best is not None
    return best


def double_q_max(target_q: np.ndarray, online_q: np.ndarray, available: np.ndarray) -> float:
    return float(target_q[greedy_action(online_q, available)])


def own_max(target_q: np.ndarray, online_q: np.ndarray, available: np.ndarray) -> float:
    return max(float(target_q[action]) for action in range(len(target_q)) if available[action])


def mix(algorithm: str, mixer: Any, utilities: np.ndarray, state: np.ndarray) -> list[float]:
    """One value per head."""
    if algorithm == "iql":
        return [float(utility) for utility in utilities]
    if algorithm == "vdn":
        return [float(sum(utilities))]
    return [qmix(mixer, utilities, state)]


def taken(q: np.ndarray, episode: Any, t: int) -> np.ndarray:
    """Each agent's utility of the action it took."""
    return np.array([q[t, i, episode.action[t, i]] for i in range(q.shape[1])])


def backups(
    operator: Operator, target_q: np.ndarray, online_q: np.ndarray, available: np.ndarray
) -> np.ndarray:
    """Each agent's backup value at one step."""
    agents = range(len(target_q))
    return np.array([operator(target_q[i], online_q[i], available[i]) for i in agents])


def targets(episode: Any, values: Sequence[float], rules: Rules) -> list[float]:
    """y of every step of one unpadded episode."""
    reward, value = np.asarray(episode.reward, np.float64), np.asarray(values)
    steps = (reward, value, bool(episode.terminated) or rules.cuts_are_terminal, rules.discount)
    if rules.n_step:
        return [n_step_return(*steps, t, rules.n_step) for t in range(len(reward))]
    return [td_lambda_return(*steps, t, rules.lambda_) for t in range(len(reward))]


def steps_of_episode(
    algorithm: str, params: Any, target: Any, episode: Any, rules: Rules
) -> list[Step]:
    """Q and its target for every step and head of one unpadded episode."""
    steps = len(episode.action)
    online_q = agent_utilities(params.agent, episode.observation, episode.action)
    target_q = agent_utilities(target.agent, episode.observation, episode.action)
    assert rules.operator is not None
    chosen: list[list[float]] = []
    for t in range(steps):
        utilities = taken(online_q, episode, t)
        chosen.append(mix(algorithm, params.mixer, utilities, episode.state[t]))
    values: list[list[float]] = []
    for t in range(steps + 1):
        utilities = backups(rules.operator, target_q[t], online_q[t], episode.available[t])
        values.append(mix(algorithm, target.mixer, utilities, episode.state[t]))
    result = []
    for head in range(len(chosen[0])):
        y = targets(episode, [each[head] for each in values], rules)
        result += [Step(chosen[t][head], y[t]) for t in range(steps)]
    return result


def loss(steps: Sequence[Step], rules: Rules, held: Sequence[Step] | None = None) -> float:
    """The mean over all real steps (and heads) of the batch; targets and weights are those of `held`."""
    total = 0.0
    for step, fixed in zip(steps, steps if held is None else held, strict=True):
        total += fixed.weight * (fixed.target - step.q_tot) ** 2
        if step.unrestricted is not None:
            total += (fixed.target - step.unrestricted) ** 2
        if step.followed is not None:
            total += rules.pull * (step.followed - step.q_tot) ** 2
    return total / len(steps)
