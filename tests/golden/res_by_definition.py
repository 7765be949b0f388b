"""RES from the spec's sentences: float64, joint actions written out, one state at a time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from golden.networks_by_definition import agent_utilities, qmix
from golden.returns_by_definition import discounted_return
from golden.value_decomposition_by_definition import (
    Rules,
    Step,
    backups,
    greedy_action,
    taken,
    targets,
)

LARGE_NEGATIVE = -9999999.0
JointValue = Callable[[np.ndarray], float]


def res_value(
    q_tot: JointValue,
    target_q_tot: JointValue,
    q: np.ndarray,
    target_q: np.ndarray,
    available: np.ndarray,
    beta: float,
    counts_unavailable: bool = False,
) -> float:
    """V of one state; the two functions give the joint value of the agents' utilities."""
    agents, actions = q.shape
    if counts_unavailable:
        q = np.where(available, q, LARGE_NEGATIVE)
        target_q = np.where(available, target_q, LARGE_NEGATIVE)
    greedy = [greedy_action(q[i], available[i]) for i in range(agents)]
    joint_actions = []
    for agent in range(agents):
        for action in range(actions):
            if available[agent, action] or counts_unavailable:
                joint_actions.append([*greedy[:agent], action, *greedy[agent + 1 :]])
    online, of_target = [], []
    for joint in joint_actions:
        online.append(q_tot(np.array([q[i, joint[i]] for i in range(agents)])))
        of_target.append(target_q_tot(np.array([target_q[i, joint[i]] for i in range(agents)])))
    weights = [math.exp(beta * (each - max(online))) for each in online]
    return sum(w * v for w, v in zip(weights, of_target, strict=True)) / sum(weights)


def steps_of_episode(params: Any, target: Any, episode: Any, rules: Rules) -> list[Step]:
    """Q_tot, target and the return that followed for every step of one unpadded episode."""
    steps = len(episode.action)
    q = agent_utilities(params.agent, episode.observation, episode.action)
    target_q = agent_utilities(target.agent, episode.observation, episode.action)
    values = []
    for t in range(steps + 1):
        state, available = episode.state[t], episode.available[t]
        if rules.operator is not None:
            utilities = backups(rules.operator, target_q[t], q[t], available)
            values.append(qmix(target.mixer, utilities, state))
            continue
        values.append(
            res_value(
                lambda utilities, state=state: qmix(params.mixer, utilities, state),
                lambda utilities, state=state: qmix(target.mixer, utilities, state),
                q[t],
                target_q[t],
                available,
                rules.beta,
                rules.counts_unavailable,
            )
        )
    reward = np.asarray(episode.reward, np.float64)
    return [
        Step(
            qmix(params.mixer, taken(q, episode, t), episode.state[t]),
            y,
            followed=discounted_return(reward, rules.discount, t),
        )
        for t, y in enumerate(targets(episode, values, rules))
    ]
