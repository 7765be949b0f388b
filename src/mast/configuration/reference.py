"""What each setting was when results were first stored: the meaning of a record that does not name it."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def reference_settings() -> dict[str, Any]:
    """Each setting's value before it could be chosen, or as it was when results were first stored.

    A setting that is added later stands here with the value that changes nothing, so that runs and results
    from before it mean what they meant, whatever its default.
    """
    text = resources.files("mast").joinpath("configuration/reference.json")
    return dict(json.loads(text.read_text(encoding="utf-8")))
