"""The networks straight from the papers: one agent, one step, one unit at a time, float64 loops.

A layer is anything with a `weight` [outputs, inputs] and a `bias` [outputs].
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    weight, bias = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
    y = np.zeros(len(bias))
    for out in range(len(bias)):
        y[out] = bias[out]
        for into in range(len(x)):
            y[out] += weight[out, into] * x[into]
    return y


def relu(x: np.ndarray) -> np.ndarray:
    return np.array([max(0.0, each) for each in x])


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def elu(x: float) -> float:
    return x if x > 0 else math.exp(x) - 1.0


def gru_step(input_layer: Any, hidden_layer: Any, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Torch's GRUCell; rows of both matrices: reset, update, new."""
    size = len(hidden)
    from_input, from_hidden = linear(input_layer, x), linear(hidden_layer, hidden)
    after = np.zeros(size)
    for unit in range(size):
        reset = sigmoid(from_input[unit] + from_hidden[unit])
        update = sigmoid(from_input[size + unit] + from_hidden[size + unit])
        new = math.tanh(from_input[2 * size + unit] + reset * from_hidden[2 * size + unit])
        after[unit] = (1.0 - update) * new + update * hidden[unit]
    return after


def agent_input(
    observation: np.ndarray, last_action: int | None, actions: int, id_code: list[float]
) -> np.ndarray:
    """Own observation, one-hot last action (zeros where there is none), and what tells who it is."""
    action_code = [1.0 if action == last_action else 0.0 for action in range(actions)]
    return np.concatenate([np.asarray(observation, np.float64), action_code, id_code])


def utilities_of_one(
    network: Any, observation: np.ndarray, action: np.ndarray, id_code: list[float]
) -> np.ndarray:
    """Q of one agent along one episode, [steps + 1, actions]."""
    actions = len(network.fc2.bias)
    q = np.zeros((len(observation), actions))
    hidden = np.zeros(np.asarray(network.gru_hidden.weight).shape[1])
    for t in range(len(observation)):
        last_action = None if t == 0 else int(action[t - 1])
        first = relu(
            linear(network.fc1, agent_input(observation[t], last_action, actions, id_code))
        )
        hidden = gru_step(network.gru_input, network.gru_hidden, first, hidden)
        q[t] = linear(network.fc2, hidden)
    return q


def agent_utilities(network: Any, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Q_i along one episode, [steps + 1, agents, actions].

    Args:
        network: has fc1, gru_input, gru_hidden, fc2; their weights are matrices where the agents share
            one network and are told apart by a one-hot id, and [agents, ·, ·] where each has its own.
        observation: [steps + 1, agents, features].
        action: taken actions, [steps, agents].
    """
    agents = observation.shape[1]
    own = np.asarray(network.fc1.weight).ndim == 3
    of_agents = []
    for agent in range(agents):
        one = network_of_agent(network, agent) if own else network
        id_code = [] if own else [1.0 if other == agent else 0.0 for other in range(agents)]
        of_agents.append(utilities_of_one(one, observation[:, agent], action[:, agent], id_code))
    return np.stack(of_agents, axis=1)


def network_of_agent(network: Any, agent: int) -> Any:
    """One agent's layers out of stacked ones."""
    layers = {
        name: SimpleNamespace(
            weight=np.asarray(getattr(network, name).weight)[agent],
            bias=np.asarray(getattr(network, name).bias)[agent],
        )
        for name in ("fc1", "gru_input", "gru_hidden", "fc2")
    }
    return SimpleNamespace(**layers)


def qmix(mixer: Any, utilities: np.ndarray, state: np.ndarray) -> float:
    """Q_tot of one state: |w_final| · ELU(|w1| q + b1) + V(s)."""
    state = np.asarray(state, np.float64)
    agents = len(utilities)
    first = linear(mixer.w1_out, relu(linear(mixer.w1_hidden, state)))
    final = linear(mixer.w_final_out, relu(linear(mixer.w_final_hidden, state)))
    shift = linear(mixer.b1, state)
    embed = len(shift)
    q_tot = float(linear(mixer.v_out, relu(linear(mixer.v_hidden, state)))[0])
    for unit in range(embed):
        inside = shift[unit]
        for agent in range(agents):
            inside += utilities[agent] * abs(first[agent * embed + unit])
        q_tot += abs(final[unit]) * elu(inside)
    return q_tot


def feed_forward_mixer(mixer: Any, utilities: np.ndarray, state: np.ndarray) -> float:
    """Q̂* of one state: [q_1, …, q_n, s] through three ReLU layers and a linear one, plus V(s)."""
    state = np.asarray(state, np.float64)
    x = np.concatenate([utilities, state])
    for layer in (mixer.fc1, mixer.fc2, mixer.fc3):
        x = relu(linear(layer, x))
    value = linear(mixer.v_out, relu(linear(mixer.v_hidden, state)))[0]
    return float(linear(mixer.fc4, x)[0] + value)
