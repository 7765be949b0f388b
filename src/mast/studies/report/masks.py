"""Mask snapshots in a report: pictures of three layers and their connection counts, as PNG. No JAX."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mast.diagnosis.pictures import (
    Snapshot,
    draw_connections,
    draw_densities,
    draw_masks,
    in_words,
)
from mast.diagnosis.snapshots import load_snapshot
from mast.studies.groups import Panel
from mast.studies.results import Result

LAYERS = ("agent.fc1.weight", "agent.gru_hidden.weight", "mixer.w1_hidden.weight")
"""The layers that the paper shows: the agent's input (Fig 10), its GRU (Fig 17), a hypernetwork (Fig 20)."""


def mask_pictures(panel: Panel) -> Iterator[tuple[str, bytes, str]]:
    """Pictures of the masks of each group that has snapshots, of the first seed that has.

    Yields:
        a name, the PNG, and what it shows.
    """
    for number, group in enumerate(panel.groups):
        result = next((each for each in group.results if each.snapshots), None)
        if result is None:
            continue
        loaded = [load_snapshot(path) for path in result.snapshots]
        snapshots = [Snapshot(in_words(steps), masks) for steps, masks in loaded]
        for layer in (name for name in LAYERS if name in snapshots[0].masks):
            of = f"{group.label}, seed {result.cell.config.seed}"
            yield from _of_layer(snapshots, layer, f"masks-{number}", of)


def _of_layer(
    snapshots: Sequence[Snapshot], layer: str, name: str, of: str
) -> Iterator[tuple[str, bytes, str]]:
    """The pictures of one layer; `of` says whose it is."""
    short = layer.removesuffix(".weight")

    def masks(path: Path) -> None:
        draw_masks(snapshots, layer, path)

    def connections(path: Path) -> None:
        draw_connections(snapshots, layer, path)

    yield f"{name}-{short}", _png(masks), f"Masks of {short}, {of}."
    caption = f"Connections of {short}, {of}, in descending order."
    yield f"{name}-{short}-connections", _png(connections), caption


def density_pictures(panel: Panel) -> Iterator[tuple[str, bytes, str]]:
    """The density of each agent's network over time, of each group that has recorded it.

    Yields:
        a name, the PNG, and what it shows.
    """
    for number, group in enumerate(panel.groups):
        result = next((each for each in group.results if _has_densities(each)), None)
        if result is not None:
            yield (
                f"density-{number}",
                _png(_drawing_of(result)),
                f"Density per agent, {group.label}.",
            )


def _drawing_of(result: Result) -> Callable[[Path], None]:
    agents = len(result.diagnostics[0]["density_per_agent"])

    def draw(path: Path) -> None:
        draw_densities(result.diagnostics, unit_types(result.cell.map, agents), path)

    return draw


def unit_types(map_: str, agents: int) -> list[str]:
    """The unit type of each agent, as SMAC's map names say it: 3s5z is three stalkers, then five zealots."""
    names = {"m": "marine", "s": "stalker", "z": "zealot", "h": "hydralisk"}
    units: list[str] = []
    count = ""
    for letter in map_.partition("_")[0]:
        if letter.isdigit():
            count += letter
        elif letter in names and count:
            units += [names[letter]] * int(count)
            count = ""
    return units if len(units) == agents else [""] * agents


def _has_densities(result: Result) -> bool:
    return bool(result.diagnostics) and result.diagnostics[0].get("density_per_agent") is not None


def _png(draw: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        return path.read_bytes()
