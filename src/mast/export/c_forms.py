"""The flash that each way to store a team's weights takes, compiled for size on this machine."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mast.export.c_build import flash_bytes
from mast.export.c_source import c_source
from mast.export.network import AnyNetwork

BY_LAYER = "by layer"
"""The default: a form for each layer by its density and size."""
FORMS: tuple[tuple[str, str | None, bool], ...] = (
    (BY_LAYER, None, False),
    ("dense", "dense", False),
    ("unrolled", "unrolled", False),
    ("blocked", "blocked", False),
    ("pattern", "pattern", False),
    ("int8 by layer", None, True),
    ("int8 dense", "dense", True),
    ("int8 blocked", "blocked", True),
)
"""What it is called, the form of every layer, and whether weights are rounded to 8 bits."""
MOST_UNROLLED = 20_000
"""Weights; of more, a statement each takes compilers minutes."""


def flash_by_form(
    compiler: str, networks: Sequence[AnyNetwork], agents: int
) -> dict[str, int | None]:
    """The bytes of code and constants of each form, the same team each time.

    Args:
        compiler: its path.
        networks: one for all agents, or one each, without dead neurons.
        agents: how many there are.

    Returns:
        by the names of `FORMS`; None where the machine has no `size`. Left out are unrolled for large teams,
        and pattern where that by layer is the same.
    """
    weights = sum(network.weights for network in networks)
    found: dict[str, int | None] = {}
    by_layer: object = None
    with tempfile.TemporaryDirectory() as folder:
        for name, form, int8 in FORMS:
            if form == "unrolled" and weights > MOST_UNROLLED:
                continue
            source = c_source(networks, agents, "measured", "mast", form, int8)
            if form is None and not int8:
                by_layer = source.forms
            elif form == "pattern" and source.forms == by_layer:
                continue
            for file, text in source.files.items():
                Path(folder, file).write_text(text, encoding="utf-8")
            found[name] = flash_bytes(compiler, Path(folder, "mast_agent.c"))
    return found


def smallest(flash: dict[str, int | None], int8: bool) -> str | None:
    """The form that takes the least flash among those of one precision; None where it is that by layer.

    Args:
        flash: of each form.
        int8: whether weights are 8-bit.
    """
    known = {
        form: flash[name]
        for name, form, rounds in FORMS
        if rounds == int8 and flash.get(name) is not None
    }
    return min(known, key=lambda form: known[form] or 0) if known else None
