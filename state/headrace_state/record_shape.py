"""Whether what JSON gave is what a record's fields are declared to hold. Pure.

Without it a damaged record that still is JSON would be taken for whole, and fail wherever it is
used: in the list of its whole kind, in a collection, in the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, get_args, get_origin, get_type_hints

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


def require_fields(record: Any) -> None:
    """Raises ValueError."""
    kind: Any = type(record)
    for name, hint in _hints(kind).items():
        value = getattr(record, name)
        if not _fits(value, hint):
            raise ValueError(f"{name} is of type {type(value).__name__}")
        if name.endswith(_TIME) and value and datetime.fromisoformat(value).tzinfo is None:
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
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if not name.startswith("_")}


def _fits(value: object, hint: Any) -> bool:
    origin, of = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return True
    if isinstance(value, bool) and origin in (int, float):
        return False
    if not isinstance(value, (int, float) if origin is float else origin):
        return False
    if isinstance(value, dict) and of:
        return all(_fits(one, of[1]) for one in value.values())
    if isinstance(value, tuple) and of[1:] == (...,):
        return all(_fits(one, of[0]) for one in value)
    return True
