"""A head that comes again is taken by its bytes, and still judged as if it were read anew."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from headrace_services.ingress.app import Listening
from support.ingress_world import BOUND_S, KEY, World, make_route


def head(size: int, *lines: str) -> bytes:
    fields = ["Host: x", f"Authorization: Bearer {KEY}", f"Content-Length: {size}", *lines]
    return ("POST /endpoints/houses/score HTTP/1.1\r\n" + "\r\n".join(fields) + "\r\n\r\n").encode()


class Client:
    """One connection, raw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(BOUND_S):
            first = await self._reader.readuntil(b"\r\n\r\n")
            lines = first.decode().lower().split("\r\n")
            size = next(line for line in lines if line.startswith("content-length:"))
            body = await self._reader.readexactly(int(size.split(":")[1]))
        return int(lines[0].split()[1]), body

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        self.writer.write(data)
        return await self.answer()


@pytest.fixture
async def listening(world: World) -> Listening:
    listening = await world.ingress(max_body_bytes=1000)
    await world.route(make_route())
    await world.instance()
    return listening


@pytest.fixture
async def client(listening: Listening) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    yield Client(reader, writer)
    writer.close()
    await writer.wait_closed()


async def test_each_request_has_its_own_body_and_id(client: Client, world: World) -> None:
    for body in (b"one", b"two", b"six"):
        assert await client.ask(head(3) + body) == (200, body)

    seen = world.instances[0].seen
    assert len({request.request_id for request in seen}) == 3
    assert [dict(one.headers)["x-request-id"] for one in seen] == [one.request_id for one in seen]


async def test_other_sizes_pieces_and_pipelines_are_read_as_ever(client: Client) -> None:
    assert await client.ask(head(3) + b"one") == (200, b"one")
    assert await client.ask(head(3) + b"two") == (200, b"two")

    client.writer.write(head(3) + b"th")
    await client.writer.drain()
    assert await client.ask(b"e") == (200, b"the")
    assert await client.ask(head(5) + b"other") == (200, b"other")
    client.writer.write(head(3) + b"six" + head(3) + b"ten")
    assert [await client.answer(), await client.answer()] == [(200, b"six"), (200, b"ten")]
    assert await client.ask(head(3, "X-A: b") + b"new") == (200, b"new")


async def test_a_key_that_is_taken_back_counts_no_more(client: Client, world: World) -> None:
    for _ in range(2):
        assert await client.ask(head(3) + b"one") == (200, b"one")

    await world.route(dataclasses.replace(make_route(), key_digests=("0" * 64,)))
    status, _ = await client.ask(head(3) + b"one")
    assert status == 401


async def test_an_endpoint_that_is_made_again_serves_who_asked_while_it_was_gone(
    client: Client, world: World
) -> None:
    for _ in range(2):
        assert await client.ask(head(3) + b"one") == (200, b"one")

    await world.unroute("houses")
    for _ in range(2):
        status, body = await client.ask(head(3) + b"one")
        assert (status, b"EndpointNotFound" in body) == (404, True)
    await world.route(make_route())
    assert await client.ask(head(3) + b"one") == (200, b"one")


async def test_a_body_may_look_like_the_head(client: Client) -> None:
    inner = head(3) + b"one"
    assert await client.ask(head(3) + b"one") == (200, b"one")
    assert await client.ask(head(len(inner)) + inner) == (200, inner)
    assert await client.ask(head(len(inner)) + inner) == (200, inner)
