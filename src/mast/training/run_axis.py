"""Several runs as one program: their arrays side by side, random keys, and the time of compiling."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mast.config import Config
from mast.training.random_keys import run_key

Tree = TypeVar("Tree")


def stacked(parts: Sequence[Any], vmapped: bool) -> Any:
    """One tree for all runs out of one for each; the only one where there is no run axis."""
    if not vmapped:
        return parts[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


class RunAxis:
    """Trees of arrays for all runs of a program, which lead with a run axis where it is vmapped.

    Args:
        configs: one per run.
        vmapped: whether there is a run axis.
    """

    def __init__(self, configs: Sequence[Config], vmapped: bool) -> None:
        self.configs, self.vmapped = configs, vmapped

    def stacked(self, parts: Sequence[Any]) -> Any:
        """One tree for all runs out of one for each; the inverse of `of_run`."""
        return stacked(parts, self.vmapped)

    def of_run(self, tree: Any, run: int) -> Any:
        """One run's part of a tree of arrays."""
        return jax.tree.map(lambda leaf: leaf[run], tree) if self.vmapped else tree

    def of_steps(self, tree: Tree, run: int) -> Tree:
        """The same of arrays that lead with time, before the runs."""
        return jax.tree.map(lambda leaf: leaf[:, run], tree) if self.vmapped else tree

    def mapped(self, function: Callable[..., Any], **axes: Any) -> Callable[..., Any]:
        """A function of one run as one of all, as `jax.vmap` has it."""
        return jax.vmap(function, **axes) if self.vmapped else function

    def column(self, numbers: Sequence[int] | Sequence[float]) -> Float[Array, "..."]:
        """A number of each run."""
        return jnp.asarray(numbers if self.vmapped else numbers[0], jnp.float32)

    def keys(self, *purpose: int) -> Key[Array, "*runs"]:
        """A random key of each run (`run_key`)."""
        return self.stacked([run_key(each.seed, *purpose) for each in self.configs])

    def episode_keys(
        self, purpose: int, number: int, episodes: int
    ) -> Key[Array, "*runs episodes"]:
        """Random keys of each run, one for every episode."""
        return self.stacked(
            [
                jax.random.split(run_key(each.seed, purpose, number), episodes)
                for each in self.configs
            ]
        )


class Timed:
    """Times the first call of each compiled step, as compilation."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._adding = threading.Lock()  # playing and learning may be two threads
        self._seen: set[Any] = set()

    def __call__(self, what: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed if this is the first call of `what`."""
        if what in self._seen:
            return function

        def first_call(*args: Any) -> Any:
            start = time.perf_counter()
            result = jax.block_until_ready(function(*args))
            with self._adding:
                self.seconds += time.perf_counter() - start
                self._seen.add(what)
            return result

        return first_call
