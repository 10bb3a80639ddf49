"""Connections never take all the files a process may have open, and none is kept for nothing."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from aiohttp import web

from headrace_api.home import Home
from headrace_services import listening, open_files
from headrace_services.certificates import ensure_certificates
from headrace_services.control import listeners
from headrace_services.ingress import answering
from support import limits
from support.ingress_world import BOUND_S, World

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def connected(stack: AsyncExitStack, port: int | None) -> asyncio.StreamReader:
    """A plain TCP connection that says nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    return reader


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side ended it, which it must."""
    with suppress(ConnectionError):
        async with asyncio.timeout(BOUND_S):
            return await reader.read()
    return b""


def test_the_soft_limit_is_raised_and_connections_get_their_share() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limits.open_files(256):
        assert open_files.share(1 / 4, 1024) == 64
        assert open_files.share(1 / 4, 10) == 10
        assert open_files.share(1 / 1024, 10) == 1

        open_files.raise_limit()

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == (open_files.ENOUGH_FILES if hard < 0 else min(hard, open_files.ENOUGH_FILES))


async def test_the_ingress_drops_what_is_past_its_share_also_in_the_handshake(
    world: World,
) -> None:
    with limits.open_files(256):
        where = await world.ingress(port=0)
    most = int(256 * 3 / 8)
    for port in (where.https_port, where.http_port):
        async with AsyncExitStack() as stack:
            held = [await connected(stack, port) for _ in range(most)]
            assert await ended(await connected(stack, port)) == b""
            assert not any(one.at_eof() for one in held)


@pytest.mark.parametrize("tls", [False, True], ids=["console", "API"])
async def test_control_drops_what_is_past_its_share_on_either_port(
    tls: bool, tmp_path: Path
) -> None:
    context = ensure_certificates(Home(tmp_path)).server_context() if tls else None
    listener = listening.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with AsyncExitStack() as stack:
        await listeners.serve(
            stack, web.Application(), listener, drain_s=1, max_connections=3, context=context
        )
        held = [await connected(stack, port) for _ in range(3)]
        assert await ended(await connected(stack, port)) == b""
        assert not any(one.at_eof() for one in held)


async def test_who_never_sends_a_head_or_never_shakes_hands_has_little_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "SLOW_S", 0.2)
    monkeypatch.setattr(listening, "HANDSHAKE_S", 0.2)
    where = await world.ingress(port=0)
    async with AsyncExitStack() as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", where.http_port)
        stack.callback(writer.close)
        writer.write(HEALTH)
        assert b" 200 " in await reader.readline()

        for port in (where.https_port, where.http_port):
            assert await ended(await connected(stack, port)) == b""

        writer.write(HEALTH)
        async with asyncio.timeout(BOUND_S):
            assert await reader.readuntil(b" 200 ")
