"""A method is a record of numbers: what is data in a compiled step, so that methods can be vmapped."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int


class Method(NamedTuple):
    """Everything about a method that is not a shape, a mask or a host counter (spec §6).

    Dense and static training are evolution with a drop fraction of zero; the one-step target is the
    λ-return with λ = 0; so all methods of one algorithm are one program.
    """

    learning_rate: Float[Array, ""]
    step_exponent: Float[Array, ""]
    """Of `density_factor`; 0 where steps are the same at every density."""
    step_cap: Float[Array, ""]
    final_step: Float[Array, ""]
    """What steps are multiplied by at the end of the run, at every density."""
    anneal_begin_env_steps: Float[Array, ""]
    """From when on they go there in a straight line; at or after the end: never."""
    operator: Int[Array, ""]
    """An `Operator`."""
    double_q: Bool[Array, ""]
    """Only read by the max operator: choose by the online network, value by the target's."""
    softmax_beta: Float[Array, ""]
    omega: Float[Array, ""]
    soft_mellowmax_alpha: Float[Array, ""]
    discount: Float[Array, ""]
    burn_in_env_steps: Float[Array, ""]
    """T_0: one-step targets before it, after it the two below; 0 where they begin at once."""
    td_lambda: Float[Array, ""]
    """λ of the return after T_0; 0 = one-step."""
    n_step: Int[Array, ""]
    """Rewards in the return after T_0; 0 = the λ-return instead."""
    cuts_are_terminal: Bool[Array, ""]
    """Whether a time-limit cut ends the return (PyMARL) or is bootstrapped over (default)."""
    weight_alpha: Float[Array, ""]
    """α of OW-QMIX and CW-QMIX."""
    weights_from_online: Bool[Array, ""]
    """OW/CW-QMIX: a soft operator's weights are of the restricted online utilities."""
    res_regulariser: Float[Array, ""]
    """RES: λ of the pull towards the episode's discounted return."""
    res_unavailable: Bool[Array, ""]
    """RES: whether joint actions with an unavailable action count."""
    value_coefficient: Float[Array, ""]
    """Of the critic's squared error in an actor–critic loss."""
    entropy_coefficient: Float[Array, ""]
    gae_lambda: Float[Array, ""]
    """λ of the generalised advantages of PPO."""
    clip: Float[Array, ""]
    """How far PPO lets a probability ratio and a value move."""
    drop_fraction: Float[Array, ""]
    """ζ_0; zero where the topology does not evolve."""
    drop_schedule: Int[Array, ""]
    """A place in `Rules.schedule`."""
    drop: Int[Array, ""]
    """A place in `Rules.drop`."""
    growth: Int[Array, ""]
    """A place in `Rules.growth`."""
    grown_state: Int[Array, ""]
    """A `GrownState`."""
    total_env_steps: Float[Array, ""]
    """T_end of the drop fraction."""
    prunes: Bool[Array, ""]
    """Whether layers shrink to their count by the cubic law between the two below."""
    prune_begin_env_steps: Float[Array, ""]
    prune_end_env_steps: Float[Array, ""]

    def annealed(self, env_steps: Float[ArrayLike, ""]) -> Float[Array, ""]:
        """How far steps are on their way from the density's factor to `final_step`, from 0 to 1."""
        begin, end = self.anneal_begin_env_steps, self.total_env_steps
        share = jnp.clip((env_steps - begin) / jnp.maximum(end - begin, 1.0), 0.0, 1.0)
        return jnp.where(begin < end, share, 0.0)
