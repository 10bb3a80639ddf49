"""Clients that connect and say nothing, or not enough: none keeps its connection for ever."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from headrace_services.control import listeners
from headrace_services.control.arm.head_timeout import HeadTimeout
from support.control import running_control
from support.nats_server import NatsServer

BOUND_S = 20.0
HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half"


@pytest.mark.parametrize("said", [b"", HALF])
async def test_a_head_that_never_ends_is_not_waited_for(
    said: bytes, tmp_path: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it, who has asked once keeps its connection, and a body may take its time."""
    monkeypatch.setattr(listeners, "HeadTimeout", partial(HeadTimeout, timeout_s=1.5, look_s=0.05))
    async with running_control(tmp_path / "home", nats_server.url) as control:
        idle, idle_writer = await control.connected()
        idle_writer.write(HALF + b": 1\r\n\r\n")
        assert b"200" in await idle.readline()
        silent, silent_writer = await control.connected()
        silent_writer.write(said)

        async with asyncio.timeout(BOUND_S):
            assert await silent.read() == b""

        idle_writer.write(HALF + b": 1\r\n\r\n")
        async with asyncio.timeout(BOUND_S):
            told = await idle.readuntil(b"HTTP/1.1 200")
        assert told
        for writer in (idle_writer, silent_writer):
            writer.close()
