"""The method that a run's settings describe."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Int

from mast.config import Config
from mast.execution.rules import Rules, rules_of
from mast.learning.method import Method
from mast.learning.operators import Operator
from mast.sparsity.slots import GrownState


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
        final_step=jnp.float32(
            (config.final_learning_rate or config.learning_rate) / config.learning_rate
        ),
        anneal_begin_env_steps=jnp.float32(config.anneal_begin_fraction * config.steps),
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
        clip=jnp.float32(config.ppo_clip),
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
