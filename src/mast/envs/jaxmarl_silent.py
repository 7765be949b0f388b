"""The parts of jaxmarl that Mast uses, imported once and silently (jaxmarl prints at import)."""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from mast.runtime import prepare


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Swallow what an import prints or warns, and give both streams back as they were."""
    streams = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    nowhere: Any = io.StringIO()
    # All four: jaxmarl's mabrax module sets sys.stdout back to sys.__stdout__ in the middle.
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = nowhere  # type: ignore[misc]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc]


# The import starts JAX's threads.
prepare()
with _silence():
    from jaxmarl import __version__ as version
    from jaxmarl import make
    from jaxmarl.environments.mpe.simple import State as ParticleState
    from jaxmarl.environments.mpe.simple_spread import SimpleSpreadMPE
    from jaxmarl.environments.smax import HeuristicEnemySMAX
    from jaxmarl.environments.smax.heuristic_enemy import (
        create_heuristic_policy,
        get_heuristic_policy_initial_state,
    )
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO, SMAX, Scenario
    from jaxmarl.environments.smax.smax_env import State as BattleState

__all__ = [
    "MAP_NAME_TO_SCENARIO",
    "SMAX",
    "BattleState",
    "HeuristicEnemySMAX",
    "ParticleState",
    "Scenario",
    "SimpleSpreadMPE",
    "create_heuristic_policy",
    "get_heuristic_policy_initial_state",
    "make",
    "version",
]
