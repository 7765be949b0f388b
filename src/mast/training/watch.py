"""What a run records for looking inside: mask snapshots, and diagnostics at its evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mast.diagnosis.log import append_diagnostics
from mast.diagnosis.masks import density_per_agent, density_per_type, from_text, overlap, to_text
from mast.diagnosis.neurons import disconnected_neurons, dormant_neurons, shares
from mast.diagnosis.snapshots import is_due, save_snapshot
from mast.diagnosis.values import Played, ValueLog, played_of_batch, played_of_recording
from mast.execution.learner import LearnerState
from mast.networks.spec import NetworkSpec
from mast.sparsity.topology import Evolution
from mast.training.engine import Engine, State
from mast.training.rollout import Recording, Totals, Watcher
from mast.training.run import Run

_REPLAYED = 2**63
"""Added to an evaluation's number, so that its replayed batch is drawn with no update's random key."""


class Watch:
    """Snapshots and diagnostics of all runs of a program, as their settings ask.

    Everything that must outlive a resume is in `RunCounters.watched`: the masks at the start and at the last
    evaluation, and what the evolutions since then did.

    Args:
        engine: of the program.
        runs: its runs, in order; those without a folder record nothing.
    """

    def __init__(self, engine: Engine, runs: Sequence[Run]) -> None:
        self._engine = engine
        self._runs = runs
        self._evolutions: list[Evolution] = []
        self._greedy: dict[int, ValueLog] = {}

    def begin(self, state: State) -> None:
        """Keep the masks before training.

        Args:
            state: of all runs.
        """
        for place, run in enumerate(self._runs):
            if run.out is None:
                continue
            masks = self._masks(self._engine.team(state, place))
            if 0.0 in (run.config.snapshots or ()):
                save_snapshot(run.out, 0, masks)
            if run.config.diagnostics:
                run.counters.watched = {"initial": to_text(masks)} | _nothing_since(masks)

    def evolved(self, evolution: Evolution | None) -> None:
        """Count what an evolution did, if there was one; it stays on the device until it is needed."""
        if evolution is not None and self._diagnosed:
            self._evolutions.append(evolution)

    def count_evolutions(self) -> None:
        """Bring the counts into the runs' counters: before an evaluation, and before a checkpoint."""
        for evolution in self._evolutions:
            for place in self._diagnosed:
                watched = self._runs[place].counters.watched
                watched["evolutions"] += 1
                done = self._engine.of_run(evolution, place)
                for kind, counts in (("dropped", done.dropped), ("grown", done.grown)):
                    for layer, count in counts.items():
                        watched[kind][layer] = watched[kind].get(layer, 0) + int(count)
        self._evolutions = []

    def of_evaluation(self, state: State, places: Sequence[int]) -> Watcher | None:
        """Who looks on at the greedy episodes of an evaluation; None where nobody needs to.

        Args:
            state: of all runs.
            places: the runs that are evaluated.
        """
        engine = self._engine
        self._greedy = {
            place: ValueLog(engine.team(state, place).params, self._runs[place].config.discount)
            for place in places
            if place in self._diagnosed
        }

        def look(totals: Totals, recording: Recording) -> None:
            for place, log in self._greedy.items():
                own = engine.of_run(totals, place)
                played = engine.recording_of_run(recording, place)
                log.add(played_of_recording(played, own.length, own.terminated))

        return look if self._greedy else None

    def evaluated(
        self, place: int, state: LearnerState, row: Mapping[str, Any], evaluation: int
    ) -> None:
        """Write a snapshot and a line of diagnostics where they belong to this evaluation.

        Args:
            place: of the run.
            state: of that run.
            row: what metrics.csv says of the evaluation.
            evaluation: its number.
        """
        run = self._runs[place]
        now, before = run.counters.env_steps, run.counters.evaluated_at
        run.counters.evaluated_at = now
        if run.out is None:
            return
        masks = self._masks(state)
        if is_due(run.config.snapshots, run.config.steps, before, now):
            save_snapshot(run.out, now, masks)
        if place in self._diagnosed:
            self.count_evolutions()
            networks = self._engine.networks(place)
            record = _record(run, networks, state, masks, self._greedy[place], row, evaluation)
            append_diagnostics(run.out, record)
            run.counters.watched |= _nothing_since(masks)

    @property
    def _diagnosed(self) -> list[int]:
        """The places of the runs that record diagnostics."""
        return [
            place
            for place, run in enumerate(self._runs)
            if run.config.diagnostics and run.out is not None
        ]

    def _masks(self, state: LearnerState) -> dict[str, np.ndarray]:
        return {name: np.asarray(mask) for name, mask in state.optimizer.masks.items()}


def _nothing_since(masks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"previous": to_text(masks), "evolutions": 0, "dropped": {}, "grown": {}}


def _replayed(run: Run, evaluation: int) -> Played:
    """A batch from the whole ring, padded to the episode limit so that one compilation serves all."""
    slots = run.ring.sample_indices(
        min(run.config.batch_size, len(run.ring)),
        0,
        1,
        seed=run.config.seed,
        update=_REPLAYED + evaluation,
    )
    return played_of_batch(run.gather(slots, run.spec.episode_limit))


def _record(
    run: Run,
    networks: Mapping[str, NetworkSpec],
    state: LearnerState,
    masks: Mapping[str, np.ndarray],
    greedy: ValueLog,
    row: Mapping[str, Any],
    evaluation: int,
) -> dict[str, Any]:
    """One line of diagnostics.jsonl; docs/inspect.md defines each number."""
    watched = run.counters.watched
    played = _replayed(run, evaluation)
    replayed = ValueLog(state.params, run.config.discount)
    replayed.add(played)
    densities = density_per_agent(masks)
    return {
        **{name: row[name] for name in ("env_steps", "episodes", "updates")},
        "greedy": greedy.compare()._asdict(),
        "replayed": replayed.compare()._asdict(),
        **{name: row.get(name) for name in ("td_error", "gradient_norm")},
        "disconnected": shares(disconnected_neurons(networks, masks)),
        "dormant": shares(dormant_neurons(state.params, played)),
        "overlap_previous": overlap(masks, from_text(watched["previous"])),
        "overlap_initial": overlap(masks, from_text(watched["initial"])),
        "evolutions": watched["evolutions"],
        "dropped": {layer: watched["dropped"].get(layer, 0) for layer in sorted(masks)},
        "grown": {layer: watched["grown"].get(layer, 0) for layer in sorted(masks)},
        "density_per_agent": densities,
        "density_per_type": density_per_type(densities, run.spec.unit_types),
    }
