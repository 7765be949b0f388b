"""A method is a record of numbers: what is data in a compiled step, so that methods can be vmapped."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mast.config import Config
from mast.learning.operators import Operator
from mast.learning.rules import Rules, rules_of
from mast.sparsity.slots import GrownState


class Method(NamedTuple):
    """Everything about a method that is not a shape, a mask or a host counter (spec §6).

    Dense and static training are evolution with a drop fraction of zero; the one-step target is the
    λ-return with λ = 0; so all methods of one algorithm are one program.
    """

    learning_rate: Float[Array, ""]
    step_exponent: Float[Array, ""]
    """Of `density_factor`; 0 where steps are the same at every density."""
    step_cap: Float[Array, ""]
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


def method_from_config(config: Config, rules: Rules | None = None) -> Method:
    """The record that a resolved configuration describes.

    Args:
        config: the settings.
        rules: what the program chooses from; those of this configuration alone where None.
    """
    rules = rules_of([config]) if rules is None else rules
    grows = config.growth != "none"
    growth = config.growth if grows else next(iter(rules.growth))
    begin = {"hybrid": config.burn_in_fraction, "delayed_n_step": config.delay_fraction}
    return Method(
        learning_rate=jnp.float32(config.learning_rate),
        step_exponent=jnp.float32(config.step_exponent),
        step_cap=jnp.float32(config.step_cap),
        operator=jnp.int32(Operator[config.operator.upper()]),
        double_q=jnp.asarray(config.double_q),
        softmax_beta=jnp.float32(config.softmax_beta),
        omega=jnp.float32(config.omega),
        soft_mellowmax_alpha=jnp.float32(config.soft_mellowmax_alpha),
        discount=jnp.float32(config.discount),
        burn_in_env_steps=jnp.float32(begin.get(config.targets, 0.0) * config.steps),
        td_lambda=jnp.float32(
            config.td_lambda if config.targets in ("td_lambda", "hybrid") else 0.0
        ),
        n_step=jnp.int32(config.n_step if config.targets in ("n_step", "delayed_n_step") else 0),
        cuts_are_terminal=jnp.asarray(config.timeout == "terminal"),
        weight_alpha=jnp.float32(config.weight_alpha),
        weights_from_online=jnp.asarray(config.weights_from == "online_restricted"),
        res_regulariser=jnp.float32(config.res_regulariser),
        res_unavailable=jnp.asarray(config.res_unavailable == "include"),
        value_coefficient=jnp.float32(config.value_coefficient),
        entropy_coefficient=jnp.float32(config.entropy_coefficient),
        gae_lambda=jnp.float32(config.gae_lambda),
        clip=jnp.float32(config.clip),
        drop_fraction=jnp.float32(config.drop_fraction if grows else 0.0),
        drop_schedule=_place(config.drop_schedule, rules.schedule),
        drop=_place(config.drop, rules.drop),
        growth=_place(growth, rules.growth),
        grown_state=jnp.int32(GrownState[config.grown_state.upper()]),
        total_env_steps=jnp.float32(config.steps),
        prunes=jnp.asarray(config.pruning == "cubic"),
        prune_begin_env_steps=jnp.float32(config.prune_begin_fraction * config.steps),
        prune_end_env_steps=jnp.float32(config.prune_end_fraction * config.steps),
    )


def _place(name: str, rules: Mapping[str, object]) -> Int[Array, ""]:
    return jnp.int32(list(rules).index(name))
