"""When the agents of SePS are shared out among their networks, and what is kept of it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mast.config import Config
from mast.execution.account import MOST_NETWORKS
from mast.extras import check_scikit_learn
from mast.files import write_atomically
from mast.learning.seps import Transitions, agent_codes, clusters_of
from mast.training.engine import Engine, State
from mast.training.random_keys import CLUSTER, run_key
from mast.training.run import Run

FILE_NAME = "seps.json"
"""In a run's folder: each agent's network and code, and the Davies–Bouldin indices."""


class Clustering:
    """All agents learn with network 0 for `seps_steps`; then each gets the network of its cluster.

    Network 0 keeps what it has learned, the others begin fresh.

    Args:
        config: of the runs; of them, what all have in common.
        engine: their programs.
        runs: their counters and folders.

    Raises:
        UserError: scikit-learn, which finds the clusters, is not installed.
    """

    def __init__(self, config: Config, engine: Engine, runs: Sequence[Run]) -> None:
        self._config = config
        self._engine = engine
        self._runs = runs
        self.pending = config.sharing == "seps"
        """Whether the agents still have to be shared out."""
        if self.pending:
            check_scikit_learn("sharing = seps")

    @property
    def is_due(self) -> bool:
        """Whether every run has taken the steps that the encoder learns from."""
        taken = min(run.counters.env_steps for run in self._runs)
        return self.pending and taken >= self._config.seps_steps

    def assign(self, state: State, transitions: Callable[[int], Transitions]) -> State:
        """Shares the agents of every run out, and writes down how.

        Args:
            state: of all runs.
            transitions: of the run at a place.
        """
        chosen = []
        for place, run in enumerate(self._runs):
            agents = run.spec.agents
            codes = agent_codes(run_key(run.config.seed, CLUSTER), transitions(place), agents)
            networks = min(self._config.seps_clusters or MOST_NETWORKS, agents)
            clusters = clusters_of(codes, self._config.seps_clusters, networks, run.config.seed)
            chosen.append(clusters.network_of)
            if run.out is not None:
                text = json.dumps(clusters._asdict(), indent=1)
                write_atomically(run.out / FILE_NAME, text.encode())
        self.pending = False
        return self._engine.assign(state, chosen)

    def record(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing of other ways of sharing."""
        return {"clustered": not self.pending} if self._config.sharing == "seps" else {}

    def restore(self, record: Any) -> None:
        """Takes up what a checkpoint kept."""
        self.pending = self._config.sharing == "seps" and not record["clustered"]
