"""Answers that wait for the end of the turn: in order, and none is lost by an end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop

from headrace_services.ingress.answering import Answering
from headrace_services.ingress.connection import Connection
from headrace_services.ingress.exchange import Exchange, Reply
from headrace_services.ingress.write_coalescer import WriteCoalescer

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n%b"


class Edge:
    """Answers each request with its body, then does what the test wants in the same turn."""

    def __init__(self, afterwards: Callable[[Answering], None]) -> None:
        self.now = 0.0
        self.coalescer = WriteCoalescer(asyncio.get_running_loop())
        self._afterwards = afterwards

    def check(self, exchange: Exchange) -> Reply | None:
        exchange.limit_bytes = 10
        return None

    recheck = check

    def handle(self, exchange: Exchange) -> None:
        exchange.connection.reply(exchange, Reply(200, "", exchange.body))
        self._afterwards(cast("Answering", exchange.connection))

    def gone(self, exchange: Exchange) -> None: ...

    def opened(self, connection: Answering) -> bool:
        return True

    def closed(self, connection: Answering) -> None: ...


@asynccontextmanager
async def client(edge: Edge) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(edge), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
    finally:
        server.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., object]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(main: object) -> object:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)  # type: ignore[arg-type]

    return run


def nothing(_: Answering) -> None: ...


def test_what_is_written_otherwise_comes_behind_what_waits(run: Callable[..., object]) -> None:
    async def main() -> bytes:
        edge = Edge(lambda connection: edge.coalescer.write(connection._transport, b"behind"))
        async with client(edge) as (reader, writer):
            writer.write(REQUEST % b"x")
            return await reader.readuntil(b"behind")

    answer = run(main())
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nxbehind")


@pytest.mark.parametrize(
    "end", [Connection.drain, Connection.eof_received], ids=["drained", "client ended"]
)
def test_an_end_in_the_same_turn_loses_no_answer(
    run: Callable[..., object], end: Callable[[Answering], None]
) -> None:
    def ending(connection: Answering) -> None:
        end(connection)
        connection._transport.close()

    async def main() -> bytes:
        async with client(Edge(ending)) as (reader, writer):
            writer.write(REQUEST % b"x")
            return await reader.read()

    answer = run(main())
    assert isinstance(answer, bytes)
    assert answer.endswith(b"\r\n\r\nx")


def test_one_client_that_has_gone_takes_no_answer_of_another_with_it(
    run: Callable[..., object],
) -> None:
    async def main() -> bytes:
        coalescer = WriteCoalescer(asyncio.get_running_loop())
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(2)]
        gone, stays = [
            (await loop.create_connection(asyncio.Protocol, sock=ours))[0] for ours, _ in pairs
        ]
        gone.abort()  # it is closed before the end of the turn
        coalescer.add(gone, b"never read")
        coalescer.add(stays, b"read")
        pairs[1][1].setblocking(False)
        await asyncio.sleep(0)  # the end of the turn
        try:
            return pairs[1][1].recv(100)
        finally:
            stays.close()
            for _, theirs in pairs:
                theirs.close()

    assert run(main()) == b"read"


def test_pipelined_requests_are_answered_in_order(run: Callable[..., object]) -> None:
    async def main() -> bytes:
        async with client(Edge(nothing)) as (reader, writer):
            writer.write(b"".join(REQUEST % b"%d" % n for n in range(5)) + b"no HTTP\r\n\r\n")
            return await reader.read()

    answer = run(main())
    assert isinstance(answer, bytes)
    bodies = [part[:1] for part in answer.split(b"\r\n\r\n")[1:6]]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert answer.count(b"HTTP/1.1 400") == 1
