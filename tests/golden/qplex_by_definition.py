"""QPLEX from the paper's equations: float64, one agent, head and step at a time."""

from typing import Any

import numpy as np

from golden.networks_by_definition import agent_utilities, linear, relu, sigmoid
from golden.value_decomposition_by_definition import (
    Rules,
    Step,
    backups,
    greedy_action,
    own_max,
    taken,
    targets,
)


def q_tot(
    mixer: Any,
    utilities: np.ndarray,
    largest: np.ndarray,
    joint: list[int],
    state: np.ndarray,
    advantage: np.ndarray | None = None,
) -> float:
    """Σ Q' + Σ (λ − 1) A', with A' as given where gradients must not see it."""
    scale, shift = transformation(mixer, state)
    if advantage is None:
        advantage = scale * (utilities - largest)
    total = 0.0
    for i, importance in enumerate(importances(mixer, joint, state)):
        total += scale[i] * utilities[i] + shift[i] + (importance - 1.0) * advantage[i]
    return total


def transformation(mixer: Any, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w > 0 and b of every agent."""
    scale = np.abs(linear(mixer.w_out, relu(linear(mixer.w_hidden, state)))) + 1e-10
    return scale, linear(mixer.b_out, relu(linear(mixer.b_hidden, state)))


def importances(mixer: Any, joint: list[int], state: np.ndarray) -> list[float]:
    """λ of every agent: keys and gates of all heads."""
    agents = len(joint)
    actions = (np.asarray(mixer.actions.weight).shape[1] - len(state)) // agents
    code = [1.0 if j == joint[i] else 0.0 for i in range(agents) for j in range(actions)]
    key = linear(mixer.key, state)
    of_state = linear(mixer.agents, state)
    of_action = linear(mixer.actions, np.concatenate([state, code]))
    found = []
    for i in range(agents):
        total = 0.0
        for head in range(len(key)):
            place = head * agents + i
            gates = sigmoid(of_state[place]) * sigmoid(of_action[place])
            total += (abs(key[head]) + 1e-10) * gates
        found.append(total)
    return found


def steps_of_episode(params: Any, target: Any, episode: Any, rules: Rules, held: Any) -> list[Step]:
    """Q_tot and its target for every step of one unpadded episode; advantages are those of `held`."""
    assert rules.operator is not None
    steps, agents = len(episode.action), range(episode.action.shape[1])
    q = agent_utilities(params.agent, episode.observation, episode.action)
    held_q = agent_utilities(held.agent, episode.observation, episode.action)
    target_q = agent_utilities(target.agent, episode.observation, episode.action)

    def largest(of: np.ndarray, t: int) -> np.ndarray:
        return np.array([own_max(of[t, i], of[t, i], episode.available[t, i]) for i in agents])

    values = []
    for t in range(steps + 1):
        utilities = backups(rules.operator, target_q[t], held_q[t], episode.available[t])
        joint = [greedy_action(held_q[t, i], episode.available[t, i]) for i in agents]
        state = np.asarray(episode.state[t], np.float64)
        values.append(q_tot(target.mixer, utilities, largest(target_q, t), joint, state))
    found = []
    for t, y in enumerate(targets(episode, values, rules)):
        state = np.asarray(episode.state[t], np.float64)
        scale, _ = transformation(held.mixer, state)
        advantage = scale * (taken(held_q, episode, t) - largest(held_q, t))
        joint = [int(action) for action in episode.action[t]]
        utilities = taken(q, episode, t)
        found.append(
            Step(q_tot(params.mixer, utilities, largest(q, t), joint, state, advantage), y)
        )
    return found
