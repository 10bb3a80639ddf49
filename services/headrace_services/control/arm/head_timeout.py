"""Connections that never finish the head of a first request: the HTTP library waits for ever.

After a first answer its own clock closes an idle connection, half a head or none.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

HEAD_TIMEOUT_S: Final = 10.0
LOOK_S: Final = 2.0


class HeadTimeout:
    """Who has asked something, and since when the others are there."""

    def __init__(self, *, timeout_s: float = HEAD_TIMEOUT_S, look_s: float = LOOK_S) -> None:
        self._timeout_s = timeout_s
        self._look_s = look_s
        self._spoke: set[RequestHandler] = set()
        self._since_s: dict[RequestHandler, float] = {}

    @web.middleware
    async def hear(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A head is complete."""
        self._spoke.add(request.protocol)
        return await handler(request)

    async def end_forever(self, server: web.Server) -> None:
        """Close whoever is silent for longer than the timeout, look after look."""
        while True:
            self._look(server.connections, time.monotonic())
            await asyncio.sleep(self._look_s)

    def _look(self, connections: list[RequestHandler], now_s: float) -> None:
        self._spoke.intersection_update(connections)
        silent = [one for one in connections if one not in self._spoke]
        self._since_s = {one: self._since_s.get(one, now_s) for one in silent}
        for one, since_s in self._since_s.items():
            if now_s - since_s > self._timeout_s:
                one.force_close()
