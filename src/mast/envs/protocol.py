"""What an environment is to Mast: a team that perceives, acts together and is told the outcome.

Arrays come first: agents are rows, never keys of a dictionary. Three things that are often mixed up
are kept apart in `Outcome`: an episode that *ended* by the rules of the game, one that was *cut* by
a time limit, and one that was *won*.
"""

import operator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int

EnvState: TypeAlias = Any
"""Whatever the environment carries from step to step: a pytree of arrays of fixed shapes if
`spec.is_jax`."""


class TimeStep(NamedTuple):
    """What the team perceives before it acts.

    An environment of unlike agents may give `observation` and `available` as a list or tuple of one row per
    agent, each as wide as that agent's; Mast fills them up to the widest.
    """

    observation: Float[Array, "agents features"]
    """Each agent's own view, zeros for what it cannot see."""
    available: Bool[Array, "agents actions"]
    """The actions that each agent may take now, at least one True per agent."""
    state: Float[Array, " state"]
    """The mixer's view of the whole game, normalised to about [-1, 1]."""


class Outcome(NamedTuple):
    """What one joint action brought."""

    reward: Float[Array, "*agents"]
    """The team's reward, or that of each agent (`spec.rewards`); already scaled by `spec.reward_scale`."""
    terminated: Bool[Array, ""]
    """The episode ended by the rules: there is nothing after it to bootstrap from."""
    truncated: Bool[Array, ""]
    """The episode was cut by the time limit; never together with `terminated`."""
    won: Bool[Array, ""]
    """The team won; only ever True together with `terminated`."""


class AgentSpec(NamedTuple):
    """One agent of a team."""

    name: str
    features: int
    """Of its own observation."""
    actions: int
    kind: str = ""
    """Its type, for reports; "" where there are none."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """The sizes and facts of an environment that the rest of the program needs.

    `agents`, `actions`, `observation` and `state` are the widths of the arrays in `TimeStep`: those of the
    widest agent where agents differ. `EnvironmentSpec.of_team` makes one from a list of agents. NumPy's
    numbers become Python's.
    """

    id: str
    """The name it was made by: "smax/3m"."""
    agents: int
    actions: int
    observation: int
    state: int
    episode_limit: int
    """The largest number of steps that an episode can have (SMAX by default: 101)."""
    has_win: bool
    """False: `won` is never True and there is no win rate."""
    is_jax: bool
    """`reset` and `step` can be jitted and vmapped."""
    agent_names: tuple[str, ...]
    unit_types: tuple[str, ...]
    """The type of each agent, for reports; "" where there are none."""
    reward_scale: float
    """The factor that `reward` already holds."""
    identity: str
    """Stands beside every number: "SMAX (jaxmarl 0.2.0), limit 101, reward x10"."""
    max_return: float | None
    """The largest possible undiscounted return of an episode, scaled; None where it is not known. Of
    individual rewards their sum."""
    rewards: Literal["team", "agent"] = "team"
    """Whether an outcome has one reward, or one for each agent."""
    agent_features: tuple[int, ...] = ()
    """The features of each agent's own observation; () where all have `observation`."""
    agent_actions: tuple[int, ...] = ()
    """The number of each agent's own actions; () where all have `actions`."""
    type_features: tuple[int, ...] = ()
    """Where episodes draw the agents' types anew: the features of an observation that say, one-hot, which
    type its agent has; all 0 of one that plays no more. () where an agent's type never changes."""

    def __post_init__(self) -> None:
        for name in _WHOLE:
            with suppress(TypeError):  # no whole number: the contract says so
                object.__setattr__(self, name, operator.index(getattr(self, name)))
        for name in ("reward_scale", "max_return"):
            if isinstance(getattr(self, name), int | np.number):
                object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("has_win", "is_jax"):
            if isinstance(getattr(self, name), np.bool_):
                object.__setattr__(self, name, bool(getattr(self, name)))
        for name in ("agent_features", "agent_actions", "type_features"):
            sizes = getattr(self, name)
            with suppress(TypeError):
                object.__setattr__(self, name, tuple(operator.index(size) for size in sizes))

    @classmethod
    def of_team(
        cls,
        team: Sequence[AgentSpec],
        *,
        id: str,
        state: int,
        episode_limit: int,
        has_win: bool,
        is_jax: bool,
        identity: str,
        reward_scale: float = 1.0,
        max_return: float | None = None,
        rewards: Literal["team", "agent"] = "team",
        type_features: tuple[int, ...] = (),
    ) -> "EnvironmentSpec":
        """The facts of a team whose agents may differ in what they observe and do.

        Args:
            team: the agents, in the order of the rows.
            id, state, episode_limit, has_win, is_jax, identity, reward_scale, max_return, rewards,
                type_features: as the fields.
        """
        return cls(
            id=id,
            agents=len(team),
            actions=max((agent.actions for agent in team), default=0),
            observation=max((agent.features for agent in team), default=0),
            state=state,
            episode_limit=episode_limit,
            has_win=has_win,
            is_jax=is_jax,
            agent_names=tuple(agent.name for agent in team),
            unit_types=tuple(agent.kind for agent in team),
            reward_scale=reward_scale,
            identity=identity,
            max_return=max_return,
            rewards=rewards,
            agent_features=tuple(agent.features for agent in team),
            agent_actions=tuple(agent.actions for agent in team),
            type_features=type_features,
        )

    @property
    def team(self) -> tuple[AgentSpec, ...]:
        """The agents one by one."""
        features = self.agent_features or (self.observation,) * self.agents
        actions = self.agent_actions or (self.actions,) * self.agents
        rows = zip(self.agent_names, features, actions, self.unit_types, strict=True)
        return tuple(AgentSpec(*row) for row in rows)

    @property
    def is_uniform(self) -> bool:
        """Whether all agents have as many features and actions as the widest."""
        return {*self.agent_features} <= {self.observation} and {*self.agent_actions} <= {
            self.actions
        }


_WHOLE = ("agents", "actions", "observation", "state", "episode_limit")
"""The fields of an `EnvironmentSpec` that are sizes."""


@runtime_checkable
class Environment(Protocol):
    """A cooperative game of a team.

    There is no auto-reset: the caller resets. A step after the end of an episode is never relied
    upon, but must not crash.

    If `spec.is_jax`, both methods are pure JAX functions of their arguments and `key` is a JAX
    random key. If not, the environment may be any Python: `key` is an int seed, arrays are NumPy's,
    and `env_state` may be None.
    """

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts, constant for the life of the object."""
        ...

    def reset(self, key: Any) -> tuple[EnvState, TimeStep]:
        """Start an episode.

        Args:
            key: JAX random key, or an int seed if not `spec.is_jax`.

        Returns:
            The state to carry and the first perception.
        """
        ...

    def step(
        self, key: Any, env_state: EnvState, actions: Int[Array, " agents"]
    ) -> tuple[EnvState, TimeStep, Outcome]:
        """Let all agents act at once.

        Args:
            key: JAX random key, or an int seed if not `spec.is_jax`.
            env_state: What the last `reset` or `step` returned.
            actions: One available action per agent.

        Returns:
            The state to carry, the next perception (also at the end of an episode), and the
            outcome.
        """
        ...
