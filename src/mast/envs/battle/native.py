"""SMAX's battles by native code on a CPU: jaxmarl's rules and random numbers, a step in microseconds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.jaxmarl_silent import BattleState
from mast.kernels import library

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


def obstacle(scenario: str) -> str | None:
    """Why a map's battles cannot be native here, in a few words; None where they can.

    Args:
        scenario: name in `mast.envs.battle.maps.SCENARIOS`, as "3m".
    """
    from mast.envs.battle.maps import SCENARIOS, has_new_types

    if has_new_types(SCENARIOS[scenario]):
        return f"{scenario} has units that it does not know"
    if jax.default_backend() != "cpu":
        return f"it is not for a {jax.default_backend()}"
    if not jax.config.values["jax_threefry_partitionable"]:
        return "jax_threefry_partitionable is off"
    return library.unavailable_reason()


class NativeBattle:
    """Steps of one scenario against the heuristic enemy.

    Args:
        game: jaxmarl's `SMAX` of the scenario.
        reward_scale: factor on its reward.
    """

    def __init__(self, game: Any, reward_scale: float) -> None:
        kinds = game.unit_type_bits
        sizes = (
            game.num_allies,
            game.num_enemies,
            kinds,
            game.world_steps_per_env_step,
            game.max_steps,
        )
        tables = [getattr(game, f"unit_type_{name}") for name in TABLES]
        moves, _ = game._decode_discrete_actions(jnp.arange(game.num_movement_actions))
        numbers = [
            [game.map_width, game.map_height, game.time_per_step],
            [game.won_battle_bonus, reward_scale],
            *tables,
            game.unit_type_weapon_cooldowns,
            np.ravel(moves),
        ]
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
        """As `HeuristicEnemySMAX.step_env` with this key, to rounding.

        Args:
            key: random key of the enemy's choices and of the weapons' cooldowns.
            battle: before the step (jaxmarl's `State`).
            enemy_policy: what the enemies remember (jaxmarl's `HeuristicPolicyState`, a row each).
            actions: of the allies.
        """
        call = jax.ffi.ffi_call(self._target, self._results, vmap_method="broadcast_all")
        position, alive, health, cooldown, movement, attack, across, last, done, reward, *seen = (
            call(
                jax.random.key_data(key),
                battle.unit_positions,
                battle.unit_alive,
                battle.unit_health,
                battle.unit_types,
                battle.unit_weapon_cooldowns,
                battle.step,
                enemy_policy.default_target,
                enemy_policy.last_attacked_enemy,
                actions.astype(jnp.int32),
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
        memory = enemy_policy.replace(default_target=across, last_attacked_enemy=last)
        observation, state, available = seen
        return Moment(after, memory, observation, state, available, reward)
