"""What types do not say of records: times have a zone, bodies what their kind has. Pure.

Without it a damaged record that still is JSON would be taken for whole, and fail wherever it is
used: in the list of its whole kind, in a collection, in the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, Final

_TIME: Final = "_at"  # how the names of fields end that hold one, or nothing
# Of the ARM body, by the first words of the key; the workspace's own words have no properties.
_WITH_PROPERTIES: Final = ("asset", "asset-container", "catalog", "endpoint", "deployment")
_WORDS: Final = "catalog.workspaces."
_SETTLED: Final = ("asset", "endpoint", "deployment")
"""What holds a table of the user's in `properties.properties`, or none."""
_REQUIRED: Final[Mapping[str, tuple[str, type]]] = {
    "asset.components": ("componentSpec", dict),
    "catalog.datastores": ("containerName", str),
}


def require_times(record: Any) -> None:
    """Times have a zone. Raises ValueError."""
    for name in _times(record.__class__):
        value = getattr(record, name)
        if value and datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"{name} is of no time zone")


def require_body(arm: Mapping[str, Any], key: str) -> None:
    """The ARM body holds what everything of its kind has. Raises ValueError."""
    kind, _, rest = key.removeprefix("applied.").partition(".")
    if kind not in _WITH_PROPERTIES or key.startswith(_WORDS):
        return
    properties = arm.get("properties")
    if not isinstance(properties, dict):
        raise ValueError("it has no properties")
    if kind in _SETTLED and not isinstance(properties.get("properties", {}), dict):
        raise ValueError("properties.properties is no object")
    if kind == "asset" and not isinstance(arm.get("version"), str):
        raise ValueError("it has no version")
    if kind == "asset" and not isinstance(properties.get("build") or {}, dict):
        raise ValueError("properties.build is no object")
    name, wanted = _REQUIRED.get(f"{kind}.{rest.partition('.')[0]}", ("", object))
    if name and not isinstance(properties.get(name), wanted):
        raise ValueError(f"it has no {name}")


@cache
def _times(kind: type) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.name.endswith(_TIME))
