"""Time, in one place: wall clock for what crosses processes, monotonic for what is measured."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def unix_ms() -> int:
    """Milliseconds since the epoch, for deadlines and epochs on the wire."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds that only grow, for durations inside one process."""
    return time.monotonic()


def timestamp() -> str:
    """Now in UTC as ISO-8601 with a `Z`, as ARM bodies and records carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
