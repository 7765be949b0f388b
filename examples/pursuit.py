"""An environment of one's own: two hunters catch a prey on a small grid, only together.

    mast train examples.pursuit:Pursuit --steps 20000 --epsilon-steps 10000

The prey strays at random; it is caught, worth 10, when both hunters stand beside it at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep

MOVES = jnp.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])  # stay and four ways
HUNTERS = 2


class Grid(NamedTuple):
    """Everything that the game remembers."""

    places: Int[Array, "3 2"]  # the hunters' and, last, the prey's
    steps: Int[Array, ""]


class Pursuit:
    """A game for `mast`: a spec, a reset and a step, all of them arrays in and out."""

    # For `mast watch`, `inspect` and `export`; without them actions and features have numbers.
    action_names = ("stay", "up", "right", "down", "left")
    feature_names = ("x", "y", "other_x", "other_y", "prey_x", "prey_y")

    def __init__(self, episode_limit: int = 30, reward_scale: float = 10.0, size: int = 6) -> None:
        self.size = size
        self.spec = EnvironmentSpec(
            id="examples.pursuit:Pursuit",
            agents=HUNTERS,
            actions=len(MOVES),
            observation=6,
            state=6,
            episode_limit=episode_limit,
            has_win=True,
            is_jax=True,
            agent_names=("hunter_0", "hunter_1"),
            unit_types=("hunter", "hunter"),
            reward_scale=reward_scale,
            identity=f"Pursuit {size}x{size}, limit {episode_limit}, reward x{reward_scale:g}",
            max_return=reward_scale,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[Grid, TimeStep]:
        """Everybody somewhere."""
        grid = Grid(jax.random.randint(key, (3, 2), 0, self.size), jnp.zeros((), jnp.int32))
        return grid, self.perceive(grid)

    def step(
        self, key: PRNGKeyArray, grid: Grid, actions: Int[Array, " agents"]
    ) -> tuple[Grid, TimeStep, Outcome]:
        """The hunters move, then, if it is not caught, the prey."""
        hunters = jnp.clip(grid.places[:HUNTERS] + MOVES[actions], 0, self.size - 1)
        caught = jnp.all(jnp.abs(hunters - grid.places[2]).sum(1) <= 1)
        stray = jnp.where(caught, 0, MOVES[jax.random.randint(key, (), 0, len(MOVES))])
        prey = jnp.clip(grid.places[2] + stray, 0, self.size - 1)
        grid = Grid(jnp.vstack([hunters, prey]), grid.steps + 1)
        truncated = ~caught & (grid.steps >= self.spec.episode_limit)
        reward = caught * self.spec.reward_scale
        return grid, self.perceive(grid), Outcome(reward, caught, truncated, won=caught)

    def perceive(self, grid: Grid) -> TimeStep:
        """Each hunter sees itself, its mate and the prey; walking off the grid is not offered."""
        scaled: Float[Array, "3 2"] = grid.places / (self.size - 1)
        mate = scaled[1::-1] - scaled[:HUNTERS]
        observation = jnp.hstack([scaled[:HUNTERS], mate, scaled[2] - scaled[:HUNTERS]])
        ahead = grid.places[:HUNTERS, None] + MOVES
        available: Bool[Array, "2 5"] = jnp.all((ahead >= 0) & (ahead < self.size), axis=-1)
        return TimeStep(observation, available, scaled.reshape(-1))
