"""A head is judged by the letter of RFC 9110 and 9112 before anything is done for it."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from headrace_services.ingress.app import Listening
from headrace_services.ingress.heads import normal_path
from support.ingress_world import BOUND_S, KEY, World, make_route

AUTH = f"Authorization: Bearer {KEY}"
POST = "POST /endpoints/houses/score HTTP/1.1"
GOOD = (POST, "Host: x", AUTH)
CLOSE = "Connection: close"
# What is wrong, the lines of the head, and the status of the answer.
HEADS = {
    "nothing": (GOOD, 200),
    "no host": ((POST, AUTH), 400),
    "no host in HTTP/1.0": ((POST.replace("1.1", "1.0"), AUTH), 200),
    "an empty host": ((POST, "Host:", AUTH), 200),
    "an address as host": ((POST, "Host: [::1]:443", AUTH), 200),
    "two hosts": ((*GOOD, "Host: x"), 400),
    "a host of two words": ((POST, "Host: a b", AUTH), 400),
    "a host with a path": ((POST, "Host: a/b", AUTH), 400),
    "two credentials": ((*GOOD, "Authorization: Bearer wrong"), 400),
    "two deployments": ((*GOOD, *["azureml-model-deployment: blue"] * 2), 400),
    "two of another header": ((*GOOD, "X-A: 1", "X-A: 2"), 200),
    "an unknown expectation": ((*GOOD, "Expect: foo"), 417),
    "one more expectation": ((*GOOD, "Expect: 100-continue, foo"), 417),
    "an expectation in HTTP/1.0": ((POST.replace("1.1", "1.0"), AUTH, "Expect: 100-continue"), 200),
    "an escaped letter": ((POST.replace("/score", "/%73core"), *GOOD[1:]), 200),
    "an escaped slash": ((POST.replace("/score", "%2Fscore"), *GOOD[1:]), 404),
    "raw bytes in the query": ((POST.replace("/score", "/score?q=\xe9"), *GOOD[1:]), 400),
    "a page by another name": (("GET /metrics HTTP/1.1", "Host: evil.example"), 403),
    "health by another name": (("GET /healthz HTTP/1.1", "Host: evil.example:80"), 403),
    "a page without a name": (("GET /metrics HTTP/1.0",), 403),
    "a page by address": (("GET /metrics HTTP/1.1", "Host: 127.0.0.1:80"), 200),
    "a page by name": (("GET /readyz HTTP/1.1", "Host: LOCALHOST"), 200),
}


async def ask(listening: Listening, head: tuple[str, ...], body: bytes = b"{}") -> bytes:
    """Say one request and that it is the last; returns all that comes."""
    sized = (*head, CLOSE, f"Content-Length: {len(body)}", "", "")
    if head[0].startswith("GET"):
        sized, body = (*head, CLOSE, "", ""), b""
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    async with asyncio.timeout(BOUND_S):
        writer.write("\r\n".join(sized).encode("latin-1") + body)
        found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return found


@pytest.fixture
async def listening(world: World) -> Listening:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    return listening


async def test_a_head_is_served_or_refused_as_the_standard_says(listening: Listening) -> None:
    found = {
        name: (await ask(listening, head)).partition(b"\r\n")[0].decode()
        for name, (head, _) in HEADS.items()
    }
    wanted = {name: f"HTTP/1.1 {status}" for name, (_, status) in HEADS.items()}
    assert {name: line[:12] for name, line in found.items()} == wanted


async def test_a_compressed_body_is_refused_and_the_client_told_why(listening: Listening) -> None:
    packed = gzip.compress(b"{}")
    refused = await ask(listening, (*GOOD, "Content-Encoding: gzip"), packed)
    unknown = await ask(listening, (POST, "Host: x", "Content-Encoding: gzip"), packed)
    plain = await ask(listening, (*GOOD, "Content-Encoding: identity"))
    empty = await ask(listening, (*GOOD, "Content-Encoding: gzip"), b"")

    assert refused.startswith(b"HTTP/1.1 415 ")
    assert b"accept-encoding: identity\r\n" in refused
    assert b"'gzip' is not supported" in refused
    assert unknown.startswith(b"HTTP/1.1 401 ")
    assert plain.startswith(b"HTTP/1.1 200 ")
    assert empty.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_says_no_more_is_answered(listening: Listening) -> None:
    """It shut its direction down after two requests of which the first takes its time."""
    slow = b'{"sleep_s": 0.3}'
    head = "\r\n".join((*GOOD, "Content-Length: %d", "", "")).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    writer.write(head % len(slow) + slow + head % 2 + b"[]")
    writer.write_eof()
    async with asyncio.timeout(BOUND_S):
        found = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert found.count(b"HTTP/1.1 200 ") == 2
    assert found.endswith(b"\r\n\r\n[]")


async def test_a_refusal_that_waited_its_turn_is_read_whatever_still_comes(
    listening: Listening,
) -> None:
    """Closing with unread bytes would reset the connection and take the refusal with it."""
    slow = b'{"sleep_s": 0.1}'
    head = "\r\n".join((*GOOD, "Content-Length: %d", "", "")).encode()
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
        writer.write(head % len(slow) + slow + b"not HTTP\r\n\r\n")
        found = b""
        async with asyncio.timeout(BOUND_S):
            while b" 400 " not in found and (piece := await reader.read(1)):
                found += piece
                writer.write(b"x" * 5_000)
            found += await reader.read()
        writer.close()
        assert found.count(b"HTTP/1.1 ") == 2
        assert found.endswith(b"}}")


def test_only_what_needs_no_escape_is_unescaped() -> None:
    for code in range(256):
        one = bytes((code,))
        plain = one.isalnum() or one in (b"-", b".", b"_", b"~")
        for escaped in (b"%%%02x" % code, b"%%%02X" % code):
            assert normal_path(b"/" + escaped) == b"/" + (one if plain else escaped)
