"""Random keys from counters: the whole random state of a run is its seed and its counts."""

import jax
from jaxtyping import PRNGKeyArray

INIT, COLLECT, EVALUATE, EVOLVE, PLAY, CLUSTER, BEGIN, OBSERVE = range(8)
"""What a run's random key is folded with, so that no two purposes share numbers."""


def run_key(seed: int, purpose: int, number: int = 0) -> PRNGKeyArray:
    """The random key of one purpose of a run at one count; a counter is the whole random state."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), number)
