"""The page of `mast watch`: everything in one HTML file, which asks the network for nothing."""

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mast.envs.scene import Scene
from mast.files import made_whole
from mast.watching.episodes import Shown

DIGITS = 4
"""Of the numbers in the page."""


def write_page(out: Path, about: Mapping[str, Any], shown: Sequence[Shown]) -> None:
    """Write episodes as a page.

    Args:
        out: the file.
        about: facts of environment and policy, see `mast.watching.run`.
        shown: the episodes.

    Raises:
        UserError: it cannot be written.
    """
    data = dict(about) | {"episodes": [_episode(each) for each in shown]}
    # No text in the data may end the script element, whatever an environment calls its agents.
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    template = files("mast.watching").joinpath("page.html").read_text(encoding="utf-8")
    head, tail = template.split("@data@")
    head = head.replace("@title@", html.escape(f"Mast: {about['environment']}"))
    with made_whole(out) as partial:
        partial.write_text(head + text + tail, encoding="utf-8")


def _episode(shown: Shown) -> dict[str, Any]:
    """One episode; the value of an action that was not available is null."""
    q = np.where(shown.available, shown.q, np.nan)
    return {
        "outcome": shown.outcome,
        "total": shown.total,
        "action": shown.action.tolist(),
        "q": _numbers(q),
        "q_tot": None if shown.q_tot is None else _numbers(shown.q_tot),
        "to_come": _numbers(shown.to_come),
        "reward": _numbers(shown.reward),
        "scene": None if shown.scene is None else _scene(shown.scene),
    }


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "x_range": scene.x_range,
        "y_range": scene.y_range,
        "names": scene.names,
        "kinds": scene.kinds,
        "side": scene.side,
        "radius": scene.radius,
        "position": _numbers(scene.position),
        "health": None if scene.health is None else _numbers(scene.health),
        "flies": scene.flies,
        "beam": scene.beam,
        "target": None if scene.target is None else scene.target.tolist(),
        "labels": scene.labels,
        "present": None if scene.present is None else scene.present.tolist(),
        "cells": scene.cells,
    }


def _numbers(array: np.ndarray) -> Any:
    """As nested lists, rounded, NaN as null."""
    exact = np.asarray(array, np.float64)
    rounded = np.round(exact, DIGITS).astype(object)
    rounded[~np.isfinite(exact)] = None
    return rounded.tolist()
