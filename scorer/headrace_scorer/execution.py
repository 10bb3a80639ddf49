"""One request at an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from headrace_bus.wire.envelope import Request


class Large(NamedTuple):
    """An answer that comes in pieces though it is no stream, without its body."""

    status: int
    exec_us: int
    head: bytes


@dataclass(slots=True, kw_only=True)
class Execution:
    """From admission until its slot is free."""

    number: int
    """Its name on the worker's frames; never used twice in a scorer's life."""
    request: Request
    reply: str
    """Where answers go; a mirror's copy is answered without headers and body."""
    deadline_s: float
    """Monotonic; nobody starts it later."""
    sent_s: float = 0.0
    """When a worker got it; 0 while it waits."""
    deaths: int = 0
    """Workers that died with it after it had started."""
    chunks: int = 0
    """Pieces of a streamed answer that have left."""
    large: Large | None = None
    cancelled: bool = False
    overdue: bool = False
    """It has stood by for too long."""
