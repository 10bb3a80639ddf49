"""How a warning travels on the wire: in `properties.properties`, where every client shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

WARNING: Final = "headrace.warning"


def with_warnings(properties: Mapping[str, Any], lines: Iterable[str]) -> dict[str, Any]:
    """The properties of a resource as a reader sees them; one line for each warning."""
    told = [*lines_of(properties), *lines]
    if not told:
        return dict(properties)
    inner = {**(properties.get("properties") or {}), WARNING: "\n".join(dict.fromkeys(told))}
    return {**properties, "properties": inner}


def without_warnings(properties: Mapping[str, Any]) -> dict[str, Any]:
    """As they are stored: a client sends back what it has read."""
    inner = properties.get("properties")
    if not isinstance(inner, Mapping) or WARNING not in inner:
        return dict(properties)
    return {**properties, "properties": {key: inner[key] for key in inner if key != WARNING}}


def warnings_in(arm: Mapping[str, Any]) -> list[str]:
    """What a resource of the wire warns of."""
    properties = arm.get("properties")
    return lines_of(properties) if isinstance(properties, Mapping) else []


def lines_of(properties: Mapping[str, Any]) -> list[str]:
    """What the properties of a resource warn of."""
    inner = properties.get("properties")
    text = inner.get(WARNING) if isinstance(inner, Mapping) else None
    return text.splitlines() if isinstance(text, str) else []
