"""What every adapter asks: the limit of an episode, the kinds of agents, what stands beside a number."""

import importlib.metadata
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mast.errors import UserError

LIMITS = (
    "max_episode_steps",
    "_max_episode_steps",
    "max_cycles",
    "max_steps",
    "max_iter",
    "time_limit",
)
"""What libraries call the largest number of steps of an episode."""


def limit_of(id: str, given: int | None, *holders: Any) -> int:
    """The largest number of steps of an episode.

    Args:
        id: of the environment, for the message.
        given: by the user; None takes the environment's own.
        holders: objects that may say it, as one of `LIMITS`.

    Raises:
        UserError: nothing says it.
    """
    if given is not None:
        return given
    for holder in holders:
        for name in LIMITS:
            try:
                limit = operator.index(getattr(holder, name, None))  # type: ignore[arg-type]
            except (TypeError, AttributeError):
                continue
            if limit > 0:
                return limit
    raise UserError(f"{id}: does not say how long an episode can be; add --episode-limit N")


def kinds_of(names: Sequence[str]) -> tuple[str, ...]:
    """The kind of each agent, from names such as speaker_0; "" for all where they are of one kind."""
    kinds = tuple(re.sub(r"[_-]?\d+$", "", name) for name in names)
    return kinds if len(set(kinds)) > 1 else ("",) * len(names)


def identity(
    id: str, package: str, limit: int, reward_scale: float, arguments: Mapping[str, Any]
) -> str:
    """What stands beside every number: which version of what, and what was set in it.

    Args:
        id: of the environment.
        package: its import name, whose version is looked up.
        limit: steps of an episode.
        reward_scale: factor on the reward.
        arguments: of the environment.
    """
    own = "".join(f", {name} {value}" for name, value in sorted(arguments.items()))
    return f"{id} ({version_of(package)}), limit {limit}, reward x{reward_scale:g}{own}"


def version_of(package: str) -> str:
    """A package's name with its version, where an installed distribution has the name."""
    top = package.split(".")[0]
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        return top
