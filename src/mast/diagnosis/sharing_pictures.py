"""Pictures of agents that share a network: overlap of their neurons, and t-SNE of their hidden features.

Imports no JAX.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.colors import Normalize

from mast.diagnosis.pictures import KINDS, box, canvas

PERPLEXITY = 30


class Features(NamedTuple):
    """What the same observations become in one hidden layer of some agents."""

    layer: str
    agents: Sequence[int]
    values: Float[np.ndarray, "agents observations units"]


def embedded(features: Features) -> Float[np.ndarray, "agents observations 2"]:
    """t-SNE of all agents' features together; the same features, the same places."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    agents, observations, units = features.values.shape
    rows = features.values.reshape(-1, units).astype(np.float64)
    # A few different points only, as an untrained network may give, cannot be embedded by their variance.
    start = "pca" if len(np.unique(rows, axis=0)) > 2 else "random"
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    # So few points need no threads, which wait for each other ten times as long on a busy machine.
    with threadpool_limits(1):
        places = TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(rows)
    return places.reshape(agents, observations, 2)


def apart(features: Features) -> float:
    """How far the agents' features of one observation lie apart, by how far those of one agent do.

    The mean distance between two agents' features of the same observation over that between the features of
    two observations in one agent: 0 under full sharing without an id, about 1 where agents and observations
    differ alike.
    """
    values = features.values.astype(np.float64)

    def mean_distance(points: Float[np.ndarray, "points units"]) -> float:
        square = np.square(points[:, None] - points[None]).sum(-1)
        return float(np.sqrt(square).sum() / max(1, len(points) * (len(points) - 1)))

    between = np.mean([mean_distance(values[:, place]) for place in range(values.shape[1])])
    within = np.mean([mean_distance(each) for each in values])
    return float(between / within) if within > 0 else 0.0


def draw_features(layers: Sequence[Features], names: Sequence[str], path: Path) -> None:
    """t-SNE of hidden features, a panel per layer and a colour per agent (SNP-PS Fig 7).

    Args:
        layers: to draw.
        names: of all agents.
        path: of the PNG.
    """
    side, gap = 300, 40
    size = (40 + len(layers) * (side + gap), side + 130)
    figure = canvas(size, "Hidden features of the same observations, by t-SNE")
    for column, features in enumerate(layers):
        axes = figure.add_axes(box(size, 30 + column * (side + gap), 100, side, side))
        for place, (agent, points) in enumerate(
            zip(features.agents, embedded(features), strict=True)
        ):
            axes.scatter(
                points[:, 0],
                points[:, 1],
                s=9,
                alpha=0.6,
                color=KINDS[place],
                label=names[agent],
                lw=0,
            )
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{features.layer}: apart {apart(features):.2f}", fontsize=9, loc="left")
        for spine in axes.spines.values():
            spine.set(color="#bbbbbb", linewidth=0.7)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="upper left", bbox_to_anchor=(12 / size[0], 1 - 34 / size[1]), ncols=3, fontsize=9,
        frameon=False, markerscale=2, handletextpad=0.2,
    )  # fmt: skip
    figure.savefig(path)


def draw_overlaps(facts: Mapping[str, Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """The share of each agent's neurons that another one has too, a matrix per layer.

    Args:
        facts: by layer, as `mast.watching.sharing.facts_of`.
        names: of the agents.
        path: of the PNG.
    """
    side = max(230, 26 * len(names))
    label = 14 + 7 * max(map(len, names))
    width = label + side + 40
    size = (max(400, 44 + len(facts) * max(width, 330)), side + label + 110)
    figure = canvas(size, "Neurons in common, as a share of the row's")
    lowest = min(np.min(each["overlap"]) for each in facts.values())
    for column, (layer, each) in enumerate(facts.items()):
        x = 12 + column * max(width, 330) + label
        axes = figure.add_axes(box(size, x, 96, side, side))
        matrix = np.asarray(each["overlap"])
        axes.imshow(matrix, cmap="Blues", norm=Normalize(min(0.98, lowest - 0.02), 1))
        for (row, other), share in np.ndenumerate(matrix):
            dark = share > (1 + lowest) / 2
            if len(names) <= 12:
                axes.text(
                    other, row, f"{share:.2f}", size=8, ha="center", va="center",
                    color="white" if dark else "black",
                )  # fmt: skip
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90)
        axes.tick_params(length=0)
        axes.set_title(
            f"{layer}: {each['neurons']} neurons\n{each['of_all']} of all agents, "
            f"{each['of_one']} of one only, {each['of_none']} of none",
            fontsize=9, loc="left",
        )  # fmt: skip
    figure.savefig(path)
