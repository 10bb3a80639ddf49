"""A TCP proxy before a NATS server: knows clients by name, cuts them off, drops answers."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Self

_CONNECT = re.compile(rb"CONNECT (\{.*?\})\r\n")
_PUBLISH = re.compile(rb"PUB (_INBOX_ingress\S*) +(?:(\S+) )?(\d+)\r\n")
MAX_CONNECT_BYTES = 64 * 1024


class Switch:
    """Which clients are cut off; shared by the proxies of a cluster."""

    def __init__(self, drop_one_in: int = 0) -> None:
        self.names: set[str] = set()
        """Of clients that are connected, as NATS' CONNECT has them."""
        self.drop_one_in = drop_one_in
        """Of the answers that scorers send to an ingress; 0 drops none."""
        self.answers = 0
        self._held: dict[str, asyncio.Event] = {}

    def cut(self, name: str) -> None:
        self._held[name] = asyncio.Event()

    def heal(self, name: str) -> None:
        self._held.pop(name).set()

    async def passes(self, name: str) -> None:
        """Return when the client is not, or no longer, cut off."""
        while (held := self._held.get(name)) is not None:
            await held.wait()

    def thinned(self, data: bytes) -> bytes:
        """Without each `drop_one_in`-th answer, as far as answers lie whole in `data`."""
        kept, at = bytearray(), 0
        while (found := _PUBLISH.search(data, at)) is not None:
            end = found.end() + int(found[3]) + 2
            self.answers += 1
            dropped = self.answers % self.drop_one_in == 0 and end <= len(data)
            kept += data[at : found.start()] if dropped else data[at:end]
            at = end
        return bytes(kept + data[at:])


class CuttingProxy:
    """Forwards its own port to a server's."""

    def __init__(self, port: int, switch: Switch) -> None:
        self._target = port
        self._switch = switch
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        link = _Link(self._switch)
        ways = [
            asyncio.create_task(link.up(reader, there[1]), name="up"),
            asyncio.create_task(link.down(there[0], writer), name="down"),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._switch.names.discard(link.name)
            writer.close()
            there[1].close()


class _Link:
    """One client's connection."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.name = ""
        self._head = bytearray()

    async def up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            if not self.name:
                self._learn(data)
            await self._switch.passes(self.name)
            if self._switch.drop_one_in and self.name.startswith("inst:"):
                data = self._switch.thinned(data)
            writer.write(data)
            await writer.drain()

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            await self._switch.passes(self.name)
            writer.write(data)
            await writer.drain()

    def _learn(self, data: bytes) -> None:
        self._head += data[:MAX_CONNECT_BYTES]
        if (found := _CONNECT.search(self._head)) is not None:
            self.name = str(json.loads(found[1]).get("name") or "?")
            self._switch.names.add(self.name)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(256 * 1024)
    except OSError:
        return b""
