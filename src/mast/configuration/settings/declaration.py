"""How one setting is declared."""

from typing import Any

from pydantic import Field


def setting(default: Any, group: str, description: str, source: str, **bounds: Any) -> Any:
    """A field with its meaning, its group in the help, and where its default is from.

    Args:
        default: `...` where there is none.
        group: heading under which the help lists it.
        description: what it means, in one line.
        source: paper, table or code of the default.
        bounds: `ge`, `gt`, `le`, `lt`.
    """
    extra: dict[str, Any] = {"group": group, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)
