"""The HTTP edge against damaged requests: no crash, no 5xx, no byte of another's request."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fuzz.mutate import INPUTS, corpus, inputs
from headrace_services.ingress.app import Listening
from support.ingress_world import AUTH, KEY, World, make_route, running_world, url
from support.nats_server import NatsServer

AT_ONCE = 32
ANSWER_S = 30.0
MARK = re.compile(rb"mark-(\d+)-")
pytestmark = pytest.mark.timeout(60 + INPUTS // 20)


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(nats_server, tmp_path) as one:
        yield one


async def exchange(listening: Listening, data: bytes) -> bytes:
    """Send, end our side, and read until the server ends its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            return await reader.read()
    except (ConnectionError, BrokenPipeError):
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_damaged_requests_hurt_nobody(world: World) -> None:
    listening = await world.ingress(max_body_bytes=10_000)
    await world.route(make_route(max_concurrent=64))
    await world.instance(slots=64)
    seeds = [one.replace(b"{key}", KEY.encode()) for one in corpus("http")]
    todo: Iterator[tuple[int, bytes]] = enumerate(inputs(seeds))
    wrong: list[str] = []

    async def some() -> None:
        for number, data in todo:
            asked = data.replace(b"{mark}", b"mark-%d-" % number)
            answer = await exchange(listening, asked)
            wrong.extend(_wrong(number, asked, answer))

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    assert wrong[:5] == []
    async with world.http.post(url(listening), data=b"mark-after-", headers=AUTH) as response:
        assert response.status == 200, await response.text()


def _wrong(number: int, asked: bytes, answer: bytes) -> list[str]:
    """A status of ours over 499, or a mark that this request did not carry."""
    sent = set(MARK.findall(asked))
    found = [f"{number} got the mark {m!r}" for m in MARK.findall(answer) if m not in sent]
    statuses = re.findall(rb"^HTTP/1\.1 (\d{3})", answer)
    return found + [f"{number}: {one!r} for {asked[:200]!r}" for one in statuses if one >= b"500"]
