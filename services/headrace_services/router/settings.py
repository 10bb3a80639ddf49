"""What a router is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace_api.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """One router; any number may run, they share the queue group."""

    nats_url: str
    home: Home
    nats_credentials: Path | None = None
    drain_s: float = 30.0
    """What open requests get at a stop."""
