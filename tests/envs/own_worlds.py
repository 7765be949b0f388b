"""Small environments, each with one oddity that users bring; from this folder:
`mast train own_worlds:Idle --steps 400`.

Most oddities begin after episode 20, so that a check of the first episode cannot see them.
"""

from typing import Any, ClassVar

import numpy as np

from mast.envs.protocol import EnvironmentSpec, Outcome, TimeStep


def spec(
    name: str, agents: Any = 2, limit: Any = 5, scale: Any = 1.0, **sizes: Any
) -> EnvironmentSpec:
    facts: dict[str, Any] = {
        "id": f"envs:{name}",
        "agents": agents,
        "actions": 3,
        "observation": 4,
        "state": 4,
        "episode_limit": limit,
        "has_win": False,
        "is_jax": False,
        "agent_names": tuple(f"a{i}" for i in range(int(agents))),
        "unit_types": ("",) * int(agents),
        "reward_scale": scale,
        "identity": name,
        "max_return": None,
    }
    return EnvironmentSpec(**facts | sizes)


class Base:
    kw: ClassVar[dict[str, Any]] = {}

    def __init__(self):
        self.spec = spec(type(self).__name__, **self.kw)
        self.episodes = 0

    def see(self):
        s = self.spec
        return TimeStep(
            self.rng.random((s.agents, s.observation)).astype(np.float32),
            np.ones((s.agents, s.actions), bool),
            self.rng.random(s.state).astype(np.float32),
        )

    def reset(self, key):
        self.rng = np.random.default_rng(key)
        self.t = 0
        self.episodes += 1
        return None, self.see()

    def step(self, key, state, actions):
        self.t += 1
        return (
            None,
            self.see(),
            Outcome(
                np.float32((actions == 0).mean()),
                np.False_,
                np.bool_(self.t >= self.spec.episode_limit),
                np.False_,
            ),
        )


class Good(Base):
    pass


class NumpySizes(Base):  # gymnasium's Discrete.n is np.int64
    kw: ClassVar[dict[str, Any]] = {
        "agents": np.int64(2),
        "actions": np.int64(3),
        "observation": np.int64(4),
        "state": np.int64(4),
        "limit": np.int64(5),
        "max_return": np.float32(5),
        "scale": np.float32(1),
    }


class Idle(Base):  # from episode 20 on nobody has an action at step 2
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(available=np.zeros_like(seen.available))
        return seen


class IdleOne(Base):  # from episode 20 on agent 1 has no action at step 2
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            a = seen.available.copy()
            a[1] = False
            return seen._replace(available=a)
        return seen


class LateShape(Base):  # a lone row is broadcast over the agents later
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(observation=seen.observation[:1])
        return seen


class LateRewardPerAgent(Base):
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        if self.episodes > 20:
            return a, b, o._replace(reward=np.array([1.0], np.float32))
        return a, b, o


class LateNaN(Base):
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 3:
            o = seen.observation.copy()
            o[0, 0] = np.nan
            return seen._replace(observation=o)
        return seen


class LateNaNReward(Base):
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        if self.episodes > 20:
            return a, b, o._replace(reward=np.float32(np.nan))
        return a, b, o


class ResetRaises(Base):
    def reset(self, key):
        if self.episodes == 25:
            raise ConnectionError("simulator gone")
        return super().reset(key)


class StepRaises(Base):
    def step(self, key, state, actions):
        if self.episodes == 25:
            raise ConnectionError("simulator gone")
        return super().step(key, state, actions)


class LateNotTimeStep(Base):  # returns a plain tuple later
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        if self.episodes > 20:
            return a, tuple(b), o
        return a, b, o


class NeverEnds(Base):  # from the 20th episode on: no end at the limit
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        if self.episodes > 20:
            return a, b, o._replace(truncated=np.False_)
        return a, b, o


class BothEnds(Base):  # terminated and truncated at once, later
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        if self.episodes > 20 and self.t >= 5:
            return a, b, o._replace(terminated=np.True_, truncated=np.True_)
        return a, b, o


class ManyActions(Base):
    kw: ClassVar[dict[str, Any]] = {"actions": 40000, "limit": 3}


class Ragged(Base):  # rows of other lengths than the agents', later
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(observation=[seen.observation[0], seen.observation[1][:3]])
        return seen


class RaggedArray(Base):  # a row that is itself ragged
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(observation=[[0.0, [1.0], 2.0, 3.0], seen.observation[1]])
        return seen


class FewRows(Base):  # one row too few, as a list
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(observation=[seen.observation[0]])
        return seen


class AvailableNumbers(Base):  # −1.0 would count as True
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(available=-np.ones((2, 3)))
        return seen


class LateInfinity(Base):
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            o = seen.observation.copy()
            o[1, 0] = np.inf
            return seen._replace(observation=o)
        return seen


class LateNaNState(Base):
    def see(self):
        seen = super().see()
        if self.episodes > 20 and self.t == 2:
            return seen._replace(state=seen.state * np.nan)
        return seen


class WinsWithoutAnEnd(Base):
    def step(self, key, state, actions):
        a, b, o = super().step(key, state, actions)
        return a, b, o._replace(won=np.bool_(self.episodes > 20))


class LateNothing(Base):
    def step(self, key, state, actions):
        return super().step(key, state, actions) if self.episodes <= 20 else None


class Leaves(Base):
    def step(self, key, state, actions):
        if self.episodes > 20:
            raise SystemExit(0)
        return super().step(key, state, actions)
