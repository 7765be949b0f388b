"""SMAX's battles by native code on a CPU: the rules and random numbers of JAX's, a step in microseconds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.battle.game import BattleGame
from mast.envs.battle.heuristic import CLOSE_ENOUGH, Memory
from mast.envs.battle.unit_types import (
    BEAM_DEPTH,
    BEAM_WIDTH,
    BEAMING,
    BONUS_VS_LIGHT,
    ENERGY_PER_SECOND,
    FLYING,
    HEALING,
    HEALTH_PER_ENERGY,
    HEALTH_PER_SECOND,
    LIGHT,
    MAX_ENERGY,
    MELEE,
    NAMES,
)
from mast.envs.jaxmarl_silent import BattleState
from mast.kernels import library
from mast.runtime import platform_of_jax

TABLES = ("velocities", "attacks", "attack_ranges", "sight_ranges", "radiuses", "health")
"""Of unit types, in the order in which the kernel reads them; the weapons' cooldowns come last."""


class Moment(NamedTuple):
    """What a step leads to."""

    battle: BattleState
    enemy_policy: Any
    """What the enemies remember."""
    observation: Float[Array, "agents features"]
    state: Float[Array, " features"]
    """Normalised (`Smax.normalised_state`), without the last joint action."""
    available: Bool[Array, "agents actions"]
    reward: Float[Array, ""]


EXTENDED = (
    BEAM_DEPTH,
    HEALTH_PER_SECOND,
    HEALTH_PER_ENERGY,
    ENERGY_PER_SECOND,
    MAX_ENERGY,
    CLOSE_ENOUGH,
)
"""Of units that SMAX lacks, in the order in which the kernel reads them."""


def extended_tables() -> list[list[float]]:
    """Of all unit types, what the rules of units that SMAX lacks say, in the kernel's order."""
    among = (LIGHT, MELEE, FLYING, HEALING)
    return [
        [BEAM_WIDTH if name in BEAMING else 0.0 for name in NAMES],
        [BONUS_VS_LIGHT.get(name, 0.0) for name in NAMES],
        *([float(name in group) for name in NAMES] for group in among),
    ]


def obstacle() -> str | None:
    """Why battles cannot be native here, in a few words; None where they can."""
    if (platform := platform_of_jax()) != "cpu":
        return f"it is not for a {platform}"
    if not jax.config.values["jax_threefry_partitionable"]:
        return "jax_threefry_partitionable is off"
    return library.unavailable_reason()


class NativeBattle:
    """Steps of one scenario against the heuristic enemy.

    Args:
        game: jaxmarl's `SMAX` of the scenario, or a `BattleGame`.
        reward_scale: factor on its reward.
    """

    def __init__(self, game: Any, reward_scale: float) -> None:
        kinds = game.unit_type_bits
        sizes = [
            game.num_allies,
            game.num_enemies,
            kinds,
            game.world_steps_per_env_step,
            game.max_steps,
        ]
        tables = [getattr(game, f"unit_type_{name}") for name in TABLES]
        moves, _ = game._decode_discrete_actions(jnp.arange(game.num_movement_actions))
        numbers = [
            [game.map_width, game.map_height, game.time_per_step],
            [game.won_battle_bonus, reward_scale],
            *tables,
            game.unit_type_weapon_cooldowns,
            np.ravel(moves),
        ]
        if isinstance(game, BattleGame):
            counts = (game.num_ally_actions, game.num_enemy_actions)
            sizes += [count - game.num_movement_actions for count in counts]
            numbers += [list(EXTENDED), *extended_tables()]
        self._told: dict[str, Any] = {
            "sizes": np.asarray(sizes, np.int64),
            "numbers": np.concatenate([np.asarray(each, np.float32) for each in numbers]),
        }
        units, enemies, allies = game.num_agents, game.num_enemies, game.num_allies

        def shape(dtype: Any, *sizes: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(sizes, dtype)

        self._results = (
            shape(np.float32, units, 2),
            shape(np.bool_, units),
            shape(np.float32, units),
            shape(np.float32, units),
            shape(np.float32, units, 2),
            shape(np.int32, units),
            shape(np.float32, enemies, 2),
            shape(np.int32, enemies),
            shape(np.bool_),
            shape(np.float32),
            shape(np.float32, allies, game.obs_size),
            shape(np.float32, game.state_size),
            shape(np.bool_, allies, game.num_ally_actions),
        )
        self._target = library.active().target("battle_step")

    def step(
        self,
        key: PRNGKeyArray,
        battle: Any,
        enemy_policy: Any,
        actions: Int[Array, " agents"],
    ) -> Moment:
        """As the step of JAX's battle with this key, to rounding.

        Args:
            key: random key of the enemy's choices and of the weapons' cooldowns.
            battle: before the step (jaxmarl's `State`).
            enemy_policy: what the enemies remember: jaxmarl's `HeuristicPolicyState`, a row each, or a
                `Memory`.
            actions: of the allies.
        """
        call = jax.ffi.ffi_call(self._target, self._results, vmap_method="broadcast_all")
        started: tuple[Array, ...] = ()
        if isinstance(enemy_policy, Memory):
            before, started = (
                (enemy_policy.across, enemy_policy.last_target),
                (enemy_policy.started,),
            )
        else:
            before = (enemy_policy.default_target, enemy_policy.last_attacked_enemy)
        position, alive, health, cooldown, movement, attack, across, last, done, reward, *seen = (
            call(
                jax.random.key_data(key),
                battle.unit_positions,
                battle.unit_alive,
                battle.unit_health,
                battle.unit_types,
                battle.unit_weapon_cooldowns,
                battle.step,
                *before,
                actions.astype(jnp.int32),
                *started,
                **self._told,
            )
        )
        after = battle.replace(
            unit_positions=position,
            unit_alive=alive,
            unit_health=health,
            unit_weapon_cooldowns=cooldown,
            prev_movement_actions=movement,
            prev_attack_actions=attack,
            step=battle.step + 1,
            done=done,
        )
        remembered = (
            Memory(across, last, jnp.ones_like(enemy_policy.started))
            if isinstance(enemy_policy, Memory)
            else enemy_policy.replace(default_target=across, last_attacked_enemy=last)
        )
        observation, state, available = seen
        return Moment(after, remembered, observation, state, available, reward)
