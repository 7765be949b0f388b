"""Two episodes through the ring into every algorithm's loss, with every number known by hand.

γ = 1/2, one-step targets. All weights are 0 but those that make the value of a state its first entry:
for IQL and VDN, which read no state, each utility is 10 instead.

    episode A (3 steps, ends by the rules):  states 10, 20, 30, then 99;  rewards 1, 2, 4
    episode B (2 steps, cut):                states 8, 16, then 32;       rewards 1, 3
"""

from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from episode_batches import (
    LENGTH,
    SIZES,
    Case,
    Compiled,
    all_episodes,
    compiled,
    side_by_side,
)

from golden import value_decomposition_by_definition as golden
from golden.value_decomposition_by_definition import Rules
from mast.algorithms.registry import VALUE_BASED
from mast.learning.replay import Batch, Episode, Ring

RULES = Rules(golden.double_q_max, discount=0.5)
CASE = Case({"method": "ss"}, RULES)
RES_CASE = Case({"algorithm": "res", "method": "ss"}, RULES)

# The batch has A three times and B twice: 13 steps.
#
#              A, t = 0        t = 1           t = 2    B, t = 0       t = 1
# y            1 + 20/2 = 11   2 + 30/2 = 17   4        1 + 16/2 = 9   3 + 32/2 = 19
# Q_tot        10              20              30       8              16
# (y - Q)²     1               9               676      1              9
TARGET = (3 * (11 + 17 + 4) + 2 * (9 + 19)) / 13
ERROR = (3 * (1 + 9 + 676) + 2 * (1 + 9)) / 13
# OW: α = 0.1 where Q_tot > y, in A at t = 1 and 2.
OPTIMISTIC = (3 * (1 + 0.9 + 67.6) + 2 * (1 + 9)) / 13
# CW: Q̂*(s, û) is Q_tot here, so as OW, but A's second joint action is greedy (all utilities are 0:
# the first action is) and counts in full.
CENTRAL = (3 * (1 + 9 + 67.6) + 2 * (1 + 9)) / 13
# RES: R = 3, 4, 4 and 2.5, 3 are as far from Q_tot as 7, 16, 26 and 5.5, 13.
PULL = (3 * (49 + 256 + 676) + 2 * (30.25 + 169)) / 13
# IQL: V = 10, y = 6, 7, 4 and 6, 8. VDN: V = 20, y = 11, 12, 4 and 11, 13.
EXPECTED = {
    "iql": ((3 * (6 + 7 + 4) + 2 * (6 + 8)) / 13, (3 * (16 + 9 + 36) + 2 * (16 + 4)) / 13),
    "vdn": ((3 * (11 + 12 + 4) + 2 * (11 + 13)) / 13, (3 * (81 + 64 + 256) + 2 * (81 + 49)) / 13),
    "qmix": (TARGET, ERROR),
    "owqmix": (TARGET, OPTIMISTIC + ERROR),
    "cwqmix": (TARGET, CENTRAL + ERROR),
    "qplex": (TARGET, ERROR),
    "res": (TARGET, ERROR + 0.05 * PULL),
}
"""Mean target and loss."""


def episode(
    values: list[float], rewards: list[float], actions: list[list[int]], terminated: bool
) -> Episode:
    steps = len(rewards)
    state = np.zeros((steps + 1, SIZES.state), np.float32)
    state[:, 0] = values
    return Episode(
        observation=np.ones((steps + 1, SIZES.agents, SIZES.observation), np.float32),
        state=state,
        available=np.ones((steps + 1, SIZES.agents, SIZES.actions), bool),
        action=np.array(actions),
        reward=np.array(rewards, np.float32),
        terminated=terminated,
        won=False,
    )


@pytest.fixture(scope="module")
def batch() -> Batch:
    """From the ring, in the number types that the other tests compile for."""
    sizes = SimpleNamespace(
        agents=SIZES.agents,
        actions=SIZES.actions,
        observation=SIZES.observation,
        state=SIZES.state,
        episode_limit=LENGTH,
    )
    ring = Ring(sizes, capacity=2, dtype="float32")
    ring.add(episode([10, 20, 30, 99], [1, 2, 4], [[1, 1], [0, 0], [1, 0]], terminated=True))
    ring.add(episode([8, 16, 32], [1, 3], [[1, 1], [2, 2]], terminated=False))
    gathered = ring.gather(np.array([0, 1, 0, 1, 0]), LENGTH)
    kinds = side_by_side(all_episodes(), LENGTH)
    return jax.tree.map(lambda ours, like: ours.astype(like.dtype), gathered, kinds)


def known(params: Any) -> Any:
    """The same networks with values known by hand."""
    params = jax.tree.map(jnp.zeros_like, params)
    for name in ("mixer", "unrestricted_mixer"):
        if hasattr(getattr(params, name, None), "v_hidden"):
            params = eqx.tree_at(
                lambda tree, name=name: (
                    getattr(tree, name).v_hidden.weight,
                    getattr(tree, name).v_out.weight,
                ),
                params,
                replace_fn=lambda weight: weight.at[0, 0].set(1.0),
            )
    if hasattr(params.mixer, "b_hidden"):  # QPLEX: b of the first agent is the state's first entry
        params = eqx.tree_at(
            lambda tree: (tree.mixer.b_hidden.weight, tree.mixer.b_out.weight),
            params,
            replace_fn=lambda weight: weight.at[0, 0].set(1.0),
        )
    if not jax.tree.leaves(params.mixer):
        params = eqx.tree_at(
            lambda tree: tree.agent.fc2.bias, params, jnp.full(SIZES.actions, 10.0)
        )
    return params


@pytest.fixture(params=VALUE_BASED)
def algorithm(request: pytest.FixtureRequest) -> Compiled:
    return compiled(request.param)


def outcome(algorithm: Compiled, batch: Batch) -> tuple[float, float]:
    """Mean target and loss."""
    params = known(algorithm.params)
    case = RES_CASE if algorithm.name == "res" else CASE
    loss, metrics, _ = algorithm(batch, case, target=params, params=params)
    return float(metrics["target"]), float(loss)


def test_target_and_loss_are_those_computed_by_hand(algorithm: Compiled, batch: Batch) -> None:
    assert outcome(algorithm, batch) == pytest.approx(EXPECTED[algorithm.name], rel=1e-6)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_terminal_flag_one_step_off_would_be_seen(
    algorithm: Compiled, batch: Batch, shift: int
) -> None:
    """The slip of a published JAX QMIX: `done` of the neighbouring step decides about the bootstrap."""
    misaligned = batch._replace(terminated=np.roll(batch.terminated, shift, axis=0))
    _, loss = outcome(algorithm, misaligned)
    assert abs(loss - EXPECTED[algorithm.name][1]) > 0.5
