"""Groups of a study that differ only in settings that their runs do not read. Imports no JAX."""

from __future__ import annotations

import json
from collections.abc import Iterable

from mast.configuration.idle import unread_settings
from mast.studies.groups import Group
from mast.studies.protocol import identity


def same_runs(groups: Iterable[Group]) -> list[str]:
    """What to tell about groups that are the same runs twice, one line for each that follows another.

    Args:
        groups: of a study, with or without results.
    """
    seen: dict[str, Group] = {}
    said = []
    for group in groups:
        config = group.config.model_copy(update={"seed": 0})
        reasons = dict(unread_settings(config))
        read = {name: value for name, value in identity(config).items() if name not in reasons}
        first = seen.setdefault(json.dumps(read, sort_keys=True), group)
        names = [name for name in reasons if getattr(first.config, name) != getattr(config, name)]
        if names:
            why = "; ".join(dict.fromkeys(reasons[name] for name in names))
            said.append(
                f"{first.label} and {group.label} on {config.environment} are the same runs: "
                f"no effect of {', '.join(names)}: {why}"
            )
    return said
