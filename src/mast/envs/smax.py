"""SMAX, the StarCraft-like battles of jaxmarl, against its heuristic enemy. It is not SMAC.

Jaxmarl's agents are keys of dictionaries, its world state is raw and its end of an episode has one
flag. This adapter gives arrays, a normalised state, and terminated, truncated and won told apart.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.battle.game import BattleGame, HeuristicEnemyGame
from mast.envs.battle.maps import SCENARIOS, has_new_types
from mast.envs.battle.native import NativeBattle
from mast.envs.jaxmarl_silent import BattleState, HeuristicEnemySMAX, version
from mast.envs.names import SMAX
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.envs.scene import ALLY, ENEMY, Scene

DEFAULT_EPISODE_LIMIT = 101
"""Jaxmarl's max_steps is 100, compared before the step is counted: the cut comes at step 101."""
NOTHING = "nothing"
"""The name of an action that is never available to an agent."""
UNSCALED_MAX_RETURN = 2.0
"""All enemy health, as a share, and 1 for the win; more where it comes back (`BattleGame`)."""


class SmaxState(NamedTuple):
    """What the adapter carries from step to step."""

    battle: BattleState
    """Jaxmarl's own state: positions, health, cooldowns, … of the allies and then the enemies."""
    enemy_policy: Any
    """The heuristic enemy's memory, a pytree with a row per enemy."""
    enemy_observation: Float[Array, "enemies enemy_features"]
    """What the enemies see now; kept because each step computes it along with the allies' view. Without
    features where they look at the battle itself (`HeuristicEnemyGame`)."""
    last_actions: Int[Array, " agents"]
    """The allies' last joint action; -1 before the first."""


class Smax:
    """One SMAX scenario as a Mast environment."""

    def __init__(
        self,
        scenario: str,
        *,
        reward_scale: float = SMAX.reward_scale,
        state_last_action: bool = False,
        episode_limit: int = DEFAULT_EPISODE_LIMIT,
        native: bool = False,
    ) -> None:
        """Make the battle of a scenario.

        Args:
            scenario: Name in `mast.envs.battle.maps.SCENARIOS`, as "3m".
            reward_scale: Factor on jaxmarl's reward, whose return is at most 2.
            state_last_action: Append the allies' last joint action, one-hot, to the state, as SMAC
                does.
            episode_limit: The largest number of steps of an episode, at least 1.
            native: Steps by native code (`mast.envs.battle.native`), which must be possible: see `obstacle`
                there.
        """
        units = SCENARIOS[scenario]
        game = HeuristicEnemyGame if has_new_types(units) else HeuristicEnemySMAX
        # max_steps is compared before the step is counted, hence the -1.
        self._game = game(scenario=units, max_steps=episode_limit - 1)
        self._battle = self._game._env
        self._heals = getattr(self._battle, "heals", np.zeros(units.unit_types.shape, bool))
        self._native = NativeBattle(self._battle, reward_scale) if native else None
        # Native enemies and our own look at the battle itself.
        self._enemies_look = native or isinstance(self._game, HeuristicEnemyGame)
        self._state_last_action = state_last_action
        agents: int = self._battle.num_allies
        actions: int = self._battle.num_ally_actions
        extra = agents * actions if state_last_action else 0
        names = self._battle.unit_type_names
        self._spec = EnvironmentSpec(
            id=f"smax/{scenario}",
            agents=agents,
            actions=actions,
            observation=self._battle.obs_size,
            state=self._battle.state_size + extra,
            episode_limit=episode_limit,
            has_win=True,
            is_jax=True,
            agent_names=tuple(self._game.agents),
            type_features=tuple(
                feature
                for feature, known in enumerate(self.feature_names)
                if units.smacv2_unit_type_generation and known.startswith("self.is_")
            ),
            unit_types=(
                ("random",) * agents
                if units.smacv2_unit_type_generation
                else tuple(names[int(kind)] for kind in units.unit_types[:agents])
            ),
            reward_scale=reward_scale,
            identity=SMAX.identity(version, episode_limit, reward_scale, state_last_action),
            max_return=reward_scale * self._largest_return(episode_limit),
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts of the scenario."""
        return self._spec

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature of an observation is, in order; for exports (`mast.export`).

        An agent sees the other units, its own side first, each side in order and itself left out: so
        other_ally_0 is ally_1 to ally_0, and ally_0 to all others. Positions of others are relative to its
        own, in its sight ranges; its own in map sizes; health and cooldown are shares of the type's. A
        movement is the last; last_targeted is the last action's number over the largest one. A unit that is
        dead or out of sight is all zeros. On maps with medivacs their energy, a share of the largest, stands
        where others have their cooldown.
        """
        battle = self._battle
        allies = [f"other_ally_{unit}" for unit in range(battle.num_allies - 1)]
        enemies = [f"enemy_{unit}" for unit in range(battle.num_enemies)]
        kinds = {
            f"unit_type_bit{plural}_{index}": f"is_{name}"
            for plural in ("", "s")
            for index, name in enumerate(battle.unit_type_names)
        }
        if self._heals.any():
            kinds["weapon_cooldown"] = "weapon_cooldown_or_energy"
        others = [kinds.get(feature, feature) for feature in battle.unit_features]
        own = [kinds.get(feature, feature) for feature in battle.own_features]
        return (
            *(f"{unit}.{feature}" for unit in [*allies, *enemies] for feature in others),
            *(f"self.{feature}" for feature in own),
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action does, in order; on maps with medivacs both that it may do."""
        names: list[dict[str, None]] = [{} for _ in range(self._spec.actions)]
        for own in self.agent_action_names:
            for known, name in zip(names, own, strict=True):
                known[name] = None
        return tuple(
            "_or_".join(name for name in known if name != NOTHING) or NOTHING for known in names
        )

    @property
    def agent_action_names(self) -> tuple[tuple[str, ...], ...]:
        """What each action does, in order, of every agent: a medivac heals where others attack."""
        allies, enemies = self._spec.agents, self._battle.num_enemies
        moves = ("move_+y", "move_+x", "move_-y", "move_-x", "stop")

        def of(agent: int) -> tuple[str, ...]:
            heals = bool(self._heals[agent])
            word, count = ("heal_ally", allies) if heals else ("attack_enemy", enemies)
            aims = [f"{word}_{unit}" for unit in range(count)]
            nothing = [NOTHING] * (self._spec.actions - len(moves) - count)
            return (*moves, *aims, *nothing)

        return tuple(of(agent) for agent in range(allies))

    def reset(self, key: PRNGKeyArray) -> tuple[SmaxState, TimeStep]:
        """Start a battle.

        Args:
            key: Random key of positions and, on smacv2 maps, unit types.

        Returns:
            The state to carry and the first perception.
        """
        _, game = self._game.reset(key)
        # Strong types, so that reset and step return exactly the same structure (the policy starts
        # with weak ones).
        battle, enemy_policy = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, leaf.dtype), (game.state, game.enemy_policy_state)
        )
        allies, enemies = self._views(self._battle.get_obs(battle))
        last_actions = jnp.full(self._spec.agents, -1, jnp.int32)
        return (
            SmaxState(battle, enemy_policy, enemies, last_actions),
            self._time_step(battle, allies, last_actions),
        )

    def step(
        self, key: PRNGKeyArray, env_state: SmaxState, actions: Int[Array, " agents"]
    ) -> tuple[SmaxState, TimeStep, Outcome]:
        """Half a second of battle: eight ticks of jaxmarl's world, both sides acting at once.

        The same computation as jaxmarl's `HeuristicEnemySMAX.step_env` (a test holds them
        together), which would compute all units' observations once more for the enemy to act upon.

        Args:
            key: Random key of the enemy's choices and of the weapons' cooldowns.
            env_state: What the last `reset` or `step` returned.
            actions: Per ally: 0–3 move, 4 stop, 5 + j shoot at enemy j, or of a medivac heal ally j.

        Returns:
            The state to carry, the next perception, and the outcome.
        """
        if self._native is not None:
            moment = self._native.step(key, env_state.battle, env_state.enemy_policy, actions)
            last_actions = actions.astype(jnp.int32)
            state = self._with_last_actions(moment.state, last_actions)
            return (
                env_state._replace(
                    battle=moment.battle,
                    enemy_policy=moment.enemy_policy,
                    last_actions=last_actions,
                ),
                TimeStep(moment.observation, moment.available, state),
                self.outcome(moment.battle, moment.reward),
            )
        battle_key, enemy_key = jax.random.split(key)
        enemy_joint, enemy_policy = self._game.get_enemy_actions(
            enemy_key,
            env_state.enemy_policy,
            env_state.battle if self._enemies_look else env_state.enemy_observation,
        )
        enemy_actions = jnp.stack([enemy_joint[name] for name in self._game.enemy_agents])
        all_actions = jnp.concatenate([actions.astype(jnp.int32), enemy_actions.astype(jnp.int32)])
        observations, battle, rewards, _, _ = self._battle.step_env_no_decode(
            battle_key, env_state.battle, self._battle._decode_discrete_actions(all_actions)
        )
        allies, enemies = self._views(observations)
        last_actions = actions.astype(jnp.int32)
        # Every ally gets the team's reward, the dead ones too.
        reward = rewards[self._game.agents[0]] * self._spec.reward_scale
        return (
            SmaxState(battle, enemy_policy, enemies, last_actions),
            self._time_step(battle, allies, last_actions),
            self.outcome(battle, reward),
        )

    def outcome(self, battle: BattleState, reward: Float[Array, ""]) -> Outcome:
        """Tell terminated, truncated and won apart by who is alive.

        Jaxmarl has one flag, and its own test of a win is a threshold on the reward. Both sides may
        die in the same tick: a draw, which ends the battle and is no win (StarCraft II has no
        draws, its units act one after the other).

        Args:
            battle: The battle after the step, `battle.done` set.
            reward: The team's scaled reward of the step.
        """
        any_ally = jnp.any(battle.unit_alive[: self._spec.agents])
        any_enemy = jnp.any(battle.unit_alive[self._spec.agents :])
        return Outcome(
            reward=reward,
            terminated=~any_ally | ~any_enemy,
            truncated=battle.done & any_ally & any_enemy,
            won=any_ally & ~any_enemy,
        )

    def normalised_state(self, battle: BattleState) -> Float[Array, " features"]:
        """Jaxmarl's world state brought to [0, 1], a ruined unit being zeros.

        Per unit, allies first: share of health, x and y by the map's size, cooldown by its type's
        (clipped, since it runs on below zero while a unit holds its fire and starts up to two ticks
        above; of a medivac the share of its energy), type one-hot. Then the team and the type number
        of every unit, the latter divided by the number of types.

        Args:
            battle: Jaxmarl's state of the battle.
        """
        game, types = self._battle, battle.unit_types
        features = jnp.concatenate(
            [
                (battle.unit_health / game.unit_type_health[types])[:, None],
                battle.unit_positions / jnp.array([game.map_width, game.map_height]),
                jnp.clip(
                    battle.unit_weapon_cooldowns / game.unit_type_weapon_cooldowns[types], 0.0, 1.0
                )[:, None],
                jax.nn.one_hot(types, game.unit_type_bits),
            ],
            axis=1,
        )
        features = jnp.where(battle.unit_alive[:, None], features, 0.0)
        return jnp.concatenate(
            [
                features.reshape(-1),
                battle.unit_teams.astype(jnp.float32),
                types.astype(jnp.float32) / game.unit_type_bits,
            ]
        )

    def scene(self, state: Float[Any, "moments state"], action: Int[Any, "steps agents"]) -> Scene:
        """The battle as the normalised state has it: whoever is dead stays where it fell.

        Args:
            state: at the start and after every step.
            action: of every step.
        """
        game, agents = self._battle, self._spec.agents
        units, bits = agents + game.num_enemies, game.unit_type_bits
        features = np.asarray(state, np.float32)[:, : units * (4 + bits)]
        features = features.reshape(len(features), units, 4 + bits)
        health = features[..., 0]
        # Of the dead the state has zeros; the last moment with health, or the start, has their place.
        moments = np.arange(len(features))[:, None]
        seen = np.maximum.accumulate(np.where(health > 0, moments, 0), axis=0)
        position = np.take_along_axis(features[..., 1:3], seen[..., None], axis=0)
        kinds = features[0, :, 4:].argmax(-1)
        action = np.asarray(action, int)
        if isinstance(game, BattleGame):
            target = game.targets[np.arange(agents), action]
        else:
            shot = action - game.num_movement_actions
            target = np.where(shot >= 0, shot + agents, -1)
        return Scene(
            x_range=(0.0, float(game.map_width)),
            y_range=(0.0, float(game.map_height)),
            names=(*self._game.agents, *self._game.enemy_agents),
            kinds=tuple(game.unit_type_names[kind] for kind in kinds),
            side=(ALLY,) * agents + (ENEMY,) * game.num_enemies,
            radius=tuple(float(game.unit_type_radiuses[kind]) for kind in kinds),
            position=position * np.array([game.map_width, game.map_height], np.float32),
            health=health,
            target=target,
            flies=tuple(map(bool, game.flies)) if isinstance(game, BattleGame) else None,
            beam=tuple(map(float, game.beams)) if isinstance(game, BattleGame) else None,
        )

    def _largest_return(self, episode_limit: int) -> float:
        """Unscaled."""
        if isinstance(self._battle, BattleGame):
            return self._battle.largest_return(episode_limit)
        return UNSCALED_MAX_RETURN

    def _views(
        self, observations: dict[str, Array]
    ) -> tuple[Float[Array, "agents features"], Float[Array, "enemies enemy_features"]]:
        """Jaxmarl's dictionary of observations as one array per side."""
        allies = jnp.stack([observations[name] for name in self._game.agents])
        if self._enemies_look:
            return allies, jnp.zeros((self._battle.num_enemies, 0))
        return allies, jnp.stack([observations[name] for name in self._game.enemy_agents])

    def _time_step(
        self,
        battle: BattleState,
        observation: Float[Array, "agents features"],
        last_actions: Int[Array, " agents"],
    ) -> TimeStep:
        """What the allies perceive in this state of the battle."""
        available = self._battle.get_avail_actions(battle)
        state = self._with_last_actions(self.normalised_state(battle), last_actions)
        return TimeStep(
            observation=observation,
            available=jnp.stack([available[name] for name in self._game.agents]).astype(bool),
            state=state,
        )

    def _with_last_actions(
        self, state: Float[Array, " features"], last_actions: Int[Array, " agents"]
    ) -> Float[Array, " all_features"]:
        if not self._state_last_action:
            return state
        # The one-hot of -1, at the start of an episode, is all zeros.
        one_hot = jax.nn.one_hot(last_actions, self._spec.actions)
        return jnp.concatenate([state, one_hot.reshape(-1)])
