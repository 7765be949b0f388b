"""Jumanji: its environments of a team, in which every agent chooses one action of its own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jumanji
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.adapters.common import identity, limit_of
from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep
from mast.errors import UserError


def own_and_others(
    grid: Int[Array, "rows columns"], agents: int
) -> Float[Array, "agents rows columns"]:
    """Connector's grid as each agent sees it: its own path, position and target told from the others'.

    Args:
        grid: 0 where empty; of agent k 3k + 1 its path, 3k + 2 its position, 3k + 3 its target.
        agents: how many there are.

    Returns:
        1, 2, 3 for an agent's own, 4, 5, 6 for the others', over 6.
    """
    owner, what = (grid - 1) // 3, (grid - 1) % 3 + 1
    is_own = owner == jnp.arange(agents)[:, None, None]
    return jnp.where(grid > 0, jnp.where(is_own, what, what + 3), 0) / 6


class Observes(NamedTuple):
    """Which fields of an observation hold what."""

    own: tuple[str, ...]
    """A row, or a picture, for each agent."""
    shared: tuple[str, ...] = ()
    """Seen by all."""
    view: Callable[[Array, int], Array] | None = None
    """What makes the agents' own views of the fields; None where these are such."""


TEAMS = {
    "RobotWarehouse": Observes(("agents_view",)),
    "LevelBasedForaging": Observes(("agents_view",)),
    "Connector": Observes(("grid",), view=own_and_others),
    "Cleaner": Observes(("agents_locations",), ("grid",)),
}
"""By the name of the environment, without its version."""


class Carried(NamedTuple):
    """Jumanji's state, and the steps since `reset`."""

    state: Any
    steps: Int[Array, ""]


class Jumanji:
    """One of jumanji's environments of a team.

    Each agent's observation is its own fields and those that all see, without the number of the step;
    numbers with a largest value in the environment's specification are divided by it. The state is all
    observations in a row, what all see once. An episode that is over at its time limit is truncated, which
    jumanji itself calls an end in some of these.
    """

    def __init__(
        self,
        name: str,
        *,
        reward_scale: float = 1.0,
        episode_limit: int | None = None,
        **arguments: Any,
    ) -> None:
        """Make one.

        Args:
            name: as jumanji.make takes it, such as RobotWarehouse-v0.
            reward_scale: factor on the reward.
            episode_limit: steps after which the episode is cut; None takes the environment's time_limit.
            arguments: of the environment.

        Raises:
            UserError: it is none of a team that can be learnt here.
        """
        id = f"jumanji/{name}"
        observes = TEAMS.get(name.partition("-")[0])
        if observes is None:
            raise UserError(
                f"{id}: of jumanji's environments these can be learnt: {', '.join(TEAMS)}"
            )
        self._env: Any = jumanji.make(name, **arguments)
        self._observes = observes
        self._scales = {
            field: _scale(getattr(self._env.observation_spec, field))
            for field in (*observes.own, *observes.shared)
        }
        own_limit = limit_of(id, None, self._env)
        limit = own_limit if episode_limit is None else min(episode_limit, own_limit)
        _, first = jax.eval_shape(self._env.reset, jax.random.key(0))
        agents, actions = first.observation.action_mask.shape
        seen = jax.eval_shape(self._seen, first.observation)
        per_agent = first.reward.ndim == 1
        self._spec = EnvironmentSpec(
            id=id,
            agents=agents,
            actions=actions,
            observation=seen.observation.shape[1],
            state=seen.state.shape[0],
            episode_limit=limit,
            has_win=False,
            is_jax=True,
            agent_names=tuple(f"agent_{index}" for index in range(agents)),
            unit_types=("",) * agents,
            reward_scale=reward_scale,
            identity=identity(id, "jumanji", limit, reward_scale, arguments),
            max_return=None,
            rewards="agent" if per_agent else "team",
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    def reset(self, key: PRNGKeyArray) -> tuple[Carried, TimeStep]:
        """Start an episode."""
        state, first = self._env.reset(key)
        return Carried(state, jnp.zeros((), jnp.int32)), self._seen(first.observation)

    def step(
        self, key: PRNGKeyArray, env_state: Carried, actions: Int[Array, " agents"]
    ) -> tuple[Carried, TimeStep, Outcome]:
        """Let the agents act; the chance is in jumanji's state, which `reset` has drawn."""
        state, now = self._env.step(env_state.state, actions)
        steps = env_state.steps + 1
        over = now.last()
        late = steps >= self._spec.episode_limit
        goes_on = jnp.any(now.discount > 0)
        outcome = Outcome(
            reward=now.reward.astype(jnp.float32) * self._spec.reward_scale,
            terminated=over & ~late & ~goes_on,
            truncated=late | (over & goes_on),
            won=jnp.zeros((), bool),
        )
        return Carried(state, steps), self._seen(now.observation), outcome

    def _seen(self, observation: Any) -> TimeStep:
        mask = observation.action_mask.astype(bool)
        agents, actions = mask.shape

        def rows(field: str, shape: tuple[int, ...]) -> Array:
            values = getattr(observation, field).astype(jnp.float32)
            return self._scales[field](values).reshape(shape)

        view = self._observes.view
        own = jnp.concatenate(
            [
                rows(field, (agents, -1))
                if view is None
                else view(getattr(observation, field), agents).reshape(agents, -1)
                for field in self._observes.own
            ],
            axis=1,
        )
        shared = [rows(field, (-1,)) for field in self._observes.shared]
        seen_by_all = [jnp.broadcast_to(row, (agents, row.size)) for row in shared]
        # An agent that is done may have no legal action; its first is then taken for "nothing".
        nothing = ~mask.any(axis=1, keepdims=True) & (jnp.arange(actions) == 0)
        return TimeStep(
            observation=jnp.concatenate([own, *seen_by_all], axis=1),
            available=mask | nothing,
            state=jnp.concatenate([own.reshape(-1), *shared]),
        )


def _scale(spec: Any) -> Callable[[Array], Array]:
    """How a field is brought to about [-1, 1]: by its largest value, where there is one."""
    largest = np.max(np.abs(np.asarray(getattr(spec, "maximum", 1.0), np.float64)))
    factor = 1.0 if not np.isfinite(largest) or largest < 1 else 1.0 / float(largest)
    return lambda values: values * factor
