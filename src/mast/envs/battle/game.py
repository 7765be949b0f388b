"""SMAX's battle with the units that it lacks: jaxmarl's class, its ticks replaced by ours.

The types of a map's units are known when it is made, so that who may hit or heal whom is too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.battle import rules
from mast.envs.battle.heuristic import HeuristicTeam, Memory
from mast.envs.battle.unit_types import (
    BEAM_WIDTH,
    BEAMING,
    BONUS_VS_LIGHT,
    ENERGY_PER_SECOND,
    FLYING,
    HEALING,
    HEALTH_PER_ENERGY,
    LIGHT,
    MELEE,
    START_ENERGY,
    tables,
)
from mast.envs.jaxmarl_silent import SMAX, BattleState, HeuristicEnemySMAX, Scenario


def _with(state: BattleState, **fields: Array) -> BattleState:
    """The same battle with some of it changed."""
    changeable: Any = state
    changed: BattleState = changeable.replace(**fields)
    return changed


class BattleGame(SMAX):
    """A battle whose units may fly, heal, or fire a beam.

    An action 5 + k of a medivac names unit k of its own side, in the order in which the other side counts
    its targets (so a medivac of the enemies counts them backwards, as SMAX has it). A medivac has no weapon:
    where others have their cooldown it has its energy, in the state's `unit_weapon_cooldowns` too.
    """

    def __init__(self, scenario: Scenario, max_steps: int) -> None:
        """Make it.

        Args:
            scenario: its units; their types must not be drawn anew every episode.
            max_steps: as SMAX has it, which is one less than the largest number of steps.
        """
        super().__init__(scenario=scenario, max_steps=max_steps, **tables())
        kinds = [self.unit_type_names[int(kind)] for kind in scenario.unit_types]

        def among(names: tuple[str, ...]) -> np.ndarray:
            return np.array([kind in names for kind in kinds])

        types = np.asarray(scenario.unit_types)
        self.side = np.repeat([0, 1], [self.num_allies, self.num_enemies])
        self.flies, self.heals, self.melee = among(FLYING), among(HEALING), among(MELEE)
        self.healers = np.flatnonzero(self.heals)
        self.beamers = np.flatnonzero(among(BEAMING))
        self.ranges, self.radii, self.full_health = (
            np.asarray(table)[types]
            for table in (
                self.unit_type_attack_ranges,
                self.unit_type_radiuses,
                self.unit_type_health,
            )
        )
        self._cooldowns = np.asarray(self.unit_type_weapon_cooldowns)[types]
        self._velocities = np.asarray(self.unit_type_velocities)[types]
        self._sight = np.asarray(self.unit_type_sight_ranges)[types]
        bonus = np.array([BONUS_VS_LIGHT.get(kind, 0.0) for kind in kinds], np.float32)
        attacks = np.asarray(self.unit_type_attacks)[types]
        self.damage = attacks[:, None] + bonus[:, None] * among(LIGHT)
        self.beams = np.where(among(BEAMING), BEAM_WIDTH, 0.0)
        self.may_hit = rules.may_hit(self.side, self.heals, self.melee, self.flies)
        self.may_heal = rules.may_heal(self.side, self.heals)
        # A team with a medivac needs an action for each of its own units, too.
        own, other = self.num_allies, self.num_enemies
        if self.heals[:own].any():
            other = max(own, other)
        self.num_ally_actions = self.num_movement_actions + other
        own, other = self.num_enemies, self.num_allies
        if self.heals[self.num_allies :].any():
            other = max(own, other)
        self.num_enemy_actions = self.num_movement_actions + other
        self.action_spaces = {
            agent: self._get_individual_action_space(unit) for unit, agent in enumerate(self.agents)
        }
        self.targets = self._target_table()

    def _target_table(self) -> np.ndarray:
        """[units, actions]: the unit that an action names, -1 where it names none."""
        table = np.full(
            (self.num_agents, max(self.num_ally_actions, self.num_enemy_actions)), -1, np.int32
        )
        allies = np.arange(self.num_allies)
        # Enemies count both sides backwards, as in their observations.
        enemies = np.arange(self.num_allies, self.num_agents)[::-1]
        for unit in range(self.num_agents):
            own, other = (
                (allies, enemies[::-1]) if self.side[unit] == 0 else (enemies, allies[::-1])
            )
            named = own if self.heals[unit] else other
            table[unit, self.num_movement_actions :][: len(named)] = named
        return table

    def reset(self, key: PRNGKeyArray) -> tuple[dict[str, Array], BattleState]:  # type: ignore[override]
        """As SMAX, and medivacs have the energy that they start with."""
        _, state = super().reset(key)
        cooldowns = jnp.where(self.heals, START_ENERGY, state.unit_weapon_cooldowns)
        state = _with(state, unit_weapon_cooldowns=cooldowns)
        return self.get_obs(state) | {"world_state": self.get_world_state(state)}, state

    def get_obs(self, state: BattleState) -> dict[str, Float[Array, " features"]]:  # type: ignore[override]
        """What SMAX's allies see; the enemies look at the battle itself."""
        types, alive = state.unit_types, state.unit_alive
        kinds = jax.nn.one_hot(types, self.unit_type_bits)
        health = (state.unit_health / self.full_health)[:, None]
        cooldown = jnp.clip(state.unit_weapon_cooldowns / self._cooldowns, 0.0, 1.0)[:, None]
        counts = np.array([self.num_ally_actions, self.num_enemy_actions])[self.side]
        attack = (state.prev_attack_actions / (counts - 1.0).astype(np.float32))[:, None]
        seen = jnp.concatenate([state.prev_movement_actions, attack, cooldown, kinds], axis=1)
        allies = np.arange(self.num_allies)
        others = np.array([np.delete(np.arange(self.num_agents), ally) for ally in allies])
        offset = state.unit_positions[others] - state.unit_positions[allies][:, None]
        sight = self._sight[allies][:, None]
        visible = jnp.linalg.norm(offset, axis=-1) < sight
        visible &= alive[allies][:, None] & alive[others]
        features = jnp.concatenate(
            [health[others], offset / sight[..., None], seen[others]], axis=-1
        )
        features = jnp.where(visible[..., None], features, 0.0).reshape(self.num_allies, -1)
        size = jnp.array([self.map_width, self.map_height], jnp.float32)
        own = jnp.concatenate([health, state.unit_positions / size, cooldown, kinds], axis=1)
        own = jnp.where(alive[:, None], own, 0.0)[allies]
        return dict(zip(self.agents, jnp.concatenate([features, own], axis=1), strict=False))

    def get_avail_actions(self, state: BattleState) -> dict[str, Bool[Array, " actions"]]:  # type: ignore[override]
        """As SMAX, but only what a unit can hit, and for a medivac whom it can heal."""
        targets = rules.can_target(
            rules.in_range(state.unit_positions, self.ranges),
            state.unit_alive,
            state.unit_health < self.full_health,
            self.may_hit,
            self.may_heal,
        )
        first = self.num_movement_actions
        named = self.targets[:, first:]
        aims = jnp.take_along_axis(targets, np.maximum(named, 0), axis=1) & (named >= 0)
        moves = jnp.repeat(state.unit_alive[:, None], first - 1, axis=1)
        stop = jnp.ones((self.num_agents, 1), bool)
        available = jnp.concatenate([moves, stop, aims], axis=1)
        counts = (self.num_ally_actions, self.num_enemy_actions)
        return {
            agent: available[unit, : counts[self.side[unit]]]
            for unit, agent in enumerate(self.agents)
        }

    def compute_reward(  # type: ignore[override]
        self,
        state: BattleState,
        health_before: Float[Array, " units"],
        health_after: Float[Array, " units"],
    ) -> dict[str, Array]:
        """As SMAX for what each unit lost in the step; what it gained pays nobody and costs nobody."""
        lowered = jnp.minimum(health_before, health_after)
        return super().compute_reward(state, health_before, lowered)

    def largest_return(self, steps: int) -> float:
        """No return is larger: all of the enemy's health, what its medivacs can give back, and the win.

        Args:
            steps: of an episode.
        """
        seconds = steps * self.world_steps_per_env_step * self.time_per_step
        health = HEALTH_PER_ENERGY * (START_ENERGY + ENERGY_PER_SECOND * seconds)
        enemies = self.side == 1
        healers = int((self.heals & enemies).sum())
        weakest = self.full_health[enemies & ~self.heals].min(initial=np.inf)
        return 1.0 + float(healers * health / weakest / self.num_enemies) + self.won_battle_bonus

    def _push_units_away(self, state: BattleState, firmness: float = 1.0) -> BattleState:
        """As SMAX among those on the ground: whoever flies neither pushes nor is pushed."""
        grounded = _with(state, unit_alive=state.unit_alive & ~self.flies)
        pushed = super()._push_units_away(grounded, firmness)
        return _with(state, unit_positions=pushed.unit_positions)

    def _world_step(  # type: ignore[override]
        self,
        key: PRNGKeyArray,
        state: BattleState,
        actions: tuple[Float[Array, "units 2"], Int[Array, " units"]],
    ) -> BattleState:
        """A tick: all move, shoot and heal at once, from where they stood."""
        movement, attack = actions
        named = jnp.take_along_axis(jnp.asarray(self.targets), attack[:, None], axis=1)[:, 0]
        aims = (named >= 0) & (attack >= self.num_movement_actions) & state.unit_alive
        target = jnp.maximum(named, 0)
        apart = jnp.linalg.norm(state.unit_positions - state.unit_positions[target], axis=-1)
        aims &= (apart < self.ranges) & state.unit_alive[target]
        cooldowns = state.unit_weapon_cooldowns
        shoots = aims & (cooldowns <= 0.0) & self._of_target(self.may_hit, target)
        damage = self._damage(state, target, shoots)
        heal = self._heal(state, target, aims)
        lasting = self._cooldowns + jax.random.uniform(
            key, (self.num_agents,), minval=-self.time_per_step, maxval=2 * self.time_per_step
        )
        cooldowns = jnp.where(shoots, lasting, cooldowns - self.time_per_step)
        return _with(
            state,
            unit_health=rules.health_after(
                state.unit_health, damage, heal.gained, self.full_health
            ),
            unit_positions=self._moved(state, movement),
            unit_weapon_cooldowns=cooldowns.at[self.healers].set(heal.energy),
        )

    def _of_target(self, table: np.ndarray, target: Int[Array, " units"]) -> Array:
        """[units]: the entry of each unit's row that belongs to its target."""
        return jnp.take_along_axis(jnp.asarray(table), target[:, None], axis=1)[:, 0]

    def _damage(
        self, state: BattleState, target: Int[Array, " units"], shoots: Bool[Array, " units"]
    ) -> Float[Array, " units"]:
        """What every unit loses in this tick."""
        # Comparing all with all is faster than scattering when many battles are one program.
        hits = shoots[:, None] & (target[:, None] == np.arange(self.num_agents))
        if len(self.beamers):
            beam = rules.beam_touches(
                state.unit_positions[self.beamers],
                state.unit_positions[target[self.beamers]],
                state.unit_positions,
                self.radii,
            )
            beam &= shoots[self.beamers, None] & self.may_hit[self.beamers]
            hits = hits.at[self.beamers].set(beam)
        return jnp.where(hits, self.damage, 0.0).sum(axis=0)

    def _heal(
        self, state: BattleState, target: Int[Array, " units"], aims: Bool[Array, " units"]
    ) -> rules.Heal:
        """What the medivacs give in this tick."""
        chosen = target[self.healers, None] == np.arange(self.num_agents)
        return rules.heal(
            chosen & aims[self.healers, None] & self.may_heal[self.healers],
            state.unit_weapon_cooldowns[self.healers],
            self.full_health - state.unit_health,
            self.time_per_step,
        )

    def _moved(
        self, state: BattleState, movement: Float[Array, "units 2"]
    ) -> Float[Array, "units 2"]:
        """Where everybody is after a tick, before they are pushed."""
        places = state.unit_positions + movement * self._velocities[:, None] * self.time_per_step
        places = jnp.clip(places, 0.0, jnp.array([self.map_width, self.map_height], jnp.float32))
        return jnp.where(state.unit_alive[:, None], places, state.unit_positions)


class HeuristicEnemyGame(HeuristicEnemySMAX):
    """A `BattleGame` against the heuristic, in the terms of jaxmarl's `HeuristicEnemySMAX`.

    But its enemies look at the battle, and no observations are made for them.
    """

    def __init__(self, scenario: Scenario, max_steps: int) -> None:
        """Make it; the arguments are those of `BattleGame`."""
        super().__init__(scenario=scenario, max_steps=max_steps)
        self._env = BattleGame(scenario, max_steps)
        self.observation_spaces = {name: self._env.observation_spaces[name] for name in self.agents}
        self.action_spaces = {name: self._env.action_spaces[name] for name in self.agents}
        self._enemies = HeuristicTeam(self._env, 1)

    def get_enemy_policy_initial_state(self, key: PRNGKeyArray) -> Memory:
        """What the enemies remember at the start."""
        return self._enemies.initial_state()

    def get_enemy_actions(
        self, key: PRNGKeyArray, policy_state: Memory, enemy_obs: BattleState
    ) -> tuple[dict[str, Int[Array, ""]], Memory]:
        """What the enemies do; `enemy_obs` is the battle."""
        actions, policy_state = self._enemies.act(key, policy_state, enemy_obs)
        return dict(zip(self.enemy_agents, actions, strict=True)), policy_state
