"""The record of numbers that a method is, against the table of spec §6."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast.config import METHODS, Config
from mast.execution.method import method_from_config
from mast.learning.method import Method
from mast.learning.operators import Operator
from mast.sparsity.schedules import SCHEDULES
from mast.sparsity.scores import DROP_SCORES, GROWTH_SCORES
from mast.sparsity.slots import GrownState

DROPS, GROWTHS, SCHEDULED = list(DROP_SCORES), list(GROWTH_SCORES), list(SCHEDULES)


def method(name: str, **settings: Any) -> Method:
    given = {"environment": "smax/3m", "method": name, **settings}
    if name in ("winning-ticket", "one-shot"):
        given["from_run"] = "runs/before"
    return method_from_config(Config.model_validate(given))


AS_DENSE = {
    "operator": Operator.MAX,
    "double_q": True,
    "burn_in_env_steps": 0,
    "td_lambda": 0.0,
    "n_step": 0,
}
AS_MAST = {
    "operator": Operator.SOFT_MELLOWMAX,
    "soft_mellowmax_alpha": 1.0,
    "omega": 10.0,
    "burn_in_env_steps": 750_000,
    "td_lambda": 0.8,
    "n_step": 0,
}
TABLE: dict[str, dict[str, float]] = {
    "dense": AS_DENSE | {"drop_fraction": 0.0},
    "ss": AS_DENSE | {"drop_fraction": 0.0},
    "set": AS_DENSE | {"drop_fraction": 0.5, "growth": GROWTHS.index("random")},
    "rigl": AS_DENSE | {"drop_fraction": 0.5, "growth": GROWTHS.index("gradient")},
    "mast": AS_MAST | {"drop_fraction": 0.5, "growth": GROWTHS.index("gradient")},
    "rlx2": AS_DENSE
    | {
        "burn_in_env_steps": 200_000,
        "n_step": 3,
        "drop_fraction": 0.5,
        "growth": GROWTHS.index("gradient"),
    },
    "tiny": AS_DENSE | {"drop_fraction": 0.0},
    "random-ticket": AS_MAST | {"drop_fraction": 0.0},
    "winning-ticket": AS_MAST | {"drop_fraction": 0.0},
    "magnitude": AS_DENSE
    | {
        "drop_fraction": 0.0,
        "prunes": True,
        "prune_begin_env_steps": 200_000,
        "prune_end_env_steps": 1_500_000,
    },
    "one-shot": AS_DENSE | {"drop_fraction": 0.0},
}


@pytest.mark.parametrize("name", TABLE)
def test_methods_are_the_rows_of_the_table(name: str) -> None:
    made = method(name, steps=2_000_000)
    common = {
        "discount": 0.99,
        "total_env_steps": 2_000_000,
        "cuts_are_terminal": False,
        "grown_state": GrownState.GRAD,
    }
    for field, expected in (common | TABLE[name]).items():
        assert float(getattr(made, field)) == pytest.approx(float(expected)), field


def test_the_table_has_every_method() -> None:
    assert TABLE.keys() == METHODS.keys()


def test_methods_stack_into_one_program() -> None:
    """Same fields, all scalars, same dtypes: so that they can be vmapped over."""
    methods = [method(name) for name in METHODS]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *methods)
    for leaf in jax.tree.leaves(stacked):
        assert leaf.shape == (len(METHODS),)
    dtypes = [[leaf.dtype for leaf in jax.tree.leaves(each)] for each in methods]
    assert all(each == dtypes[0] for each in dtypes)
    assert not any(leaf.weak_type for each in methods for leaf in jax.tree.leaves(each))


@pytest.mark.parametrize(
    ("setting", "value", "field", "expected"),
    [
        ("learning_rate", 1e-3, "learning_rate", 1e-3),
        ("step_exponent", 0.5, "step_exponent", 0.5),
        ("step_cap", 5.0, "step_cap", 5.0),
        ("final_learning_rate", 1e-4, "final_step", 0.2),
        ("anneal_begin_fraction", 0.25, "anneal_begin_env_steps", 250),
        ("operator", "mellowmax", "operator", Operator.MELLOWMAX),
        ("operator", "softmax", "operator", Operator.SOFTMAX),
        ("double_q", False, "double_q", False),
        ("softmax_beta", 0.05, "softmax_beta", 0.05),
        ("omega", 3.0, "omega", 3.0),
        ("soft_mellowmax_alpha", 0.0, "soft_mellowmax_alpha", 0.0),
        ("discount", 0.9, "discount", 0.9),
        ("td_lambda", 0.6, "td_lambda", 0.6),
        ("weight_alpha", 0.5, "weight_alpha", 0.5),
        ("weights_from", "online_restricted", "weights_from_online", True),
        ("res_regulariser", 0.2, "res_regulariser", 0.2),
        ("res_unavailable", "include", "res_unavailable", True),
        ("burn_in_fraction", 0.5, "burn_in_env_steps", 500),
        ("timeout", "terminal", "cuts_are_terminal", True),
        ("drop_fraction", 0.3, "drop_fraction", 0.3),
        ("growth", "random", "growth", GROWTHS.index("random")),
        ("growth", "none", "drop_fraction", 0.0),
        ("drop", "random", "drop", DROPS.index("random")),
        ("drop", "sensitivity", "drop", DROPS.index("sensitivity")),
        ("drop_schedule", "linear", "drop_schedule", SCHEDULED.index("linear")),
        ("drop_schedule", "constant", "drop_schedule", SCHEDULED.index("constant")),
        ("prune_begin_fraction", 0.2, "prune_begin_env_steps", 200),
        ("prune_end_fraction", 0.9, "prune_end_env_steps", 900),
        ("grown_state", "zero", "grown_state", GrownState.ZERO),
        ("grown_state", "mean", "grown_state", GrownState.MEAN),
        ("grown_state", "keep", "grown_state", GrownState.KEEP),
        ("steps", 4000, "total_env_steps", 4000),
    ],
)
def test_every_setting_reaches_its_number_and_no_other(
    setting: str, value: Any, field: str, expected: float
) -> None:
    usual = method("mast", **{"steps": 1000})._asdict()
    changed = method("mast", **{"steps": 1000, setting: value})._asdict()
    assert float(changed[field]) == pytest.approx(float(expected))
    others = {name for name in usual if not np.array_equal(usual[name], changed[name])}
    follow = {"burn_in_env_steps", "anneal_begin_env_steps"}
    follow |= {"prune_begin_env_steps", "prune_end_env_steps"}
    assert others - {field} <= (follow if setting == "steps" else set())


@pytest.mark.parametrize(
    ("settings", "begin", "td_lambda", "n_step"),
    [
        ({"targets": "one_step"}, 0, 0.0, 0),
        ({"targets": "td_lambda", "td_lambda": 0.4}, 0, 0.4, 0),
        ({"targets": "hybrid", "burn_in_fraction": 0.25}, 250, 0.8, 0),
        ({"targets": "n_step", "n_step": 5}, 0, 0.0, 5),
        ({"targets": "delayed_n_step", "delay_fraction": 0.2}, 200, 0.0, 3),
    ],
)
def test_the_kinds_of_targets(
    settings: dict[str, Any], begin: float, td_lambda: float, n_step: int
) -> None:
    for name in ("rigl", "mast"):
        made = method(name, steps=1000, **settings)
        got = (made.burn_in_env_steps, made.td_lambda, made.n_step)
        np.testing.assert_allclose(np.array(got, float), (begin, td_lambda, n_step), rtol=1e-6)


@pytest.mark.parametrize(
    ("begin", "env_steps", "share"),
    [
        (0.5, 0.0, 0.0),
        (0.5, 500.0, 0.0),
        (0.5, 600.0, 0.2),
        (0.5, 1000.0, 1.0),
        (0.5, 5000.0, 1.0),
        (0.0, 250.0, 0.25),
        (1.0, 999.0, 0.0),
        (1.0, 5000.0, 0.0),
    ],
)
def test_steps_go_to_the_final_ones_after_their_share_of_the_run(
    begin: float, env_steps: float, share: float
) -> None:
    made = method("mast", steps=1000, anneal_begin_fraction=begin)
    assert float(made.annealed(env_steps)) == pytest.approx(share)
