"""Native battles are jaxmarl's, to rounding; each step from the same state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast import Trainer, resolve
from mast.envs.battle.native import obstacle
from mast.envs.smax import Smax
from mast.errors import UserError

EPISODES = 6
TOLERANCE = 1e-5
"""Of positions in map units, and of shares."""


def policy(generator: np.random.Generator, available: np.ndarray, aims: bool) -> np.ndarray:
    """Random available actions; with `aims` an attack wherever one is possible."""
    wishes = generator.random(available.shape)
    wishes[..., 5:] += 2 * aims
    return np.argmax(np.where(available, wishes, -1), -1).astype(np.int32)


@pytest.mark.parametrize(
    ("scenario", "aims"),
    [("3m", False), ("2s3z", True), ("5m_vs_6m", True), ("smacv2_5_units", True)],
)
def test_a_step_is_jaxmarls(scenario: str, aims: bool) -> None:
    ours, native = (Smax(scenario, state_last_action=True, native=each) for each in (False, True))
    keys = jax.random.split(jax.random.key(3), EPISODES)
    state, seen = jax.jit(jax.vmap(ours.reset))(keys)
    held, other = jax.jit(jax.vmap(native.reset))(keys)
    step, native_step = jax.jit(jax.vmap(ours.step)), jax.jit(jax.vmap(native.step))
    generator, ended, steps, shots = np.random.default_rng(0), np.zeros(EPISODES, bool), 0, 0
    assert_alike(
        (state.battle, state.enemy_policy, seen), (held.battle, held.enemy_policy, other), ~ended
    )
    for moment in range(ours.spec.episode_limit):
        action = policy(generator, np.asarray(seen.available), aims)
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, moment)
        held = held._replace(
            battle=state.battle, enemy_policy=state.enemy_policy, last_actions=state.last_actions
        )
        held, other, found = native_step(now, held, action)
        state, seen, outcome = step(now, state, action)
        assert_alike(
            (state.battle, state.enemy_policy, seen, outcome),
            (held.battle, held.enemy_policy, other, found),
            ~ended,
        )
        steps += int((~ended).sum())
        shots += int((np.asarray(state.battle.prev_attack_actions) > 0).sum())
        ended |= np.asarray(outcome.terminated | outcome.truncated)
        if ended.all():
            break
    assert ended.all()
    assert steps > 10 * EPISODES
    assert shots > 0


def assert_alike(first: Any, second: Any, going: np.ndarray) -> None:
    """Of the battles that go on: integers equal, floats to rounding."""
    for (path, a), (_, b) in zip(
        jax.tree_util.tree_leaves_with_path(first),
        jax.tree_util.tree_leaves_with_path(second),
        strict=True,
    ):
        a, b, name = np.asarray(a), np.asarray(b), jax.tree_util.keystr(path)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        if a.dtype == np.float32:
            np.testing.assert_allclose(a[going], b[going], atol=TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(a[going], b[going], err_msg=name)


def test_what_is_no_action_and_nobody_remembered_are_harmless() -> None:
    env = Smax("3m", native=True)
    state, _ = env.reset(jax.random.key(0))
    for action, last in ((-7, -9), (2**31 - 1, 99), (-(2**31), -(2**31))):
        memory = state.enemy_policy.replace(last_attacked_enemy=jnp.full(3, last, jnp.int32))
        before = state._replace(enemy_policy=memory)
        _, _, outcome = env.step(jax.random.key(1), before, jnp.full(3, action, jnp.int32))
        assert np.isfinite(outcome.reward)
    odd = state.battle.replace(unit_types=jnp.full(6, 250, jnp.uint8))
    with pytest.raises(ValueError, match="unit type 250 of 6"):
        env.step(jax.random.key(1), state._replace(battle=odd), jnp.zeros(3, jnp.int32))


def test_which_battles_are_native() -> None:
    assert obstacle("3m") is None
    assert "units" in (obstacle("MMM2") or "")
    small = {"steps": 400, "parallel_envs": 2}
    assert Trainer(resolve(small | {"environment": "smax/3m"})).config.battle == "native"
    assert Trainer(resolve(small | {"environment": "mpe/simple_spread"})).config.battle == "jax"
    with pytest.raises(UserError, match="battle = native: MMM2 has units"):
        Trainer(resolve(small | {"environment": "smax/MMM2", "battle": "native"}))


def test_a_run_goes_on_with_the_battles_it_began_with(tmp_path: Any) -> None:
    settings = {"environment": "smax/3m", "steps": 300, "parallel_envs": 2, "eval_interval": 10**9}
    for battle in ("native", "jax"):
        trainer = Trainer(resolve(settings | {"battle": battle}), tmp_path / battle)
        next(iter(trainer))
        trainer.save()
        trainer.close()
        assert Trainer.resume(tmp_path / battle).config.battle == battle
