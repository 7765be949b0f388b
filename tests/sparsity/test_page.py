"""docs/sparsity.md: its programs run as they stand and do what the page says."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mast.sparsity import density

PAGE = Path(__file__).parents[2] / "docs" / "sparsity.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
EQUINOX, DICTIONARIES, PRUNING, NOW_AND_THEN, COMPACT = range(5)


def executed(program: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS[program], f"{PAGE.name}, program {program}", "exec"), names)
    return names


def test_the_page_has_these_programs() -> None:
    assert len(PROGRAMS) == 5


@pytest.mark.parametrize(("program", "share"), [(EQUINOX, 0.1), (DICTIONARIES, 0.2)])
def test_wrapping_ones_own_network(program: int, share: float) -> None:
    names = executed(program)
    variance = float(np.var(names["y"]))
    assert float(names["loss"]) < 0.7 * variance, "it learned more than the mean"
    assert float(density(names["state"])) == pytest.approx(share, abs=0.01)
    assert sum(int(grown) for grown in names["done"].grown.values()) >= 0
    model = names.get("model", names.get("params"))
    zeros = sum(
        int((np.asarray(leaf) == 0).sum())
        for leaf in jax.tree.leaves(model)
        if getattr(leaf, "ndim", 0) == 2
    )
    masks = names["state"].masks.values()
    assert zeros >= sum(int((~np.asarray(mask)).sum()) for mask in masks)


def test_gradual_pruning() -> None:
    names = executed(PRUNING)
    assert int(names["done"].active["kernel"]) == names["final"]["kernel"] == round(0.05 * 64 * 64)


def test_evolving_now_and_then_with_a_pattern() -> None:
    names = executed(NOW_AND_THEN)
    assert names["done"] is not None
    assert names["optimizer"].patterns["kernel"].holds(names["state"].masks["kernel"])


def test_a_network_of_active_weights_only() -> None:
    names = executed(COMPACT)
    assert float(names["loss"]) < 0.7 * float(np.var(names["y"]))
    assert float(density(names["state"])) == pytest.approx(0.1, abs=0.01)
    zeros = sum(int((np.asarray(layer.weight) == 0).sum()) for layer in names["model"].layers)
    assert zeros >= sum(int((~np.asarray(mask)).sum()) for mask in names["state"].masks.values())
