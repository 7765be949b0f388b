"""Native battles are those of JAX, to rounding; each step from the same state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mast import Trainer, resolve
from mast.envs.battle.native import obstacle
from mast.envs.battle.unit_types import NAMES
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


@pytest.mark.parametrize("scenario", ["MMM2", "2c_vs_64zg"])
def test_a_step_with_medivacs_or_colossi_is_that_of_jax(scenario: str) -> None:
    ours, native = (Smax(scenario, state_last_action=True, native=each) for each in (False, True))
    battle: Any = ours._battle
    keys = jax.random.split(jax.random.key(3), EPISODES)
    begin: Any = jax.jit(jax.vmap(ours.reset))(keys)[0]
    step, native_step = jax.jit(jax.vmap(ours.step)), jax.jit(jax.vmap(native.step))
    allowed = jax.jit(jax.vmap(battle.get_avail_actions))
    generator, units = np.random.default_rng(0), battle.num_agents
    kinds = np.array(NAMES)[np.asarray(begin.battle.unit_types[0])]
    full = np.asarray(battle.full_health)
    healed = beamed = dead = 0
    for moment in range(12):
        # In each other's reach, but with room: a crowd would enlarge the roundings.
        spots = np.stack([generator.permutation(81)[:units] for _ in range(EPISODES)])
        places = np.stack([spots % 9, spots // 9], -1) * 1.3 + generator.uniform(6, 8, 2)
        places += generator.uniform(0, 0.2, places.shape)
        alive = generator.random((EPISODES, units)) < 0.8
        alive[:, [0, -1]] = True
        share = np.minimum(generator.uniform(0.05, 1.5, (EPISODES, units)), 1)
        ready = generator.choice([-0.5, 0.0, 0.3], (EPISODES, units))
        energy = generator.choice([0.0, 0.05, 50.0, 199.9], (EPISODES, units))
        last = generator.integers(-1, battle.num_allies, (EPISODES, battle.num_enemies))
        fields = {
            "unit_positions": places,
            "unit_alive": alive,
            "unit_health": share * full * alive,
            "unit_weapon_cooldowns": np.where(battle.heals, energy, ready),
        }
        fields = {
            name: np.asarray(value, getattr(begin.battle, name).dtype)
            for name, value in fields.items()
        }
        memory = begin.enemy_policy._replace(
            across=np.asarray(
                generator.uniform(0, 32, begin.enemy_policy.across.shape), np.float32
            ),
            last_target=last.astype(np.int32),
            started=np.arange(EPISODES) % 2 == 0,
        )
        state = begin._replace(battle=begin.battle.replace(**fields), enemy_policy=memory)
        available = allowed(state.battle)
        available = np.stack([available[name] for name in battle.agents[: battle.num_allies]], 1)
        action = policy(generator, available, aims=moment % 3 > 0)
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, moment)
        after, seen, outcome = step(now, state, action)
        held, other, found = native_step(now, state, action)
        assert_alike(
            (after.battle, after.enemy_policy, seen, outcome),
            (held.battle, held.enemy_policy, other, found),
            np.ones(EPISODES, bool),
        )
        gained = np.asarray(after.battle.unit_health) - fields["unit_health"]
        healed += int((gained > 0).sum())
        beamed += int((gained[:, kinds == "zergling"] < -29).sum())
        dead += int((alive & ~np.asarray(after.battle.unit_alive)).sum())
    assert dead > 0
    assert healed > 10 if scenario == "MMM2" else beamed > 10


def test_what_is_no_action_and_nobody_remembered_are_harmless() -> None:
    env = Smax("3m", native=True)
    state, _ = env.reset(jax.random.key(0))
    for action, last in ((-7, -9), (2**31 - 1, 99), (-(2**31), -(2**31))):
        memory = state.enemy_policy.replace(last_attacked_enemy=jnp.full(3, last, jnp.int32))
        before = state._replace(enemy_policy=memory)
        _, _, outcome = env.step(jax.random.key(1), before, jnp.full(3, action, jnp.int32))
        assert np.isfinite(outcome.reward)
    medivac = Smax("MMM2", native=True)
    begin: Any = medivac.reset(jax.random.key(0))[0]
    for action, last in ((-7, -9), (2**31 - 1, 99), (-(2**31), -(2**31))):
        memory = begin.enemy_policy._replace(last_target=jnp.full(12, last, jnp.int32))
        before = begin._replace(enemy_policy=memory)
        _, _, outcome = medivac.step(jax.random.key(1), before, jnp.full(10, action, jnp.int32))
        assert np.isfinite(outcome.reward)
    battle: Any = state.battle
    odd = battle.replace(unit_types=jnp.full(6, 250, jnp.uint8))
    with pytest.raises(ValueError, match="unit type 250 of 6"):
        env.step(jax.random.key(1), state._replace(battle=odd), jnp.zeros(3, jnp.int32))


def test_which_battles_are_native() -> None:
    assert obstacle() is None
    small = {"steps": 400, "parallel_envs": 2}
    for scenario in ("3m", "MMM2"):
        config = resolve(small | {"environment": f"smax/{scenario}"})
        assert Trainer(config).config.battle == "native"
    particles = {"environment": "mpe/simple_spread"}
    assert Trainer(resolve(small | particles)).config.battle == "jax"
    with pytest.raises(UserError, match="battle = native: mpe/simple_spread is none of SMAX's"):
        Trainer(resolve(small | particles | {"battle": "native"}))


def test_a_run_goes_on_with_the_battles_it_began_with(tmp_path: Any) -> None:
    settings = {"environment": "smax/3m", "steps": 300, "parallel_envs": 2, "eval_interval": 10**9}
    for battle in ("native", "jax"):
        trainer = Trainer(resolve(settings | {"battle": battle}), tmp_path / battle)
        next(iter(trainer))
        trainer.save()
        trainer.close()
        assert Trainer.resume(tmp_path / battle).config.battle == battle
