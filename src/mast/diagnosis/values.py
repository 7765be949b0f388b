"""Estimated Q_tot against the discounted return that really followed (MAST Fig 5, with the truth)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from mast.learning.replay import Batch
from mast.learning.returns import discounted_returns
from mast.networks.agent import last_actions
from mast.networks.mixers import IndependentMixer, joint_value


class Played(NamedTuple):
    """Episodes that were played, time first; steps that were not taken are False in `mask`."""

    observation: Float[Any, "time episodes agents features"]
    state: Float[Any, "time episodes state"]
    available: Bool[Any, "time episodes agents actions"]
    action: Integer[Any, "time episodes agents"]
    reward: Float[Any, "time episodes"]
    mask: Bool[Any, "time episodes"]
    cut: Bool[np.ndarray, " real"]
    """Of each real episode: whether the time limit ended it."""


class Values(NamedTuple):
    """What `compare_values` finds, over all steps of all episodes; None where undefined."""

    q_tot: float | None
    """Mean estimate, at the actions taken."""
    discounted_return: float | None
    """Mean of what really followed."""
    bias: float | None
    """q_tot − discounted_return: above 0 is overestimation."""
    correlation: float | None
    """Pearson's, between estimate and return of the same step."""
    steps: int
    episodes: int
    cut: float | None
    """Share of the episodes that the time limit cut: what would have come after is not in their return."""


def played_of_batch(batch: Batch) -> Played:
    """A replayed batch as episodes."""
    length = len(batch.action)
    return Played(
        observation=batch.observation[:length],
        state=batch.state[:length],
        available=batch.available[:length],
        action=batch.action,
        reward=batch.reward,
        mask=batch.mask,
        cut=np.logical_not(np.asarray(batch.terminated).any(0)),
    )


def played_of_recording(recording: Any, lengths: np.ndarray, terminated: np.ndarray) -> Played:
    """Freshly recorded episodes.

    Args:
        recording: as the players give it, for one run.
        lengths: steps of each real episode; the recording may hold more columns, which do not count.
        terminated: of each real episode, whether it ended by the rules.
    """
    limit, columns = recording.reward.shape
    all_lengths = np.zeros(columns, np.int64)
    all_lengths[: len(lengths)] = lengths
    return Played(
        observation=recording.observation[:limit],
        state=recording.state[:limit],
        available=recording.available[:limit],
        action=recording.action,
        reward=recording.reward,
        mask=np.arange(limit)[:, None] < all_lengths,
        cut=~np.asarray(terminated, bool),
    )


@jax.jit
def q_tot_and_returns(
    params: Any,
    observation: Float[Any, "time episodes agents features"],
    state: Float[Any, "time episodes state"],
    available: Bool[Any, "time episodes agents actions"],
    action: Integer[Any, "time episodes agents"],
    reward: Float[Any, "time episodes"],
    mask: Bool[Any, "time episodes"],
    discount: Float[Any, ""],
) -> tuple[Float[Array, "time episodes"], Float[Array, "time episodes"]]:
    """Q_tot at the actions taken and the discounted return from there on, for every step.

    Q_tot is the mixer's output from the online networks; of independent learners, which have one value
    per agent, the mean. The return is that of the same steps, with no value added at a cut.

    Args:
        params: an algorithm's, with an `agent` and a `mixer`.
        observation, state, available, action, reward, mask: of the episodes, see `Played`.
        discount: γ.
    """
    action = jnp.asarray(action, jnp.int32)
    q = params.agent.sequence(jnp.asarray(observation, jnp.float32), last_actions(action)[:-1])
    mixer = getattr(params, "mixer", IndependentMixer())
    q_tot = joint_value(mixer, q, action, available, jnp.asarray(state, jnp.float32))
    return q_tot.mean(-1), discounted_returns(reward, mask, discount)


def compare_values(
    q_tot: Float[np.ndarray, " steps"],
    returns: Float[np.ndarray, " steps"],
    cut: Bool[np.ndarray, " episodes"],
) -> Values:
    """Estimates against returns.

    The correlation is None with fewer than two steps or where one of the two does not vary.

    Args:
        q_tot: the estimate at each step really taken.
        returns: the discounted return of the same steps.
        cut: of each episode, whether the time limit ended it.
    """
    estimate, truth = np.asarray(q_tot, np.float64), np.asarray(returns, np.float64)
    if not estimate.size:
        return Values(None, None, None, None, 0, len(cut), None)
    return Values(
        q_tot=float(estimate.mean()),
        discounted_return=float(truth.mean()),
        bias=float(estimate.mean() - truth.mean()),
        correlation=_correlation(estimate, truth),
        steps=estimate.size,
        episodes=len(cut),
        cut=float(np.mean(cut)),
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if first.min() == first.max() or second.min() == second.max():
        return None
    a, b = first - first.mean(), second - second.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else None


class ValueLog:
    """Gathers estimates and returns of one set of networks, block of episodes by block.

    Args:
        params: an algorithm's, with an `agent` and a `mixer`.
        discount: γ.
    """

    def __init__(self, params: Any, discount: float) -> None:
        self._params = params
        self._discount = np.float32(discount)
        self._steps: list[tuple[np.ndarray, np.ndarray]] = []
        self._cut: list[np.ndarray] = []

    def add(self, played: Played) -> None:
        """Adds episodes."""
        arrays = played._asdict()
        self._cut.append(arrays.pop("cut"))
        q_tot, returns = q_tot_and_returns(self._params, **arrays, discount=self._discount)
        taken = np.asarray(played.mask)
        self._steps.append((np.asarray(q_tot)[taken], np.asarray(returns)[taken]))

    def compare(self) -> Values:
        """All that was added so far, compared."""
        if not self._steps:
            return compare_values(np.zeros(0), np.zeros(0), np.zeros(0, bool))
        q_tot, returns = (np.concatenate(parts) for parts in zip(*self._steps, strict=True))
        return compare_values(q_tot, returns, np.concatenate(self._cut))
