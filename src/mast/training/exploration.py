"""How agents choose: greedily, by chance, or from their policy."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.learning.operators import greedy_action
from mast.networks.agent import Actor


def epsilon_greedy_action(
    key: PRNGKeyArray,
    q: Float[Array, "agents actions"],
    available: Bool[Array, "agents actions"],
    epsilon: Float[Array, ""],
    stochastic: bool = False,
) -> tuple[Int[Array, " agents"], Int[Array, " agents"]]:
    """Each agent by itself: with probability ε an action by chance, else the greedy one; and the latter.

    Args:
        key: random key.
        q: action values, or logits of a policy.
        available: which actions may be taken.
        epsilon: ε.
        stochastic: whether chance follows the policy, not all available actions alike.
    """
    explore_key, choice_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, q.shape[:-1]) < epsilon
    chance = (
        q + jax.random.gumbel(choice_key, q.shape)
        if stochastic
        else jax.random.uniform(choice_key, q.shape)
    )
    greedy = greedy_action(q, available)
    return jnp.where(explore, greedy_action(chance, available), greedy), greedy


def is_stochastic(agent: Actor) -> bool:
    """Whether an agent draws its actions from a policy."""
    return bool(getattr(agent, "stochastic", False))
