"""Jaxmarl's heuristic for teams with units that SMAX lacks: a medivac heals, nobody chases in vain.

It plays from the battle's state and decides for a team at once: of 64 zerglings each would need to be
given its whole observation to find two colossi in it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.jaxmarl_silent import BattleState

CLOSE_ENOUGH = 0.5
"""Of its range: a medivac with nobody to heal comes no nearer to whom it follows."""
DIRECTIONS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], np.float32)
"""Of the actions that move."""


class Memory(NamedTuple):
    """What a team's units remember from step to step."""

    across: Float[Array, "units 2"]
    """Where each goes when it sees nobody: its first place, turned by half a circle about the centre."""
    last_target: Int[Array, " units"]
    """The number of the enemy that it shot at last, -1 for none."""
    started: Bool[Array, ""]


class HeuristicTeam:
    """A whole team played by the heuristic.

    Units with weapons do as jaxmarl's do: shoot at the nearest enemy until it is dead or gone, else go for
    one that they see, else across the map. Those that fight hand to hand leave out what flies. A medivac
    heals the nearest hurt unit of its team; with none in range it goes to the nearest hurt one that it sees,
    else it follows the nearest unit that is no medivac, and left alone it goes where the others would.
    """

    def __init__(self, game: Any, side: int) -> None:
        """Make it for a battle.

        Args:
            game: jaxmarl's `SMAX`, or a `BattleGame`; its unit types are not drawn anew.
            side: 0 plays the allies, 1 the enemies.
        """
        types = np.asarray(game.scenario)
        allies = np.arange(game.num_allies)
        enemies = np.arange(game.num_allies, game.num_agents)
        self._own, self._other = (allies, enemies) if side == 0 else (enemies, allies)
        # Actions of the enemies count both sides backwards.
        self._order = slice(None, None, 1 if side == 0 else -1)
        self._game, self.size = game, len(self._own)
        self._sight, self._reach = (
            np.asarray(table)[types[self._own]]
            for table in (game.unit_type_sight_ranges, game.unit_type_attack_ranges)
        )
        self._full = np.asarray(game.unit_type_health)[types]
        no = np.zeros(len(types), bool)
        heals, flies, melee = (getattr(game, name, no) for name in ("heals", "flies", "melee"))
        self._healers, self._patients = np.flatnonzero(heals[self._own]), ~heals[self._own]
        out_of_reach = melee[self._own][:, None] & flies[self._other[self._order]][None, :]
        self._chased = ~out_of_reach

    def initial_state(self) -> Memory:
        """What it remembers at the start."""
        return Memory(
            jnp.zeros((self.size, 2)), jnp.full(self.size, -1, jnp.int32), jnp.array(False)
        )

    def act(
        self, key: PRNGKeyArray, memory: Memory, battle: BattleState
    ) -> tuple[Int[Array, " units"], Memory]:
        """What every unit does.

        Args:
            key: random key.
            memory: of its last step.
            battle: what there is to be seen.

        Returns:
            their actions, and what it remembers now.
        """
        game, own, other = self._game, self._own, self._other[self._order]
        places = battle.unit_positions[own]
        centre = jnp.array([game.map_width / 2, game.map_height / 2], jnp.float32)
        across = jnp.where(memory.started, memory.across, 2 * centre - places)
        offset = battle.unit_positions[other][None, :] - places[:, None]
        apart = jnp.linalg.norm(offset, axis=-1)
        alive = battle.unit_alive[own][:, None] & battle.unit_alive[other][None, :]
        seen = alive & (apart < self._sight[:, None]) & self._chased
        in_range = seen & (apart < self._reach[:, None])
        nearest = jnp.argmin(jnp.where(in_range, apart, jnp.inf), axis=1).astype(jnp.int32)
        last = memory.last_target
        holds = jnp.take_along_axis(in_range, jnp.maximum(last, 0)[:, None], axis=1)[:, 0]
        target = jnp.where((last >= 0) & holds, last, nearest)
        shoots = in_range.any(axis=1)
        # Anyone of those in sight, each as likely.
        goal = jnp.argmax(jnp.where(seen, jax.random.uniform(key, seen.shape), -1.0), axis=1)
        ahead = jnp.where(
            seen.any(axis=1, keepdims=True),
            jnp.take_along_axis(offset, goal[:, None, None], axis=1)[:, 0],
            across - places,
        )
        walk = _direction(ahead)
        actions = jnp.where(shoots, game.num_movement_actions + target, walk)
        if len(self._healers):
            rows = self._healers
            healing = self._medivacs(battle, walk[rows])
            actions = actions.at[rows].set(healing)
        remembered = jnp.where(shoots, target, -1)
        return actions, Memory(across, remembered, jnp.array(True))

    def _medivacs(
        self, battle: BattleState, walk: Int[Array, " healers"]
    ) -> Int[Array, " healers"]:
        """What the medivacs do.

        Args:
            battle: what there is to be seen.
            walk: where each would go if it were alone.
        """
        game, rows, team = self._game, self._healers, self._own[self._order]
        patients = self._patients[self._order]
        offset = (
            battle.unit_positions[team][None, :] - battle.unit_positions[self._own[rows]][:, None]
        )
        apart = jnp.linalg.norm(offset, axis=-1)
        seen = patients & battle.unit_alive[team] & (apart < self._sight[rows, None])
        hurt = seen & (battle.unit_health[team] < self._full[team])
        in_range = hurt & (apart < self._reach[rows, None])

        def nearest(which: Bool[Array, "healers team"]) -> Int[Array, " healers"]:
            return jnp.argmin(jnp.where(which, apart, jnp.inf), axis=1).astype(jnp.int32)

        any_hurt = hurt.any(axis=1)
        goal = nearest(jnp.where(any_hurt[:, None], hurt, seen))[:, None]
        follow = _direction(jnp.take_along_axis(offset, goal[:, :, None], axis=1)[:, 0])
        near = jnp.take_along_axis(apart, goal, axis=1)[:, 0] < CLOSE_ENOUGH * self._reach[rows]
        follow = jnp.where(near & ~any_hurt, game.num_movement_actions - 1, follow)
        move = jnp.where(seen.any(axis=1), follow, walk)
        heal = game.num_movement_actions + nearest(in_range)
        return jnp.where(in_range.any(axis=1), heal, move)


def _direction(vector: Float[Array, "units 2"]) -> Int[Array, " units"]:
    """The move that goes most that way."""
    return jnp.argmax(vector @ DIRECTIONS.T, axis=1).astype(jnp.int32)
