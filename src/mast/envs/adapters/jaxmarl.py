"""JaxMARL: any of its environments with discrete actions."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from mast.envs.adapters.common import LIMITS, identity, kinds_of, limit_of
from mast.envs.jaxmarl_silent import make
from mast.envs.protocol import AgentSpec, EnvironmentSpec, Outcome, TimeStep
from mast.errors import UserError


class Carried(NamedTuple):
    """JaxMARL's state, and the steps since `reset`."""

    state: Any
    steps: Int[Array, ""]


class JaxMarl:
    """One of jaxmarl's environments, with a reward for each agent.

    Jaxmarl tells only that an episode is over: at the last step of the limit that is a cut, before it an end.
    The state is `world_state` where the environment gives it, or all observations in a row.
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
            name: as jaxmarl.make takes it, such as MPE_simple_reference_v3.
            reward_scale: factor on every agent's reward.
            episode_limit: steps after which the episode is cut; None takes the environment's max_steps.
            arguments: of the environment.

        Raises:
            UserError: an agent's actions are not discrete, or nothing says how long an episode is.
        """
        id = f"jaxmarl/{name}"
        self._env = env = make(name, **arguments)
        self._agents = [str(agent) for agent in env.agents]
        observations, state = jax.eval_shape(env.reset, jax.random.key(0))
        sizes = [int(np.prod(observations[agent].shape)) for agent in self._agents]
        self._has_world_state = "world_state" in observations
        actions = [_actions(id, env, agent) for agent in self._agents]
        self._tells_available = _tells_available(env, state)
        shortest = limit_of(id, None, env) if _knows_limit(env) else episode_limit
        limit = limit_of(id, episode_limit if shortest is None else _least(episode_limit, shortest))
        kinds = kinds_of(self._agents)
        rows = zip(self._agents, sizes, actions, kinds, strict=True)
        world = int(np.prod(observations["world_state"].shape)) if self._has_world_state else 0
        self._spec = EnvironmentSpec.of_team(
            [AgentSpec(*row) for row in rows],
            id=id,
            state=world or sum(sizes),
            episode_limit=limit,
            has_win=False,
            is_jax=True,
            identity=identity(id, "jaxmarl", limit, reward_scale, arguments),
            reward_scale=reward_scale,
            rewards="agent",
        )

    @property
    def spec(self) -> EnvironmentSpec:
        """Sizes and facts."""
        return self._spec

    def reset(self, key: PRNGKeyArray) -> tuple[Carried, TimeStep]:
        """Start an episode."""
        observations, state = self._env.reset(key)
        state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), state)
        return Carried(state, jnp.zeros((), jnp.int32)), self._seen(observations, state)

    def step(
        self, key: PRNGKeyArray, env_state: Carried, actions: Int[Array, " agents"]
    ) -> tuple[Carried, TimeStep, Outcome]:
        """Let the agents act."""
        joint = dict(zip(self._agents, actions, strict=True))
        observations, state, rewards, dones, _ = self._env.step_env(key, env_state.state, joint)
        # Strong types and those of the reset, as every loop of JAX demands.
        state = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), state, env_state.state)
        steps = env_state.steps + 1
        late = steps >= self._spec.episode_limit
        reward = jnp.stack([jnp.reshape(rewards[agent], ()) for agent in self._agents])
        outcome = Outcome(
            reward=reward.astype(jnp.float32) * self._spec.reward_scale,
            terminated=jnp.reshape(dones["__all__"], ()).astype(bool) & ~late,
            truncated=late,
            won=jnp.zeros((), bool),
        )
        return Carried(state, steps), self._seen(observations, state), outcome

    def _seen(self, observations: Any, state: Any) -> TimeStep:
        rows = [jnp.reshape(observations[agent], -1).astype(jnp.float32) for agent in self._agents]
        if self._tells_available:
            said = self._env.get_avail_actions(state)
            available = [jnp.reshape(said[agent], -1).astype(bool) for agent in self._agents]
        else:
            available = [jnp.ones(agent.actions, bool) for agent in self._spec.team]
        world = observations["world_state"] if self._has_world_state else jnp.concatenate(rows)
        new: Any = TimeStep
        return new(rows, available, jnp.reshape(world, -1).astype(jnp.float32))


def _actions(id: str, env: Any, agent: str) -> int:
    """How many actions an agent has.

    Raises:
        UserError: they are not discrete.
    """
    takes_agent = inspect.signature(env.action_space).parameters
    space = env.action_space(agent) if takes_agent else env.action_space()
    count = getattr(space, "n", None)
    if count is None:
        kind = type(space).__name__
        raise UserError(f"{id}: {agent} acts in a {kind}; only Discrete actions can be learnt")
    return int(count)


def _tells_available(env: Any, state: Any) -> bool:
    try:
        jax.eval_shape(env.get_avail_actions, state)
    except NotImplementedError:  # of jaxmarl's base class: every action may always be taken
        return False
    return True


def _knows_limit(env: Any) -> bool:
    return any(getattr(env, name, None) is not None for name in LIMITS)


def _least(given: int | None, own: int) -> int:
    return own if given is None else min(given, own)
