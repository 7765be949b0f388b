"""One cell of a study: the settings of one run, and what it is called. Imports no JAX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mast.config import Config
from mast.configuration.text import as_typed
from mast.own_code import in_file_names
from mast.studies.protocol import key_of

SOURCE_PREFIX = "cell:"
"""In a cell, `from_run` is "cell:KEY": the run that it begins with is another cell, wherever it lies."""

PLAIN = "plain"
"""What the arm without a name is called beside others."""


@dataclass(frozen=True)
class Cell:
    """The settings of one run of a study.

    Attributes:
        config: resolved, with one seed.
        given: what the study's file says of them; the run is started with these.
        arm: what this cell is called beside others of the same method ("λ = 0.8"); "" where the method says
            it all.
        source: the cell whose mask or weights it begins with.
        keeps_masks: whether its mask snapshots are results too.
    """

    config: Config
    given: Mapping[str, Any]
    arm: str = ""
    source: Cell | None = field(default=None, repr=False)
    keeps_masks: bool = False

    @cached_property
    def key(self) -> str:
        """The hash of its settings."""
        return key_of(self.config)

    @cached_property
    def group(self) -> str:
        """The hash of its settings without the seed: what cells to take a mean of have in common."""
        seedless: dict[str, Any] = {"seed": 0}
        if self.source is not None:
            seedless["from_run"] = SOURCE_PREFIX + self.source.group
        return key_of(self.config.model_copy(update=seedless))

    @property
    def map(self) -> str:
        """The environment's short name: 3m, or the class of one's own."""
        return re.split(r"[/:]", self.config.environment)[-1]

    @property
    def density_name(self) -> str:
        """The method with its sparsity in percent: mast95, dense."""
        config = self.config
        always_dense = config.stays_dense and config.widths == "full"
        return config.method + ("" if always_dense else f"{100 * config.sparsity:g}")

    @property
    def name(self) -> str:
        """What people and files call it: 3m-qmix-mast95-s0-1a2b3c4d."""
        return f"{self.called}-{self.key}"

    @property
    def called(self) -> str:
        """Its name without the hash; no two cells of a study share it."""
        parts = [self.map, in_file_names(self.config.algorithm), self.density_name]
        if self.arm:
            parts.append(_plain(self.arm))
        return "-".join([*parts, f"s{self.config.seed}"])

    def value(self, name: str) -> str:
        """What `--only NAME=…` compares: a setting, or `map` or `arm`, as text."""
        if name == "arm":
            return self.arm or PLAIN
        if name == "map":
            return self.map
        return as_typed(name, getattr(self.config, name))


def _plain(text: str) -> str:
    """A label as part of a file's name."""
    for letter, name in {"λ": "lambda", "ω": "omega", "α": "alpha", "Δ": "delta"}.items():
        text = text.replace(letter, name)
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_").lower()
