"""Small episodes of every kind of ending, and losses of an algorithm over them, compiled once."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from golden import qplex_by_definition, res_by_definition, weighted_by_definition
from golden import value_decomposition_by_definition as golden
from mast.algorithms.registry import algorithm_entry
from mast.algorithms.value.decomposition import LossMetrics
from mast.config import Config
from mast.execution.method import method_from_config
from mast.learning.method import Method
from mast.learning.replay import Batch, Episode
from mast.networks.spec import Sizes

SIZES = Sizes(
    observation=5,
    actions=3,
    agents=2,
    state=4,
    hidden_size=4,
    mixer_embed=3,
    hypernet_hidden=4,
    unrestricted_hidden=5,
)
LENGTH = 5
ENDINGS = [(5, True), (5, False), (3, False), (2, True), (1, False)]
"""Steps and `terminated`: the longest ended and cut, and shorter ones of both kinds."""
STEPS, BURN_IN = 1000, 400


@dataclass(frozen=True)
class Case:
    """Settings of a run and the same in the golden code's terms."""

    settings: dict[str, Any]
    rules: golden.Rules
    env_steps: int = STEPS
    method: Method = field(init=False)

    def __post_init__(self) -> None:
        given = {"burn_in_fraction": BURN_IN / STEPS, "delay_fraction": BURN_IN / STEPS}
        given |= {"environment": "smax/3m", "steps": STEPS, "discount": self.rules.discount}
        config = Config.model_validate(given | self.settings)
        object.__setattr__(self, "method", method_from_config(config))


def of_target(operator: Callable[..., float], *parameters: float) -> golden.Operator:
    """An operator that reads the target's utilities only."""
    return lambda target_q, online_q, available: operator(target_q, available, *parameters)


def by_online(operator: Callable[..., float], *parameters: float) -> golden.Operator:
    """An operator whose weights are the online utilities'."""
    return lambda target_q, online_q, available: operator(
        target_q, online_q, available, *parameters
    )


def make_episode(rng: np.random.Generator, steps: int, terminated: bool) -> Episode:
    available = rng.random((steps + 1, SIZES.agents, SIZES.actions)) < 0.6
    available[..., 0] |= ~available.any(-1)
    return Episode(
        # Numbers that half precision holds, so that storage is no difference.
        observation=rng.normal(size=(steps + 1, SIZES.agents, SIZES.observation))
        .astype(np.float16)
        .astype(np.float32),
        state=rng.normal(size=(steps + 1, SIZES.state)).astype(np.float16).astype(np.float32),
        available=available,
        action=rng.integers(0, SIZES.actions, (steps, SIZES.agents)),
        reward=rng.normal(0, 2, steps).astype(np.float32),
        terminated=terminated,
        won=False,
    )


def side_by_side(episodes: list[Episode], length: int) -> Batch:
    """The episodes in a batch, padded as its contract says."""

    def padded(rows: int, arrays: list[np.ndarray], filler: Any) -> np.ndarray:
        shape = (rows, len(arrays), *arrays[0].shape[1:])
        result = np.full(shape, filler, arrays[0].dtype)
        for column, array in enumerate(arrays):
            result[: len(array), column] = array
        return result

    ends = [
        np.arange(len(e.reward)) == (len(e.reward) - 1 if e.terminated else -1) for e in episodes
    ]
    return Batch(
        observation=padded(length + 1, [e.observation for e in episodes], 0),
        state=padded(length + 1, [e.state for e in episodes], 0),
        available=padded(length + 1, [e.available for e in episodes], True),
        action=padded(length, [e.action.astype(np.int32) for e in episodes], 0),
        reward=padded(length, [e.reward for e in episodes], 0),
        terminated=padded(length, ends, False),
        mask=padded(length, [np.ones(len(e.reward), bool) for e in episodes], False),
    )


def with_other_padding(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with other numbers wherever nothing was recorded, and after a terminal step."""
    steps = batch.mask.sum(0)
    ended = batch.terminated.any(0)
    time = np.arange(LENGTH + 1)[:, None]
    beyond = time >= steps + ~ended  # of [length + 1]; the state after a cut is no padding
    after = ~batch.mask

    def noise(array: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
        where = where.reshape(*where.shape, *[1] * (array.ndim - 2))
        return np.where(where, values.astype(array.dtype), array)

    only_last = np.zeros(batch.available.shape, bool)
    only_last[..., -1] = True
    return Batch(
        observation=noise(batch.observation, beyond, rng.normal(0, 50, batch.observation.shape)),
        state=noise(batch.state, beyond, rng.normal(0, 50, batch.state.shape)),
        available=noise(batch.available, beyond, only_last),
        action=noise(batch.action, after, rng.integers(0, 3, batch.action.shape)),
        reward=noise(batch.reward, after, rng.normal(0, 1e4, batch.reward.shape)),
        terminated=noise(batch.terminated, after, rng.random(batch.terminated.shape) < 0.5),
        mask=batch.mask,
    )


@functools.cache
def all_episodes() -> list[Episode]:
    """One episode of each of `ENDINGS`."""
    rng = np.random.default_rng(0)
    return [make_episode(rng, steps, terminated) for steps, terminated in ENDINGS]


def of_all_steps(
    name: str,
    params: Any,
    target: Any,
    episodes: list[Episode],
    rules: golden.Rules,
    held: Any,
) -> list[golden.Step]:
    """Every step and head of the episodes, from the golden code; no gradient flows through `held`."""
    if name == "res":
        of_episode = res_by_definition.steps_of_episode
    elif name in ("owqmix", "cwqmix"):
        of_episode = functools.partial(weighted_by_definition.steps_of_episode, name)
    elif name == "qplex":
        of_episode = functools.partial(qplex_by_definition.steps_of_episode, held=held)
    else:
        of_episode = functools.partial(golden.steps_of_episode, name)
    return [step for each in episodes for step in of_episode(params, target, each, rules)]


class Compiled:
    """An algorithm's networks, with weights that reach every bend, and its compiled loss."""

    def __init__(self, name: str, sizes: Sizes) -> None:
        self.name, algorithm = name, algorithm_entry(name)
        shapes = jax.eval_shape(lambda key: algorithm.init(key, sizes), jax.random.key(0))
        rng = np.random.default_rng(0)  # of the first seeds, one where OW and CW use both weights
        self.params, self.target = (
            jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
            for _ in range(2)
        )
        self._value_and_grad = jax.jit(
            jax.value_and_grad(algorithm.algorithm.loss, (0, 1), has_aux=True)
        )

    def __call__(
        self, batch: Batch, case: Case, target: Any = None, params: Any = None
    ) -> tuple[jax.Array, LossMetrics, tuple[Any, Any]]:
        """Loss, metrics, and gradients by online and target networks."""
        (loss, metrics), gradients = self._value_and_grad(
            self.params if params is None else params,
            self.target if target is None else target,
            batch,
            case.method,
            jnp.float32(case.env_steps),
        )
        return loss, metrics, gradients

    def by_definition(
        self, episodes: list[Episode], case: Case, params: Any = None
    ) -> list[golden.Step]:
        """Every step and head of the episodes, from the golden code."""
        online = self.params if params is None else params
        return of_all_steps(self.name, online, self.target, episodes, case.rules, self.params)


@functools.cache
def compiled(name: str, sizes: Sizes = SIZES) -> Compiled:
    """The algorithm, compiled at most once in a test run."""
    return Compiled(name, sizes)
