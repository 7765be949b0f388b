"""Level-based foraging: agents of different levels load foods that may need several of them at once.

The rules are lbforaging's (`mast.envs.lbf_rules`), but the limit of steps is a truncation, not an end.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.lbf_names import board_of
from mast.envs.lbf_rules import (
    ACTIONS,
    LOAD,
    LbfState,
    advanced,
    available,
    observation,
    spawned,
)
from mast.envs.names import LBF
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.envs.scene import ALLY, LANDMARK, Scene

DEFAULT_EPISODE_LIMIT = 50


class LevelBasedForaging:
    """One board of level-based foraging as a Mast environment.

    A food is eaten when the levels of the agents that stand beside it and load add up to its own. Each of
    them is paid by its level, so that an episode in which everything is eaten brings `reward_scale` in all.
    Nothing is won: the return says it all.

    An observation is lbforaging's: row, column and level of the foods in sight, of the agent itself, and of
    the others in sight. Places count from the corner of what the agent sees, with full sight that of the
    board; they are not normalised. The mixer's state is row, column and level of every food and every agent,
    each from 0 to 1; an eaten food keeps its place and has level 0.
    """

    action_names = ACTIONS

    def __init__(
        self,
        name: str,
        *,
        reward_scale: float | None = None,
        episode_limit: int = DEFAULT_EPISODE_LIMIT,
    ) -> None:
        """Make the game of a board.

        Args:
            name: the board's (`mast.envs.lbf_names`): "lbf1", "8x8-3p-2f".
            reward_scale: Factor on the agents' rewards, which add up to at most 1; None = the levels of all
                foods together, as large as they can be, so that a food pays about its level.
            episode_limit: The largest number of steps of an episode, at least 1.

        Raises:
            UserError: there is no such board.
        """
        board = self.board = board_of(name)
        levels = board.levels
        scale = board.reward_scale if reward_scale is None else reward_scale
        self._spec = EnvironmentSpec(
            id=f"lbf/{name}",
            agents=board.agents,
            actions=len(self.action_names),
            observation=3 * (board.foods + board.agents),
            state=3 * (board.foods + board.agents),
            episode_limit=episode_limit,
            has_win=False,
            is_jax=True,
            agent_names=tuple(f"agent_{index}" for index in range(board.agents)),
            unit_types=tuple(f"level {x}" for x in levels) if levels else ("",) * board.agents,
            reward_scale=scale,
            identity=LBF.identity("", episode_limit, scale),
            max_return=scale,
            rewards="agent",
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts of the board."""
        return self._spec

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature of an observation is, in order; for exports.

        food_0 is the first food in sight in reading order, other_0 the first agent in sight but itself: as
        foods are eaten, the later ones move up.
        """
        foods = [f"food_{index}" for index in range(self.board.foods)]
        others = [f"other_{index}" for index in range(self.board.agents - 1)]
        parts = ("row", "column", "level")
        return tuple(f"{name}.{part}" for name in [*foods, "self", *others] for part in parts)

    def reset(self, key: PRNGKeyArray) -> tuple[LbfState, TimeStep]:
        """Start an episode: agents on free cells, then foods apart from each other and from the edge.

        Args:
            key: Random key of places, and of levels where they are drawn.

        Returns:
            The state to carry and the first perception.
        """
        state = spawned(self.board, key)
        return state, self._time_step(state)

    def step(
        self, key: PRNGKeyArray, env_state: LbfState, actions: Int[Array, " agents"]
    ) -> tuple[LbfState, TimeStep, Outcome]:
        """Let all agents move or load at once.

        Args:
            key: Random key, of no consequence in this game without chance.
            env_state: What the last `reset` or `step` returned.
            actions: Per agent: 0 none, 1 north, 2 south, 3 west, 4 east, 5 load. One that is not
                available does nothing.

        Returns:
            The state to carry, the next perception, and the outcome.
        """
        state, reward = advanced(self.board, env_state, actions)
        over = ~jnp.any(state.food_level > 0)
        outcome = Outcome(
            reward=reward * self._spec.reward_scale,
            terminated=over,
            truncated=(state.steps >= self._spec.episode_limit) & ~over,
            won=jnp.zeros((), bool),
        )
        return state, self._time_step(state), outcome

    def scene(self, state: Float[Any, "moments state"], action: Int[Any, "steps agents"]) -> Scene:
        """The board; each circle has its level in it, and a food that is eaten is gone.

        Args:
            state: at the start and after every step.
            action: of every step.
        """
        board = self.board
        units = np.asarray(state, np.float64).reshape(len(state), -1, 3) * self._scale
        units = np.roll(units, board.agents, axis=1)  # agents first
        place, level = np.rint(units[..., :2]).astype(int), np.rint(units[..., 2]).astype(int)
        food_place, food_level = place[:-1, board.agents :], level[:-1, board.agents :]
        distance = np.abs(place[:-1, : board.agents, None] - food_place[:, None]).sum(-1)
        beside = (distance == 1) & (food_level > 0)[:, None]
        loads = (np.asarray(action) == LOAD) & beside.any(-1)
        agents, foods = range(board.agents), range(board.foods)
        labels = tuple(str(each) for each in level[0])
        return Scene(
            x_range=(-0.5, board.columns - 0.5),
            y_range=(-0.5, board.rows - 0.5),
            names=(*(f"agent_{each}" for each in agents), *(f"food_{each}" for each in foods)),
            kinds=tuple(f"level {label}" for label in labels),
            side=(ALLY,) * board.agents + (LANDMARK,) * board.foods,
            radius=(0.3,) * board.agents + (0.4,) * board.foods,
            position=np.stack([place[..., 1], board.rows - 1 - place[..., 0]], -1).astype(float),
            health=None,
            target=np.where(loads, board.agents + beside.argmax(-1), -1),
            labels=labels,
            present=level > 0,
            cells=(board.columns, board.rows),
        )

    @property
    def _scale(self) -> Float[np.ndarray, "units 3"]:
        """The largest row, column and level of every food and agent."""
        board = self.board
        corner = [board.rows - 1, board.columns - 1]
        foods = [[*corner, board.highest_food]] * board.foods
        return np.array(foods + [[*corner, board.highest_agent]] * board.agents, np.float32)

    def _time_step(self, state: LbfState) -> TimeStep:
        """What the agents perceive of a board."""
        foods = jnp.concatenate([state.food_position, state.food_level[:, None]], axis=1)
        agents = jnp.concatenate([state.position, state.level[:, None]], axis=1)
        state_view = jnp.concatenate([foods, agents]).astype(jnp.float32) / self._scale
        return TimeStep(
            observation=observation(self.board, state),
            available=available(self.board, state),
            state=state_view.reshape(-1),
        )
