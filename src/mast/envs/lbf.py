"""Level-based foraging: agents of different levels load foods that may need several of them at once.

The rules are those of `lbforaging` 2.0 (Christianos et al., 2020), step for step: `tests/envs/lbf_oracle.py`
plays both. What differs: agents keep their levels for good where the board's name gives them, and the limit
of steps is a truncation, not an end.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.lbf_names import DRAWN_LEVELS, board_of
from mast.envs.names import LBF
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.envs.scene import ALLY, LANDMARK, Scene

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
DEFAULT_EPISODE_LIMIT = 50
APART = 3
"""Foods are at least so many steps from each other: then nobody stands beside two."""
ABSENT = (-1.0, -1.0, 0.0)
"""What an observation has in place of the row, column and level of what is not there."""


class LbfState(NamedTuple):
    """The board. Rows count from the north, columns from the west, both from 0."""

    position: Int[Array, "agents 2"]
    level: Int[Array, " agents"]
    food_position: Int[Array, "foods 2"]
    """In reading order, as observations list them."""
    food_level: Int[Array, " foods"]
    """0 for a food that is eaten, or that found no place."""
    spawned: Int[Array, ""]
    """The sum of the foods' levels at the start."""
    steps: Int[Array, ""]


class LevelBasedForaging:
    """One board of level-based foraging as a Mast environment.

    A food is eaten when the levels of the agents that stand beside it and load add up to its own. Each of
    them is paid by its level, so that an episode in which everything is eaten brings 1 in all. Nothing is
    won: the return says it all.

    An observation is lbforaging's: row, column and level of the foods in sight, of the agent itself, and of
    the others in sight. Places count from the corner of what the agent sees, with full sight that of the
    board; they are not normalised. The mixer's state is row, column and level of every food and every agent,
    each from 0 to 1; an eaten food keeps its place and has level 0.
    """

    action_names = ("none", "north", "south", "west", "east", "load")

    def __init__(
        self,
        name: str,
        *,
        reward_scale: float = LBF.reward_scale,
        episode_limit: int = DEFAULT_EPISODE_LIMIT,
    ) -> None:
        """Make the game of a board.

        Args:
            name: the board's (`mast.envs.lbf_names`): "lbf1", "8x8-3p-2f".
            reward_scale: Factor on the agents' rewards, which add up to at most 1.
            episode_limit: The largest number of steps of an episode, at least 1.

        Raises:
            UserError: there is no such board.
        """
        board = self.board = board_of(name)
        self._size = np.array([board.rows, board.columns])
        levels = board.levels
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
            reward_scale=reward_scale,
            identity=LBF.identity("", episode_limit, reward_scale),
            max_return=reward_scale,
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
        board = self.board
        place_key, agent_key, food_key = jax.random.split(key, 3)
        position, food_position, placed = self._places(place_key)
        level = (
            jnp.array(board.levels, jnp.int32)
            if board.levels
            else jax.random.randint(
                agent_key, (board.agents,), DRAWN_LEVELS[0], DRAWN_LEVELS[1] + 1
            )
        )
        if board.food_level is not None:
            food_level = jnp.full(board.foods, board.food_level)
        else:
            highest = jnp.sum(jnp.sort(level)[:3])
            lowest = highest if board.coop else 1
            food_level = jax.random.randint(food_key, (board.foods,), lowest, highest + 1)
        food_level = jnp.where(placed, food_level, 0).astype(jnp.int32)
        state = LbfState(
            position,
            level,
            food_position,
            food_level,
            jnp.sum(food_level),
            jnp.zeros((), jnp.int32),
        )
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
        state = env_state
        possible = self._available(state)
        possible = jnp.any(possible & (actions[:, None] == jnp.arange(len(self.action_names))), 1)
        action = jnp.where(possible, actions, NONE)
        # Who would arrive where another does, or where another stays, stays too. Nobody looks whether that is
        # then somebody else's new cell: as in lbforaging, two can come to stand on one.
        arrival = state.position + _moves(action)
        same = jnp.all(arrival[:, None] == arrival[None], axis=-1)
        position = jnp.where(jnp.sum(same, axis=1)[:, None] > 1, state.position, arrival)
        # Loaders have not moved, and each stands beside one food at most.
        loaders = _beside(state) & (action == LOAD)[:, None]
        strength = jnp.sum(jnp.where(loaders, state.level[:, None], 0), axis=0)
        eaten = (strength >= state.food_level) & (state.food_level > 0)
        paid = loaders & eaten
        share = state.level * jnp.sum(jnp.where(paid, state.food_level, 0), axis=1)
        whole = jnp.sum(jnp.where(paid, strength * state.spawned, 0), axis=1)
        # Whole numbers until here, and one division per agent: the correctly rounded reward of lbforaging.
        reward = share.astype(jnp.float32) / jnp.maximum(whole, 1).astype(jnp.float32)
        state = state._replace(
            position=position,
            food_level=jnp.where(eaten, 0, state.food_level),
            steps=state.steps + 1,
        )
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

    def _places(
        self, key: PRNGKeyArray
    ) -> tuple[Int[Array, "agents 2"], Int[Array, "foods 2"], Bool[Array, " foods"]]:
        """Cells of the agents and foods, in reading order the latter, and which foods found one.

        One random order of all cells serves everybody: whoever takes the first cell in it that is allowed
        takes each allowed cell with the same chance.
        """
        board = self.board
        row, column = (
            jnp.array(axis.reshape(-1)) for axis in np.indices((board.rows, board.columns))
        )
        order = jax.random.uniform(key, (len(row),))
        _, chosen = jax.lax.top_k(order, board.agents)
        position = jnp.stack([row[chosen], column[chosen]], axis=1)
        inner = (row > 0) & (row < board.rows - 1) & (column > 0) & (column < board.columns - 1)
        allowed = inner & ~jnp.any(jnp.arange(len(row)) == chosen[:, None], axis=0)

        def place(allowed: Array, _: None) -> tuple[Array, Array]:
            cell = jnp.argmax(jnp.where(allowed, order, -1.0))
            distance = jnp.abs(row - row[cell]) + jnp.abs(column - column[cell])
            # Where nothing is allowed any more, an episode has fewer foods, as in lbforaging.
            return allowed & (distance >= APART), jnp.where(jnp.any(allowed), cell, len(row))

        _, cells = jax.lax.scan(place, allowed, None, length=board.foods)
        cells = jnp.sort(cells)
        placed = cells < len(row)
        cells = jnp.where(placed, cells, 0)
        food_position = jnp.stack([cells // board.columns, cells % board.columns], axis=1)
        return position.astype(jnp.int32), food_position.astype(jnp.int32), placed

    def _available(self, state: LbfState) -> Bool[Array, "agents actions"]:
        """Moves within the board to where no food is, and loading beside a food."""
        arrival = state.position[:, None] + _moves(jnp.arange(LOAD))
        inside = jnp.all((arrival >= 0) & (arrival < self._size), axis=-1)
        there = jnp.all(arrival[:, :, None] == state.food_position, axis=-1)
        free = ~jnp.any(there & (state.food_level > 0), axis=-1)
        return jnp.concatenate([inside & free, jnp.any(_beside(state), 1, keepdims=True)], axis=1)

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
            observation=self._observation(state, foods, agents),
            available=self._available(state),
            state=state_view.reshape(-1),
        )

    def _observation(
        self, state: LbfState, foods: Int[Array, "foods 3"], agents: Int[Array, "agents 3"]
    ) -> Float[Array, "agents features"]:
        """Each agent's list of what it sees, lbforaging's oddities included.

        Places count from the corner of the window, which the board's northern and western edges cut. A food
        must be in the window; another agent may also be as far beyond its other end as was cut off.
        """
        sight = self.board.sight
        corner = state.position - jnp.minimum(sight, state.position)
        food_place = state.food_position - corner[:, None]
        far = jnp.abs(state.food_position - state.position[:, None])
        food_seen = jnp.all(far <= sight, axis=-1) & (state.food_level > 0)
        place = state.position - corner[:, None]
        seen = jnp.all((place >= 0) & (place <= 2 * sight), axis=-1)
        itself = jnp.eye(self.board.agents, dtype=bool)
        before = jnp.cumsum(seen & ~itself, axis=1)  # of others, up to and with this one
        food_list = _listed(food_place, foods[:, 2], food_seen, jnp.cumsum(food_seen, axis=1) - 1)
        agent_list = _listed(place, agents[:, 2], seen, jnp.where(itself, 0, before))
        lists = jnp.concatenate([food_list, agent_list], axis=1)
        return lists.reshape(self.board.agents, -1)


def _moves(action: Int[Array, " *any"]) -> Int[Array, "*any 2"]:
    """Rows and columns that an action would go."""
    south = (action == SOUTH).astype(jnp.int32) - (action == NORTH).astype(jnp.int32)
    east = (action == EAST).astype(jnp.int32) - (action == WEST).astype(jnp.int32)
    return jnp.stack([south, east], axis=-1)


def _beside(state: LbfState) -> Bool[Array, "agents foods"]:
    """Who stands beside which food."""
    distance = jnp.sum(jnp.abs(state.position[:, None] - state.food_position), axis=-1)
    return (distance == 1) & (state.food_level > 0)


def _listed(
    place: Int[Array, "agents items 2"],
    level: Int[Array, " items"],
    seen: Bool[Array, "agents items"],
    rank: Int[Array, "agents items"],
) -> Float[Array, "agents items 3"]:
    """What each agent sees, by rank and without gaps; then `ABSENT`."""
    absent = jnp.array(ABSENT, jnp.float32)
    levels = jnp.broadcast_to(level[:, None], (*place.shape[:2], 1))
    items = jnp.concatenate([place, levels], axis=-1).astype(jnp.float32) - absent
    here = seen[:, None] & (rank[:, None] == jnp.arange(len(level))[:, None])
    return jnp.sum(jnp.where(here[..., None], items[:, None], 0.0), axis=2) + absent
