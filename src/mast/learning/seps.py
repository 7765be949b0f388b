"""SePS: which agents share a network, found from what they see, do and get (Christianos et al. 2021).

An encoder sees nothing but an agent's number; a decoder must say from its code, an observation and an action
what follows. So the code holds what is particular to the agent, and agents of like codes share a network.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.errors import UserError
from mast.learning.replay import Ring
from mast.learning.trajectory import Trajectory
from mast.networks.linear import Linear, torch_linear

CODE, HIDDEN = 10, 64
"""Widths of an agent's code and of the hidden layers."""
BATCH, EPOCHS = 128, 10
LEARNING_RATE = 3e-4
KL_WEIGHT = 1e-4


class Transitions(NamedTuple):
    """What agents saw, did and got; a row is one step of one agent that did not end its episode."""

    agent: Int[np.ndarray, " rows"]
    given: Float[np.ndarray, "rows given"]
    """Observation and one-hot action."""
    following: Float[np.ndarray, "rows following"]
    """The next observation, and the reward."""


class Clusters(NamedTuple):
    """Which network each agent uses."""

    network_of: list[int]
    codes: list[list[float]]
    """The encoder's mean of each agent."""
    davies_bouldin: dict[int, float]
    """The index of each number of clusters that was tried; small is good."""


class Encoder(eqx.Module):
    """A variational autoencoder whose code depends on the agent's number alone."""

    encoder: tuple[Linear, ...]
    decoder: tuple[Linear, ...]

    def code(self, agent: Int[Array, " rows"]) -> tuple[Array, Array]:
        """Mean and log variance of an agent's code, [rows, code] each."""
        first, last = self.encoder
        hidden = jax.nn.relu(first.weight.T[agent] + first.bias)
        mean, log_variance = jnp.split(last(hidden), 2, axis=-1)
        return mean, log_variance

    def decode(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows following"]:
        """What follows: code, observation and action in, next observation and reward out."""
        *hidden, last = self.decoder
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)


def fresh_encoder(key: PRNGKeyArray, agents: int, given: int, following: int) -> Encoder:
    """An encoder as Torch initialises it.

    Args:
        key: random key.
        agents: how many.
        given: width of observation and action.
        following: width of next observation and reward.
    """
    keys = jax.random.split(key, 5)
    return Encoder(
        (torch_linear(keys[0], agents, HIDDEN), torch_linear(keys[1], HIDDEN, 2 * CODE)),
        (
            torch_linear(keys[2], CODE + given, HIDDEN),
            torch_linear(keys[3], HIDDEN, HIDDEN),
            torch_linear(keys[4], HIDDEN, following),
        ),
    )


def encoder_loss(
    encoder: Encoder,
    agent: Int[Array, " rows"],
    given: Float[Array, "rows given"],
    following: Float[Array, "rows following"],
    noise: Float[Array, "rows code"],
) -> Float[Array, ""]:
    """Σ (squared error of what follows) + 1e-4 Σ KL(code ‖ standard normal), sums over the batch.

    Args:
        encoder: the autoencoder.
        agent, given, following: of `Transitions`.
        noise: standard normal.
    """
    mean, log_variance = encoder.code(agent)
    code = mean + jnp.exp(0.5 * log_variance) * noise
    error = jnp.square(encoder.decode(jnp.concatenate([code, given], -1)) - following).sum()
    divergence = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum()
    return error + KL_WEIGHT * divergence


def agent_codes(key: PRNGKeyArray, transitions: Transitions, agents: int) -> np.ndarray:
    """Each agent's code after ten epochs on the transitions, [agents, code].

    Args:
        key: random key.
        transitions: of all agents.
        agents: how many.

    Raises:
        UserError: there is no transition.
    """
    rows = len(transitions.agent)
    if rows == 0:
        raise UserError(
            "sharing = seps: every step has ended its episode, so nothing tells the agents apart: must be "
            "another way of sharing"
        )
    init_key, order_key = jax.random.split(key)
    encoder = fresh_encoder(
        init_key, agents, transitions.given.shape[1], transitions.following.shape[1]
    )
    optimizer = optax.adam(LEARNING_RATE)

    @partial(jax.jit, donate_argnums=(0, 1))
    def epoch(encoder: Encoder, state: Any, key: PRNGKeyArray, batches: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            encoder, state = carry
            key, batch = row
            noise = jax.random.normal(key, (len(batch.agent), CODE))
            given, following = (x.astype(jnp.float32) for x in (batch.given, batch.following))
            gradient = jax.grad(encoder_loss)(encoder, batch.agent, given, following, noise)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(encoder, updates), state), None

        keys = jax.random.split(key, batches.agent.shape[0])
        return jax.lax.scan(step, (encoder, state), (keys, batches))[0]

    batch = min(BATCH, rows)
    state = optimizer.init(encoder)
    for each in jax.random.split(order_key, EPOCHS):
        shuffle_key, noise_key = jax.random.split(each)
        order = np.asarray(jax.random.permutation(shuffle_key, rows))[: rows // batch * batch]
        batches = Transitions(
            *(each[order].reshape(-1, batch, *each.shape[1:]) for each in transitions)
        )
        encoder, state = epoch(encoder, state, noise_key, batches)
    return np.asarray(encoder.code(jnp.arange(agents))[0])


def clusters_of(codes: np.ndarray, count: int | None, most: int, seed: int) -> Clusters:
    """Agents of like codes together: k-means (k-means++, ten starts), by scikit-learn.

    The agents of network 0 keep what was learned; it goes to the cluster of agent 0.

    Args:
        codes: of each agent.
        count: how many clusters, K; None for the number of smallest Davies–Bouldin index in 2 … n − 1.
        most: networks that there are.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import davies_bouldin_score

    def labels(k: int) -> np.ndarray:
        return np.asarray(
            KMeans(k, init="k-means++", n_init=10, random_state=seed).fit_predict(codes)
        )

    tried = {k: labels(k) for k in range(2, min(len(codes) - 1, most) + 1)}
    index = {k: float(davies_bouldin_score(codes, found)) for k, found in tried.items()}
    if count is None:
        count = min(index, key=lambda k: index[k]) if index else 1
    chosen = tried[count] if count in tried else labels(min(count, len(codes)))
    # Numbered by their first agent, so that a cluster's number does not depend on k-means' starts.
    order = {label: place for place, label in enumerate(dict.fromkeys(chosen.tolist()))}
    return Clusters([order[label] for label in chosen.tolist()], codes.tolist(), index)


def transitions_of(trajectory: Trajectory, actions: int) -> Transitions:
    """The rows of a trajectory, [time envs …] or [rows …], in half precision where that holds them.

    Args:
        trajectory: as host arrays.
        actions: how many there are.
    """
    return _rows(
        trajectory.observation,
        trajectory.action,
        trajectory.reward,
        trajectory.next_observation,
        ~trajectory.ended,
        actions,
    )


def together(parts: Sequence[Transitions]) -> Transitions:
    """All rows in one."""
    return Transitions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def transitions_of_ring(ring: Ring) -> Transitions:
    """The rows of the episodes that a ring holds, in half precision where that holds them."""
    sizes, parts = ring.sizes, []
    for number in range(ring.first, ring.total_added):
        rows = ring.stored(number)
        observation = rows["observation"].reshape(-1, sizes.agents, sizes.observation)
        steps = len(rows["action"])
        goes_on = np.ones(steps, bool)
        goes_on[-1] = False
        parts.append(
            _rows(
                observation[:-1],
                rows["action"].reshape(steps, sizes.agents),
                rows["reward"].reshape(steps, 1),
                observation[1:],
                goes_on,
                sizes.actions,
            )
        )
    return together(parts)


def _small(numbers: np.ndarray) -> np.ndarray:
    """Numbers in half precision; in single where some are beyond it (65504)."""
    with np.errstate(over="ignore"):
        half = numbers.astype(np.float16)
    return half if np.isfinite(half).all() else numbers.astype(np.float32)


def _rows(
    observation: ArrayLike,
    action: ArrayLike,
    reward: ArrayLike,
    following: ArrayLike,
    goes_on: ArrayLike,
    actions: int,
) -> Transitions:
    taken = np.asarray(goes_on)
    seen, chosen, paid, then = (
        np.asarray(each)[taken] for each in (observation, action, reward, following)
    )
    rows, agents = chosen.shape
    paid = np.broadcast_to(paid, (rows, agents))[..., None]
    one_hot = np.eye(actions, dtype=np.float16)[chosen]
    given = np.concatenate([_small(seen), one_hot], -1)
    after = np.concatenate([_small(then), _small(paid)], -1)
    agent = np.broadcast_to(np.arange(agents, dtype=np.int32), (rows, agents))
    return Transitions(
        agent.reshape(-1), given.reshape(rows * agents, -1), after.reshape(rows * agents, -1)
    )
