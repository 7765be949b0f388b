"""The rules of level-based foraging, those of `lbforaging` 2.0 (Christianos et al., 2020), step for step.

`tests/envs/lbf_oracle.py` plays both. What differs: agents keep their levels for good where the board's name
gives them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.lbf_names import DRAWN_LEVELS, Board

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
ACTIONS = ("none", "north", "south", "west", "east", "load")
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


def spawned(board: Board, key: PRNGKeyArray) -> LbfState:
    """A board at the start: agents on free cells, then foods apart from each other and from the edge.

    Args:
        board: its sizes and levels.
        key: Random key of places, and of levels where they are drawn.
    """
    place_key, agent_key, food_key = jax.random.split(key, 3)
    position, food_position, placed = _places(board, place_key)
    level = (
        jnp.array(board.levels, jnp.int32)
        if board.levels
        else jax.random.randint(agent_key, (board.agents,), DRAWN_LEVELS[0], DRAWN_LEVELS[1] + 1)
    )
    if board.food_level is not None:
        food_level = jnp.full(board.foods, board.food_level)
    else:
        highest = jnp.sum(jnp.sort(level)[:3])
        lowest = highest if board.coop else 1
        food_level = jax.random.randint(food_key, (board.foods,), lowest, highest + 1)
    food_level = jnp.where(placed, food_level, 0).astype(jnp.int32)
    return LbfState(
        position,
        level,
        food_position,
        food_level,
        jnp.sum(food_level),
        jnp.zeros((), jnp.int32),
    )


def advanced(
    board: Board, state: LbfState, actions: Int[Array, " agents"]
) -> tuple[LbfState, Float[Array, " agents"]]:
    """A board after all agents have acted at once, and what each is paid.

    Args:
        board: its sizes.
        state: before.
        actions: of each agent; one that is not available does nothing.
    """
    possible = available(board, state)
    possible = jnp.any(possible & (actions[:, None] == jnp.arange(len(ACTIONS))), 1)
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
    return state, reward


def available(board: Board, state: LbfState) -> Bool[Array, "agents actions"]:
    """Moves within the board to where no food is, and loading beside a food."""
    size = np.array([board.rows, board.columns])
    arrival = state.position[:, None] + _moves(jnp.arange(LOAD))
    inside = jnp.all((arrival >= 0) & (arrival < size), axis=-1)
    there = jnp.all(arrival[:, :, None] == state.food_position, axis=-1)
    free = ~jnp.any(there & (state.food_level > 0), axis=-1)
    return jnp.concatenate([inside & free, jnp.any(_beside(state), 1, keepdims=True)], axis=1)


def observation(board: Board, state: LbfState) -> Float[Array, "agents features"]:
    """Each agent's list of what it sees, lbforaging's oddities included.

    Places count from the corner of the window, which the board's northern and western edges cut. A food
    must be in the window; another agent may also be as far beyond its other end as was cut off.
    """
    sight = board.sight
    corner = state.position - jnp.minimum(sight, state.position)
    food_place = state.food_position - corner[:, None]
    far = jnp.abs(state.food_position - state.position[:, None])
    food_seen = jnp.all(far <= sight, axis=-1) & (state.food_level > 0)
    place = state.position - corner[:, None]
    seen = jnp.all((place >= 0) & (place <= 2 * sight), axis=-1)
    itself = jnp.eye(board.agents, dtype=bool)
    before = jnp.cumsum(seen & ~itself, axis=1)  # of others, up to and with this one
    food_list = _listed(food_place, state.food_level, food_seen, jnp.cumsum(food_seen, axis=1) - 1)
    agent_list = _listed(place, state.level, seen, jnp.where(itself, 0, before))
    lists = jnp.concatenate([food_list, agent_list], axis=1)
    return lists.reshape(board.agents, -1)


def _places(
    board: Board, key: PRNGKeyArray
) -> tuple[Int[Array, "agents 2"], Int[Array, "foods 2"], Bool[Array, " foods"]]:
    """Cells of the agents and foods, in reading order the latter, and which foods found one.

    One random order of all cells serves everybody: whoever takes the first cell in it that is allowed
    takes each allowed cell with the same chance.
    """
    row, column = (jnp.array(axis.reshape(-1)) for axis in np.indices((board.rows, board.columns)))
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
