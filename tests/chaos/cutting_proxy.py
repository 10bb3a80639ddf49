"""A TCP proxy before a NATS server: knows clients by name, cuts them off, tampers with answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from headrace_bus.wire.batch import couple, uncouple
from headrace_bus.wire.envelope import Answer, AnswerKind, decode_answer, encode_answer

_CONNECT = re.compile(rb"CONNECT (\{.*?\})\r\n")
_PUBLISH = re.compile(rb"PUB (_INBOX_ingress\S*) +(?:(\S+) )?(\d+)\r\n")
MAX_CONNECT_BYTES = 64 * 1024


class Tamper(StrEnum):
    """What is done to an answer on its way from a scorer to an ingress."""

    NOTHING = "nothing"
    DROP = "drop"
    SWAP = "swap"  # under its own request id it carries the body of the answer before it


class Way(StrEnum):
    UP = "up"  # from the client to the server
    DOWN = "down"


class Switch:
    """Which clients are cut off, and which answers are tampered with; shared by all proxies."""

    def __init__(self, tamper: Tamper = Tamper.NOTHING, one_in: int = 1000) -> None:
        self.links: set[Link] = set()
        self.tamper = tamper
        self.tampered = 0
        self._one_in = one_in
        self._answers = 0
        self._before = b""
        self._held: dict[tuple[str, Way], asyncio.Event] = {}

    @property
    def names(self) -> set[str]:
        """Of clients that are connected, as NATS' CONNECT has them."""
        return {link.name for link in self.links if link.name}

    def end(self, name: str) -> None:
        """End the client's connection; what a cut holds back is lost."""
        for link in self.links:
            if link.name == name:
                link.end()

    def cut(self, name: str, ways: Iterable[Way] = tuple(Way)) -> None:
        for way in ways:
            self._held[name, way] = asyncio.Event()

    def heal(self, name: str) -> None:
        for way in Way:
            if (held := self._held.pop((name, way), None)) is not None:
                held.set()

    async def passes(self, name: str, way: Way) -> None:
        """Return when the client is not, or no longer, cut off."""
        while (held := self._held.get((name, way))) is not None:
            await held.wait()

    def tampered_with(self, data: bytes) -> bytes:
        """With each `one_in`-th answer dropped or swapped, as far as answers lie whole in it."""
        made, at = bytearray(), 0
        while (found := _PUBLISH.search(data, at)) is not None:
            end = found.end() + int(found[3]) + 2
            made += data[at : found.start()]
            if end <= len(data):
                made += self._passed(found[1], data[found.end() : end - 2])
            else:
                made += data[found.start() :]
            at = end
        return bytes(made + data[at:])

    def _passed(self, subject: bytes, message: bytes) -> bytes:
        """One whole message as it goes on: an answer, or several of one turn; b"" for none left."""
        answers = [self._changed(decode_answer(one)) for one in uncouple(message)]
        left = [encode_answer(one) for one in answers if one is not None]
        if not left:
            return b""
        payload = couple(left)
        return b"PUB %b  %d\r\n%b\r\n" % (subject, len(payload), payload)

    def _changed(self, answer: Answer) -> Answer | None:
        """The answer as it goes on, None for a dropped one."""
        if answer.kind != AnswerKind.DONE:
            return answer
        before, self._before = self._before, answer.body
        self._answers += 1
        if self._answers % self._one_in:
            return answer
        self.tampered += 1
        return None if self.tamper is Tamper.DROP else answer._replace(body=before)


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
        link = Link(self._switch)
        self._switch.links.add(link)
        try:
            await link.run((reader, writer), there)
        finally:
            self._switch.links.discard(link)
            writer.close()
            there[1].close()


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One client's connection."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.name = ""
        self._head = bytearray()
        self._ways: list[asyncio.Task[None]] = []

    async def run(self, client: Side, server: Side) -> None:
        """Until either side, or `end`, ends it."""
        self._ways = [
            asyncio.create_task(self._up(client[0], server[1]), name="up"),
            asyncio.create_task(self._down(server[0], client[1]), name="down"),
        ]
        try:
            await asyncio.wait(self._ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.end()
            await asyncio.gather(*self._ways, return_exceptions=True)

    def end(self) -> None:
        for way in self._ways:
            way.cancel()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            if not self.name:
                self._learn(data)
            await self._switch.passes(self.name, Way.UP)
            if self._switch.tamper is not Tamper.NOTHING and self.name.startswith("inst:"):
                data = self._switch.tampered_with(data)
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            await self._switch.passes(self.name, Way.DOWN)
            writer.write(data)
            await writer.drain()

    def _learn(self, data: bytes) -> None:
        self._head += data[:MAX_CONNECT_BYTES]
        if (found := _CONNECT.search(self._head)) is not None:
            self.name = str(json.loads(found[1]).get("name") or "?")


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(256 * 1024)
    except OSError:
        return b""
