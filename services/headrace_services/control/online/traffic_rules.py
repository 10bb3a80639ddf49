"""When a deployment may go, by the traffic table of its endpoint (azure_behaviour.md 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace_api.errors import Conflict


def require_no_traffic(deployment: str, properties: Mapping[str, Any]) -> None:
    """Raises Conflict while the endpoint sends a deployment live or mirrored traffic."""
    for table, words in (("traffic", "live traffic"), ("mirrorTraffic", "mirrored traffic")):
        percent = properties.get(table, {}).get(deployment, 0)
        if percent:
            raise Conflict(
                f"deployment {deployment!r} has {percent} % of the {words} and cannot be deleted",
                hint="set its percentage to 0 first",
                target=f"properties.{table}",
            )
