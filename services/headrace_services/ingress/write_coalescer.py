"""Answers of one turn of the event loop, written back to back at its end.

A write wakes who waits for it. Between two answers the ingress has ten microseconds of other work,
in which a client of many connections has taken the first and sleeps again, so that each write pays
for a wake of its own. At the end of the turn they follow one another before it sleeps.
"""

from __future__ import annotations

import asyncio


class WriteCoalescer:
    """What waits for the end of this turn. Whoever writes or closes otherwise flushes before."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []

    def add(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write it when all that is to be done in this turn is done."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Write it now, behind what waits."""
        self.flush()
        transport.write(data)

    def flush(self) -> None:
        """Write what waits now, save to clients that have gone meanwhile."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
