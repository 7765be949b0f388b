"""Multi-agent A2C in plain float64: returns, loss, gradient by hand, clipped Adam (SNP-PS §5.1)."""

import math

import numpy as np

UNAVAILABLE = -1e10


def returns_by_loops(reward, next_value, terminated, ended, discount):
    """R_t of every environment and agent; arrays [time, envs, agents] and [time, envs]."""
    time, envs, agents = next_value.shape
    returns = np.zeros((time, envs, agents))
    for env in range(envs):
        for agent in range(agents):
            for start in range(time):
                total, factor = 0.0, 1.0
                for t in range(start, time):
                    own = reward[t, env, agent if reward.shape[-1] > 1 else 0]
                    total += factor * own
                    factor *= discount
                    if terminated[t, env]:
                        break
                    if ended[t, env] or t == time - 1:
                        total += factor * next_value[t, env, agent]
                        break
                returns[start, env, agent] = total
    return returns


class Network:
    """An MLP of one agent: ReLU layers, neurons that it lacks set to 0, a linear head; and its gradient."""

    def __init__(self, weights, biases, kept):
        self.weights, self.biases, self.kept = weights, biases, kept

    def forward(self, x):
        self.inputs = []
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            self.inputs.append(x)
            x = w @ x + b
            if layer < len(self.weights) - 1:
                x = np.maximum(x, 0) * self.kept[layer]
        return x

    def backward(self, output_gradient, w_gradients, b_gradients):
        """Adds the gradient of the last forward pass to these."""
        delta = output_gradient
        for layer in reversed(range(len(self.weights))):
            w_gradients[layer] += np.outer(delta, self.inputs[layer])
            b_gradients[layer] += delta
            if layer:
                active = self.inputs[layer] > 0
                delta = (self.weights[layer].T @ delta) * active


def log_policy(logits, available):
    shifted = np.where(available, logits, UNAVAILABLE)
    shifted = shifted - shifted.max()
    return shifted - math.log(np.exp(shifted).sum())


def loss_and_gradient(params, kept, batch, discount=0.99, entropy_c=0.01, value_c=0.5):
    """The loss of a rollout and its gradient.

    params: {"agent": (weights, biases), "critic": …}; kept: of each of them [agent][layer] → [units];
    batch: observation with the id behind it, available, action, reward, next_observation, terminated, ended.
    """
    time, envs, agents, _ = batch["observation"].shape

    def network(name, agent):
        return Network(*params[name], kept[name][agent])

    next_value = np.zeros((time, envs, agents))
    for t, e, i in np.ndindex(time, envs, agents):
        next_value[t, e, i] = network("critic", i).forward(batch["next_observation"][t, e, i])[0]
    returns = returns_by_loops(
        batch["reward"], next_value, batch["terminated"], batch["ended"], discount
    )
    gradients = {
        name: ([np.zeros_like(w) for w in weights], [np.zeros_like(b) for b in biases])
        for name, (weights, biases) in params.items()
    }
    loss, share = 0.0, 1.0 / (time * envs)
    for t, e, i in np.ndindex(time, envs, agents):
        x, action = batch["observation"][t, e, i], batch["action"][t, e, i]
        actor, critic = network("agent", i), network("critic", i)
        log_pi, value = (
            log_policy(actor.forward(x), batch["available"][t, e, i]),
            critic.forward(x)[0],
        )
        pi = np.exp(log_pi)
        advantage = returns[t, e, i] - value
        entropy = -sum(p * lp for p, lp in zip(pi, log_pi, strict=True) if p > 0)
        loss += share * (-log_pi[action] * advantage - entropy_c * entropy + value_c * advantage**2)
        one_hot = np.eye(len(pi))[action]
        with np.errstate(invalid="ignore"):
            spread = np.where(pi > 0, pi * (log_pi + entropy), 0.0)
        logit_gradient = advantage * (pi - one_hot) + entropy_c * spread
        logit_gradient[~batch["available"][t, e, i]] = 0.0
        actor.backward(share * logit_gradient, *gradients["agent"])
        critic.backward(share * np.array([-2 * value_c * advantage]), *gradients["critic"])
    return loss, gradients


def clipped_adam(parameters, gradients, moments, step, rate=3e-4, clip=0.5, epsilon=1e-5):
    """One step over a flat list of arrays, in place."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    scale = clip / norm if norm > clip else 1.0
    for parameter, gradient, (first, second) in zip(parameters, gradients, moments, strict=True):
        g = gradient * scale
        first += 0.1 * (g - first)
        second += 0.001 * (g**2 - second)
        parameter -= (
            rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + epsilon)
        )
