"""What a client expects before it sends a body: granted, or refused with an end."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.control import ControlClient

BOUND_S = 20.0
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _head(method: bytes, *fields: bytes) -> bytes:
    lines = (method + b" /healthz HTTP/1.1", b"Host: localhost", *fields)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(HIDDEN), b"", b""))


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        (b"GET", (b"Expect: 200-ok",), 417),
        (b"CONNECT", (b"Expect: 200-ok",), 417),
        (b"CONNECT", (b"Connection: keep-alive",), 400),
        (b"GET", (b"Expect: 200-ok", b"Upgrade: h2c", b"Connection: Upgrade"), 417),
    ],
)
async def test_what_is_not_known_is_refused_and_its_body_is_no_request(
    control: ControlClient, method: bytes, fields: tuple[bytes, ...], status: int
) -> None:
    reader, writer = await control.connected()
    writer.write(_head(method, *fields) + HIDDEN)

    async with asyncio.timeout(BOUND_S):
        told = await reader.read()  # to the end of the connection
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), told
    assert b"Connection: close" in head
    assert b"Content-Length: %d" % len(body) in head
    assert json.loads(body)["error"]["message"]
    writer.close()


async def test_who_asks_before_sending_is_told_to_go_on(control: ControlClient) -> None:
    reader, writer = await control.connected()
    writer.write(_head(b"GET", b"Expect: 100-Continue"))

    async with asyncio.timeout(BOUND_S):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(HIDDEN + HIDDEN)
        for _ in range(2):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
    writer.close()
