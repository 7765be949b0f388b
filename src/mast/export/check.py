"""Whether an exported team does what the trained one does, on whole recorded episodes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mast.errors import SelfCheckError
from mast.export.recording import Recorded
from mast.networks.normaliser import Scale

TOLERANCE = 1e-4
"""On an action value."""
FAR = 1000.0
"""Deviations from 0 beyond which a feature makes folding inexact: this times 2⁻²⁴ is about `TOLERANCE`."""
GAP = 2 * TOLERANCE
"""Where the two best actions are closer than this, either may be chosen."""


@runtime_checkable
class Artefact(Protocol):
    """An exported team that can be run here."""

    @property
    def units(self) -> np.ndarray:
        """[agents, hidden]: which unit of the trained network each hidden unit is, -1 for none."""
        ...

    def step(
        self,
        observation: np.ndarray,
        last_action: np.ndarray,
        agent: np.ndarray,
        hidden: np.ndarray,
        available: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One step of several agents: their action values, actions and next hidden states.

        Args:
            observation: [rows, features], float32.
            last_action: [rows], -1 for none.
            agent: [rows].
            hidden: [rows, hidden], float32.
            available: [rows, actions].
        """
        ...


@dataclass(frozen=True)
class Agreement:
    """How an export compares with the trained policy along recorded episodes."""

    episodes: int
    decisions: int
    """Steps times agents."""
    largest_difference: float
    """Of an action value."""
    mean_difference: float
    largest_hidden_difference: float
    same_action: int
    """Of the decisions."""
    clear_differences: int
    """Decisions that differ though the two best actions are further apart than the check allows."""

    @property
    def holds(self) -> bool:
        """Whether it is the same policy."""
        return self.largest_difference < TOLERANCE and not self.clear_differences

    def as_json(self) -> dict[str, Any]:
        """What contract.json says about it."""
        return asdict(self) | {"tolerance": TOLERANCE, "gap": GAP}


def agreement(artefact: Artefact, recorded: Sequence[Recorded]) -> Agreement:
    """Run an export along recorded episodes, as if it had taken the actions recorded there.

    Args:
        artefact: what was exported.
        recorded: episodes of the trained policy.
    """
    differences, hidden_differences, same, clear = [], [0.0], 0, 0
    kept = artefact.units >= 0
    for episode in recorded:
        agents = np.arange(episode.action.shape[1])
        hidden = np.zeros(artefact.units.shape, np.float32)
        for step, last in enumerate(episode.last_action):
            available = episode.available[step]
            q, action, hidden = artefact.step(
                episode.observation[step], last, agents, hidden, available
            )
            differences.append(np.abs(q - episode.q[step]))
            expected = np.take_along_axis(
                episode.hidden[step], np.maximum(artefact.units, 0), axis=1
            )
            hidden_differences.append(np.abs(hidden - expected)[kept].max(initial=0))
            best = np.where(available, episode.q[step], -np.inf).argmax(-1)
            same += int((action == best).sum())
            gap = _gap(episode.q[step], available)
            clear += int(((action != best) & (gap > GAP)).sum())
    # NaN must not pass for small.
    each = np.nan_to_num(np.stack(differences), nan=np.inf)
    return Agreement(
        episodes=len(recorded),
        decisions=each.shape[0] * each.shape[1],
        largest_difference=float(each.max()),
        mean_difference=float(each.mean()),
        largest_hidden_difference=float(max(hidden_differences)),
        same_action=same,
        clear_differences=clear,
    )


def _gap(q: np.ndarray, available: np.ndarray) -> np.ndarray:
    """How far the best available action lies above the second; infinity where there is but one."""
    ordered = np.sort(np.where(available, q, -np.inf), axis=-1)
    return ordered[:, -1] - ordered[:, -2] if q.shape[-1] > 1 else np.full(len(q), np.inf)


def require(found: Agreement, what: str, doubt: str = "") -> None:
    """Accept an export only if it does what the trained policy does.

    Args:
        found: how it compares.
        what: it is.
        doubt: what is likely to be the cause where it does something else.

    Raises:
        SelfCheckError: it does something else.
    """
    if not found.holds:
        raise SelfCheckError(
            f"{what} does not do what the policy does: action values differ by up to "
            f"{found.largest_difference:.2g} (allowed {TOLERANCE:g}), {found.clear_differences} of "
            f"{found.decisions} decisions differ; nothing was written{doubt}"
        )


def doubt_of(scale: Scale | None) -> str:
    """What is said of observations far from 0, which single precision holds too coarsely; mostly nothing.

    A first layer into which the normalisation is folded adds and takes away products of mean / deviation.

    Args:
        scale: by which the trained policy reads observations.
    """
    if scale is None:
        return ""
    times = np.abs(np.asarray(scale.mean)) / np.asarray(scale.deviation)
    feature = int(times.argmax())
    if times[feature] < FAR:
        return ""
    return (
        f": feature {feature} of observations lies {times[feature]:,.0f} deviations from 0, too far for the "
        "single precision of a first layer that normalises; subtract a constant from it in the environment"
    )
