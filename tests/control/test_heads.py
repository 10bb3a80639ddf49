"""What control's port refuses before there is a request: in ARM's words too, and with an end."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.control import ControlClient

BOUND_S = 20.0
LIMIT = 32 * 1024
LINE = b"GET /healthz HTTP/1.1\r\n"
HEAD = LINE + b"Host: localhost\r\n"


async def _told(control: ControlClient, said: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is answered until the connection ends."""
    reader, writer = await control.connected()
    writer.write(said)
    async with asyncio.timeout(BOUND_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


def _of_size(size: int, fields: int) -> bytes:
    """A whole head of that size in about so many equal fields."""
    left = size - len(HEAD) - 2
    each, more = divmod(left, fields)
    sizes = [each + 1] * more + [each] * (fields - more)
    lines = b"".join(b"X-%02d: " % n + b"x" * (one - 8) + b"\r\n" for n, one in enumerate(sizes))
    return HEAD + lines + b"\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(_of_size(LIMIT + 1, 1), id="one field"),
        pytest.param(_of_size(LIMIT + 1, 20), id="all fields"),
        pytest.param(_of_size(LIMIT + 9000, 1), id="one field alone"),
        pytest.param(HEAD + b"X: " + b"x" * (LIMIT + 9000), id="a field without an end"),
        pytest.param(b"GET /" + b"x" * (LIMIT + 9) + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="path"),
        pytest.param(HEAD + b"X: y\r\n" * 200 + b"\r\n", id="count"),
    ],
)
async def test_a_head_past_the_limit_is_431_in_arms_words(
    control: ControlClient, said: bytes
) -> None:
    head, body = await _told(control, said)

    assert head.startswith(b"HTTP/1.1 431 ") or head.startswith(b"HTTP/1.0 431 "), head
    error = json.loads(body)["error"]
    assert error["code"] == "RequestHeaderFieldsTooLarge"
    assert error["target"]
    assert "32 KiB" in error["message"]


@pytest.mark.parametrize("fields", [1, 20])
async def test_a_head_at_the_limit_is_read(control: ControlClient, fields: int) -> None:
    said = _of_size(LIMIT, fields)
    assert len(said) == LIMIT

    reader, writer = await control.connected()
    writer.write(said)
    async with asyncio.timeout(BOUND_S):
        assert b" 200 " in await reader.readuntil(b"\r\n")
    writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        HEAD + b"Bad Name: x\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        LINE + b"Host: a\r\nHost: b\r\n\r\n",
    ],
    ids=["no HTTP", "name", "length", "version", "two hosts"],
)
async def test_what_is_no_http_is_refused_in_arms_words(
    control: ControlClient, said: bytes
) -> None:
    head, body = await _told(control, said)

    assert head.split(b" ")[1] == b"400", head
    assert b"application/json" in head
    error = json.loads(body)["error"]
    assert error["code"] == "BadArgument"
    assert error["target"]


async def test_a_head_that_goes_on_and_on_is_answered_and_ended(control: ControlClient) -> None:
    head, body = await _told(control, HEAD + b"X: " + b"x" * (64 * LIMIT))

    assert b" 431 " in head
    assert json.loads(body)["error"]["code"] == "RequestHeaderFieldsTooLarge"


async def test_what_was_asked_before_a_head_too_large_is_answered(control: ControlClient) -> None:
    head, rest = await _told(control, HEAD + b"\r\n" + _of_size(LIMIT + 1, 20) + HEAD + b"\r\n")

    assert b" 200 " in head
    assert rest.count(b"HTTP/1.1 431 ") == 1
    assert b" 200 " not in rest


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(LINE + b"\r\n", id="no host"),
        pytest.param(HEAD + b"Host: other\r\n\r\n", id="two hosts"),
        pytest.param(HEAD + b"Authorization: a\r\n" * 2 + b"\r\n", id="two credentials"),
        pytest.param(HEAD.replace(b"healthz", b"healthz?q=\xe9") + b"\r\n", id="raw bytes"),
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_400_and_the_last(
    control: ControlClient, said: bytes
) -> None:
    head, body = await _told(control, said)

    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), head
    assert json.loads(body)["error"]["message"]
