"""What somebody typed."""

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
"""Option → text as typed, or True for a flag; an option that was not typed is absent."""
