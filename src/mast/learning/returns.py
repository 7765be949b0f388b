"""Returns: learning targets from rewards and state values, over one batch of episodes.

Time comes first, one episode per column. Indices, for t = 0 ... time - 1:

    value[t] --reward[t], terminated[t], mask[t]--> value[t + 1]

`value[t]` is the value of the state before step t, so what follows step t is `value[t + 1]`, and
`value` is one longer than the rest. `mask` is True for the steps that were really taken, a prefix
of the column. `terminated[t]` is True where step t ended the episode by the rules: nothing is
bootstrapped after it. A last real step that is not terminated is a cut (time limit): the return
bootstraps there, with the value after that step. Every result is 0 where `mask` is False, and reads
nothing of the padding.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num


def n_step_returns(
    reward: Float[Array, "time batch"],
    terminated: Bool[Array, "time batch"],
    mask: Bool[Array, "time batch"],
    value: Float[Array, "time+1 batch"],
    discount: Float[ArrayLike, ""],
    n: Int[ArrayLike, ""],
) -> Float[Array, "time batch"]:
    """The n-step return G_t^(n) = Σ_{k<n} γ^k r_{t+k} + γ^n V_{t+n}.

    The sum stops at a terminal step, without bootstrap. With only m < n steps left before a cut it
    is G_t^(m), which bootstraps with the value after the last real step.

    Args:
        reward: reward of each step [time, batch].
        terminated: True at the terminal step only [time, batch].
        mask: True for steps really taken [time, batch].
        value: value of the state before each step and after the last one [time + 1, batch].
        discount: γ.
        n: number of rewards, at least 1; data, and the number of passes over the rewards.

    Raises:
        ValueError: n is a Python number below 1 (as an array it would give V_t).

    Source: spec §3; Sutton & Barto 2018, eq. 7.1; MAST §4.2, whose T^(n) is this G^(n+1).
    """
    if isinstance(n, int) and n < 1:
        raise ValueError(f"n_step_returns needs n >= 1, got {n}")
    is_followed = _is_followed(mask)

    # G^(k)_t = r_t + γ G^(k-1)_{t+1} with G^(0) = V.
    def one_step_longer(
        _: Int[Array, ""], shorter: Float[Array, "states batch"]
    ) -> Float[Array, "states batch"]:
        following = jnp.where(is_followed, shorter[1:], value[1:])
        longer = reward + jnp.where(terminated, 0, discount * following)
        return jnp.concatenate([longer, value[-1:]])

    passes = jnp.minimum(n, reward.shape[0])  # no return has more rewards than there are steps
    returns = jax.lax.fori_loop(0, passes, one_step_longer, value)
    return jnp.where(mask, returns[:-1], 0)


def td_lambda_returns(
    reward: Float[Array, "time batch"],
    terminated: Bool[Array, "time batch"],
    mask: Bool[Array, "time batch"],
    value: Float[Array, "time+1 batch"],
    discount: Float[ArrayLike, ""],
    lambda_: Float[ArrayLike, ""],
) -> Float[Array, "time batch"]:
    """The λ-return G_t^λ = (1 - λ) Σ_{n>=1} λ^(n-1) G_t^(n).

    The whole remaining weight is on the last G_t^(n), the one that reaches the end of the episode:
    λ = 0 is the one-step target, λ = 1 the Monte Carlo return (plus the discounted value after
    the last real step where that is a cut).

    Args:
        reward: reward of each step [time, batch].
        terminated: True at the terminal step only [time, batch].
        mask: True for steps really taken [time, batch].
        value: value of the state before each step and after the last one [time + 1, batch].
        discount: γ.
        lambda_: λ in [0, 1], data.

    Source: Sutton & Barto 2018, eq. 12.3; MAST eq. 5, with n shifted by one (spec §3).
    """

    # G_t = r_t + γ ((1 - λ) V_{t+1} + λ G_{t+1}).
    def one_step_earlier(
        later: Float[Array, " batch"], step: tuple[Array, Array, Array, Array]
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        step_reward, is_terminal, has_successor, next_value = step
        mixed = (1 - lambda_) * next_value + lambda_ * later
        following = jnp.where(has_successor, mixed, next_value)
        earlier = step_reward + jnp.where(is_terminal, 0, discount * following)
        return earlier, earlier

    steps = (reward, terminated, _is_followed(mask), value[1:])
    _, returns = jax.lax.scan(one_step_earlier, value[-1], steps, reverse=True)
    return jnp.where(mask, returns, 0)


def discounted_returns(
    reward: Float[Array, "time batch"],
    mask: Bool[Array, "time batch"],
    discount: Float[ArrayLike, ""],
) -> Float[Array, "time batch"]:
    """The episode's discounted return from each step on: R_t = Σ_{k>=0} γ^k r_{t+k}.

    No value enters, not even at a cut: this is what really followed.

    Args:
        reward: reward of each step [time, batch].
        mask: True for steps really taken [time, batch].
        discount: γ.

    Source: Pan et al. 2021 (RES), the R_t of its regulariser; spec §5.
    """

    def one_step_earlier(
        later: Float[Array, " batch"], step_reward: Float[Array, " batch"]
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        earlier = step_reward + discount * later
        return earlier, earlier

    real_reward = jnp.where(mask, reward, 0)
    _, returns = jax.lax.scan(
        one_step_earlier, jnp.zeros_like(reward[0]), real_reward, reverse=True
    )
    return returns


def treat_cuts_as_terminal(
    terminated: Bool[Array, "time batch"], mask: Bool[Array, "time batch"]
) -> Bool[Array, "time batch"]:
    """`terminated` with the last real step of every episode set: no return bootstraps at a cut.

    Args:
        terminated: True at the terminal step only [time, batch].
        mask: True for steps really taken [time, batch].

    Source: spec §3, `timeout="terminal"` (what PyMARL does).
    """
    return terminated | (mask & ~_is_followed(mask))


def hybrid_lambda(
    env_steps: Num[ArrayLike, ""],
    burn_in_env_steps: Num[ArrayLike, ""],
    lambda_: Float[ArrayLike, ""],
) -> Float[Array, ""]:
    """The λ of now: 0 (one-step targets) while env steps < T_0, then λ.

    Args:
        env_steps: environment steps taken so far.
        burn_in_env_steps: T_0, in environment steps.
        lambda_: λ after the burn-in.

    Source: MAST eq. 5; §4.2, "Hybrid Scheme".
    """
    return jnp.where(jnp.asarray(env_steps) < burn_in_env_steps, 0.0, lambda_)


def _is_followed(mask: Bool[Array, "time batch"]) -> Bool[Array, "time batch"]:
    """Whether the step after this one was taken too; never so in the last row."""
    return jnp.concatenate([mask[1:], jnp.zeros_like(mask[:1])])
