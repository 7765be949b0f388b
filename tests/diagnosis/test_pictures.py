"""Pictures: every weight is a square of whole pixels in the right place, whatever the sizes."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mast.diagnosis.pictures import (
    GROWN,
    KEPT,
    Snapshot,
    draw_connections,
    draw_densities,
    draw_masks,
    draw_values,
    in_words,
    sorted_counts,
)

LAYER = "agent.fc1.weight"


def snapshots(shape: tuple[int, ...], count: int, density: float = 0.1) -> list[Snapshot]:
    rng = np.random.default_rng(0)
    return [Snapshot(in_words(k), {LAYER: rng.random(shape) < density}) for k in range(count)]


def coloured(path: Path, colour: str) -> np.ndarray:
    """Where a picture has exactly this colour, [rows, columns]."""
    pixels = np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(int)
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return (pixels == wanted).all(-1)


def test_counts_are_sorted() -> None:
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    assert sorted_counts(mask, 1).tolist() == [3, 2, 0]
    assert sorted_counts(mask, 0).tolist() == [2, 2, 1]


def test_weights_are_where_they_belong(tmp_path: Path) -> None:
    """One weight at output 3, input 1 of 5 × 4; later another one at output 1, input 2."""
    first, second = np.zeros((2, 5, 4), bool)
    first[3, 1] = second[3, 1] = second[1, 2] = True
    path = tmp_path / "masks.png"
    draw_masks([Snapshot("a", {LAYER: first}), Snapshot("b", {LAYER: second})], LAYER, path)
    below_the_legend = 70
    kept = np.argwhere(coloured(path, KEPT)[below_the_legend:])
    grown = np.argwhere(coloured(path, GROWN)[below_the_legend:])
    assert len(grown) == 8 * 8
    assert len(kept) == 2 * 8 * 8
    in_second = kept[kept[:, 1] > kept[:, 1].mean()]
    down, left = in_second.min(0) - grown.min(0)
    assert (down, left) == (2 * 8, -8)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((64, 59), 4), ((192, 64), 3), ((64, 1170), 4), ((864, 64), 2), ((3, 8, 6), 2), ((1, 32), 9)],
)
def test_any_size_is_drawn_within_a_screens_width(
    tmp_path: Path, shape: tuple[int, ...], count: int
) -> None:
    for draw in (draw_masks, draw_connections):
        draw(snapshots(shape, count), LAYER, tmp_path / "picture.png")
        height, width = matplotlib.image.imread(tmp_path / "picture.png").shape[:2]
        assert 400 <= width <= 1500
        assert height >= 100


def test_gates_are_drawn_in_gru_layers(tmp_path: Path) -> None:
    masks = {"agent.gru_hidden.weight": np.eye(12, 4, dtype=bool)}
    draw_masks([Snapshot("now", masks)], "agent.gru_hidden.weight", tmp_path / "gru.png")
    assert (tmp_path / "gru.png").exists()


def test_values_and_densities_are_drawn_also_where_undefined(tmp_path: Path) -> None:
    values = {"q_tot": 1.0, "discounted_return": -2.0}
    nothing = {"q_tot": None, "discounted_return": None}
    records = [
        {"env_steps": 10, "greedy": values, "replayed": nothing, "density_per_agent": [0.1, 0.2]},
        {"env_steps": 20, "greedy": nothing, "replayed": values, "density_per_agent": [0.2, 0.1]},
    ]
    draw_values(records, tmp_path / "values.png")
    draw_values([records[0] | {"greedy": nothing}], tmp_path / "nothing.png")
    draw_densities(records, ("stalker", ""), tmp_path / "density.png")
    assert len(list(tmp_path.iterdir())) == 3
