"""Playing whole episodes: the team acts ε-greedily in several environments until all have ended."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from mast.envs.contract import call, refuse_endless, reset_parts, step_of, step_parts
from mast.envs.padding import reset_padded, step_padded
from mast.envs.protocol import Environment, EnvironmentSpec, Outcome, TimeStep
from mast.envs.team_reward import TeamReward, unwrapped
from mast.learning.replay import Episode
from mast.networks.agent import NO_ACTION, Actor
from mast.training.exploration import epsilon_greedy_action, is_stochastic


class Totals(NamedTuple):
    """What each episode came to; any leading axes, the last one is the episode."""

    length: Int[Any, "*runs episodes"]
    return_: Float[Any, "*runs episodes"]
    """Undiscounted, scaled as the environment scales its reward."""
    terminated: Bool[Any, "*runs episodes"]
    truncated: Bool[Any, "*runs episodes"]
    won: Bool[Any, "*runs episodes"]


class Recording(NamedTuple):
    """Whole episodes, time first, as the ring stores them; what lies after an episode's end is undefined."""

    observation: Any
    state: Any
    available: Any
    action: Any
    greedy: Any
    """What the acting network preferred; `action` is that, or chance."""
    reward: Any


Watcher = Callable[[Totals, Recording], None]
"""Somebody who looks on while episodes are played."""


@runtime_checkable
class Players(Protocol):
    """Something that plays whole episodes with a team; one for JAX environments, one for the others."""

    def record(
        self,
        agent: Actor,
        keys: Key[Array, "*runs episodes"],
        epsilon: Float[Array, "*runs"],
    ) -> tuple[Totals, Recording]:
        """Play one episode per key, each agent ε-greedily."""
        ...


class _Playing(NamedTuple):
    """The loop's state; arrays lead with [*runs, episodes]."""

    step: Int[Array, ""]
    env_state: Any
    seen: TimeStep
    hidden: Array
    last_action: Array
    ended: Array
    totals: Totals
    recording: Any


class JaxPlayers:
    """Plays a JAX environment inside one jitted loop that stops when the last episode has ended.

    With `over_runs`, `agent`, `keys` and `epsilon` lead with a run axis; every run plays with its own weights
    and the loop ends with the longest episode of all.

    Args:
        environment: a JAX environment.
        store_dtype: of recorded observations and states.
        over_runs: whether there is a run axis.
    """

    def __init__(self, environment: Environment, store_dtype: Any, over_runs: bool = False) -> None:
        self._environment = environment
        self._dtype = store_dtype
        self._over_runs = over_runs
        self._episodes = (
            jax.vmap if not over_runs else (lambda f, **kw: jax.vmap(jax.vmap(f, **kw)))
        )
        self._record = jax.jit(self._loop)

    def record(
        self,
        agent: Actor,
        keys: Key[Array, "*runs episodes"],
        epsilon: Float[Array, "*runs"],
    ) -> tuple[Totals, Recording]:
        """Play one episode per key, each agent ε-greedily."""
        return self._record(agent, keys, epsilon)

    def _loop(
        self,
        agent: Actor,
        keys: Key[Array, "*runs episodes"],
        epsilon: Float[Array, "*runs"],
    ) -> tuple[Totals, Recording]:
        spec = self._environment.spec
        lead = keys.shape
        over_runs = self._over_runs
        reset_keys = self._episodes(lambda key: jax.random.fold_in(key, 0))(keys)
        env_state, seen = self._episodes(partial(reset_padded, self._environment))(reset_keys)

        def act(
            agent: Any, epsilon: Array, key: Array, seen: TimeStep, last: Array, h: Array
        ) -> Any:
            q, h = agent.step(seen.observation, last, h)
            action_keys = jax.vmap(jax.random.split)(key)
            choose = partial(epsilon_greedy_action, stochastic=is_stochastic(agent))
            action, greedy = jax.vmap(choose, in_axes=(0, 0, 0, None))(
                action_keys[:, 0], q, seen.available, epsilon
            )
            return action, greedy, h, action_keys[:, 1]

        act_all = jax.vmap(act) if over_runs else act

        def body(now: _Playing) -> _Playing:
            step_keys = self._episodes(lambda key: jax.random.fold_in(key, now.step + 1))(keys)
            action, greedy, hidden, env_keys = act_all(
                agent, epsilon, step_keys, now.seen, now.last_action, now.hidden
            )
            step = partial(step_padded, self._environment)
            env_state, seen, outcome = self._episodes(step)(env_keys, now.env_state, action)
            return _Playing(
                step=now.step + 1,
                env_state=env_state,
                seen=seen,
                hidden=hidden,
                last_action=action,
                ended=now.ended | outcome.terminated | outcome.truncated,
                totals=_add(now.totals, now.ended, outcome),
                recording=self._write(now, seen, action, greedy, outcome),
            )

        start = _Playing(
            step=jnp.zeros((), jnp.int32),
            env_state=env_state,
            seen=seen,
            hidden=jnp.zeros((*lead, spec.agents, agent.hidden_size)),
            last_action=jnp.full((*lead, spec.agents), NO_ACTION),
            ended=jnp.zeros(lead, bool),
            totals=_no_totals(lead),
            recording=self._blank(lead, seen),
        )
        done = jax.lax.while_loop(
            lambda now: ~now.ended.all() & (now.step < spec.episode_limit), body, start
        )
        return done.totals, done.recording

    def _blank(self, lead: tuple[int, ...], seen: TimeStep) -> Recording:
        """Buffers for the longest possible episodes, the first moment already in them."""
        spec = self._environment.spec
        limit = spec.episode_limit

        def blank(length: int, shape: tuple[int, ...], dtype: Any) -> Array:
            return jnp.zeros((length, *lead, *shape), dtype)

        return Recording(
            observation=blank(limit + 1, (spec.agents, spec.observation), self._dtype)
            .at[0]
            .set(seen.observation.astype(self._dtype)),
            state=blank(limit + 1, (spec.state,), self._dtype)
            .at[0]
            .set(seen.state.astype(self._dtype)),
            available=blank(limit + 1, (spec.agents, spec.actions), bool).at[0].set(seen.available),
            action=blank(limit, (spec.agents,), jnp.int16),
            greedy=blank(limit, (spec.agents,), jnp.int16),
            reward=blank(limit, (), jnp.float32),
        )

    def _write(
        self, now: _Playing, seen: TimeStep, action: Array, greedy: Array, outcome: Outcome
    ) -> Recording:
        step, recording = now.step, now.recording
        return Recording(
            observation=recording.observation.at[step + 1].set(
                seen.observation.astype(self._dtype)
            ),
            state=recording.state.at[step + 1].set(seen.state.astype(self._dtype)),
            available=recording.available.at[step + 1].set(seen.available),
            action=recording.action.at[step].set(action.astype(jnp.int16)),
            greedy=recording.greedy.at[step].set(greedy.astype(jnp.int16)),
            reward=recording.reward.at[step].set(outcome.reward),
        )


def _no_totals(lead: tuple[int, ...]) -> Totals:
    return Totals(
        length=jnp.zeros(lead, jnp.int32),
        return_=jnp.zeros(lead),
        terminated=jnp.zeros(lead, bool),
        truncated=jnp.zeros(lead, bool),
        won=jnp.zeros(lead, bool),
    )


def _add(totals: Totals, ended: Array, outcome: Outcome) -> Totals:
    """The totals after one more step; episodes that had ended before it do not change."""
    live = ~ended
    return Totals(
        length=totals.length + live,
        return_=totals.return_ + jnp.where(live, outcome.reward, 0.0),
        terminated=totals.terminated | (live & outcome.terminated),
        truncated=totals.truncated | (live & outcome.truncated),
        won=totals.won | (live & outcome.won),
    )


def blank_on_host(spec: EnvironmentSpec, count: int, dtype: Any) -> tuple[Totals, Recording]:
    """Nothing yet of that many episodes, in NumPy's arrays.

    Args:
        spec: of the environment.
        count: of episodes.
        dtype: of recorded observations and states.
    """
    limit = spec.episode_limit
    totals = jax.tree.map(lambda x: np.array(x), _no_totals((count,)))
    return totals, Recording(
        observation=np.zeros((limit + 1, count, spec.agents, spec.observation), dtype),
        state=np.zeros((limit + 1, count, spec.state), dtype),
        available=np.zeros((limit + 1, count, spec.agents, spec.actions), bool),
        action=np.zeros((limit, count, spec.agents), np.int16),
        greedy=np.zeros((limit, count, spec.agents), np.int16),
        reward=np.zeros((limit, count), np.float32),
    )


class HostPlayers:
    """Plays an environment that is plain Python, one episode after another; only acting is jitted.

    Each step is held to the contract (`mast.envs.contract`).

    Args:
        environment: an environment whose spec says `is_jax=False`.
        store_dtype: of recorded observations and states.
    """

    def __init__(self, environment: Environment, store_dtype: Any) -> None:
        self._environment = environment
        self._dtype = np.dtype(store_dtype)

        @jax.jit
        def act(agent: Any, key: Array, seen: Any, last: Array, hidden: Array, eps: Array) -> Any:
            q, hidden = agent.step(seen.observation, last, hidden)
            stochastic = is_stochastic(agent)
            return epsilon_greedy_action(key, q, seen.available, eps, stochastic), hidden

        self._act: Callable[..., Any] = act

    def record(
        self, agent: Actor, keys: Key[Array, "*runs episodes"], epsilon: Float[Array, ""]
    ) -> tuple[Totals, Recording]:
        """Play one episode per key, each agent ε-greedily."""
        totals, recording = blank_on_host(self._environment.spec, len(keys), self._dtype)
        for episode in range(len(keys)):
            self._one(agent, keys[episode], epsilon, totals, recording, episode)
        return totals, recording

    def _one(
        self,
        agent: Actor,
        key: PRNGKeyArray,
        epsilon: Float[Array, ""],
        totals: Totals,
        recording: Recording,
        episode: int,
    ) -> None:
        spec = self._environment.spec
        world, combine = unwrapped(self._environment)
        seeds = np.random.Generator(np.random.Philox(key=np.asarray(jax.random.key_data(key))))
        seed = int(seeds.integers(2**31))
        result: Any = call(spec.id, "reset", partial(world.reset, seed))
        env_state, seen = reset_parts(result, world.spec, spec.id)
        hidden = agent.initial_hidden(spec.agents)
        last = np.full(spec.agents, NO_ACTION)
        _see(recording, 0, episode, seen)
        for step in range(spec.episode_limit):
            (action, greedy), hidden = self._act(
                agent, jax.random.fold_in(key, step), seen, last, hidden, epsilon
            )
            last = np.asarray(action)
            doing, seed = step_of(step + 1), int(seeds.integers(2**31))
            result = call(spec.id, doing, partial(world.step, seed, env_state, cast(Array, last)))
            env_state, seen, outcome = step_parts(result, world.spec, f"{spec.id}: {doing}")
            reward = combine(outcome.reward)
            recording.action[step, episode] = last
            recording.greedy[step, episode] = greedy
            recording.reward[step, episode] = reward
            _see(recording, step + 1, episode, seen)
            totals.length[episode] += 1
            totals.return_[episode] += reward
            totals.terminated[episode] = outcome.terminated
            totals.truncated[episode] = outcome.truncated
            totals.won[episode] = outcome.won
            if outcome.terminated or outcome.truncated:
                return
        refuse_endless(spec, spec.id)


def _see(recording: Recording, step: int, episode: int, seen: TimeStep) -> None:
    recording.observation[step, episode] = seen.observation
    recording.state[step, episode] = seen.state
    recording.available[step, episode] = seen.available


def players_for(environment: Environment, store_dtype: Any, over_runs: bool = False) -> Players:
    """The player that fits an environment; individual rewards are added up.

    Args:
        environment: where to play.
        store_dtype: of recorded observations and states.
        over_runs: whether there is a run axis; for JAX environments.
    """
    if environment.spec.rewards == "agent":
        environment = TeamReward(environment, "sum")
    if environment.spec.is_jax:
        return JaxPlayers(environment, store_dtype, over_runs)
    return HostPlayers(environment, store_dtype)


def play(
    players: Players,
    agent: Actor,
    keys: Key[Array, "*runs episodes"],
    epsilon: Float[Array, "*runs"],
    at_once: int,
    watch: Watcher | None = None,
) -> Totals:
    """Play one episode per key, `at_once` at a time, and keep only what they came to.

    It runs the same compiled program as collecting does, so an evaluation costs no compilation.

    Args:
        players: who plays.
        agent: the acting network.
        keys: one per episode; leading run axes as in `record`.
        epsilon: share of random actions.
        at_once: episodes in one go; a last, smaller part is played with repeated keys and cut.
        watch: shown each part's totals and its recording, which may hold more episodes than the totals.
    """
    count = keys.shape[-1]
    played = []
    for start in range(0, count, at_once):
        wanted = jnp.minimum(jnp.arange(start, start + at_once), count - 1)
        totals, recording = players.record(agent, keys[..., wanted], epsilon)
        part = min(at_once, count - start)
        played.append(jax.tree.map(lambda x, part=part: np.asarray(x)[..., :part], totals))
        if watch is not None:
            watch(played[-1], recording)
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *played)


def episodes(totals: Totals, recording: Recording) -> list[Episode]:
    """The recorded episodes of one run, each cut to its length, as host arrays."""
    host, totals = jax.tree.map(np.asarray, (recording, totals))  # JAX's own indexing is slow
    cut = []
    for place, length in enumerate(totals.length):
        cut.append(
            Episode(
                observation=host.observation[: length + 1, place],
                state=host.state[: length + 1, place],
                available=host.available[: length + 1, place],
                action=host.action[:length, place],
                greedy=host.greedy[:length, place],
                reward=host.reward[:length, place],
                terminated=bool(totals.terminated[place]),
                truncated=bool(totals.truncated[place]),
                won=bool(totals.won[place]),
            )
        )
    return cut
