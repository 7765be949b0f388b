"""What an environment is to Mast: a team that perceives, acts together and is told the outcome.

Arrays come first: agents are rows, never keys of a dictionary. Three things that are often mixed up
are kept apart in `Outcome`: an episode that *ended* by the rules of the game, one that was *cut* by
a time limit, and one that was *won*.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Bool, Float, Int

EnvState: TypeAlias = Any
"""Whatever the environment carries from step to step: a pytree of arrays of fixed shapes if
`spec.is_jax`."""


class TimeStep(NamedTuple):
    """What the team perceives before it acts."""

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


@dataclass(frozen=True)
class EnvironmentSpec:
    """The sizes and facts of an environment that the rest of the program needs.

    `agents`, `actions`, `observation` and `state` are the widths of the arrays in `TimeStep`.
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
