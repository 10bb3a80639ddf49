"""Slow, large, malformed and smuggling clients get a clear error and take nothing with them."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from headrace_services.ingress import answering
from headrace_services.ingress.app import Listening
from headrace_services.ingress.exchange import Exchange
from support.ingress_world import BOUND_S, KEY, World, make_route

HEAD = (
    f"POST /endpoints/houses/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
).encode()


async def say(listening: Listening, *parts: bytes) -> bytes:
    """Send raw bytes and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    try:
        async with asyncio.timeout(BOUND_S):
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def listening(world: World) -> Listening:
    listening = await world.ingress(max_body_bytes=1000)
    await world.route(make_route())
    await world.instance()
    return listening


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"400"),
        (b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", b"400"),
        (b"Content-Length: -5\r\n\r\n", b"400"),
        (b"Content-Length: 70000\r\n\r\n" + b"x" * 1000, b"413"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n", b"413"),
        (b"X-Big: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
        (b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n", b"431"),
    ],
)
async def test_what_cannot_be_served_is_refused_and_closed(
    listening: Listening, sent: bytes, status: bytes
) -> None:
    answer = await say(listening, HEAD + sent)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'{"error": {"code": ' in answer


async def test_a_head_that_never_ends_is_refused_by_its_size(listening: Listening) -> None:
    parts = [HEAD + b"X-Endless: "] + [b"x" * 8000] * 20
    answer = b""
    try:
        answer = await say(listening, *parts)
    except ConnectionError:
        pytest.skip("the system reset the connection before the answer was read")

    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_slow_head_and_a_slow_body_are_408(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "SLOW_S", 0.2)
    answers = await asyncio.gather(
        say(listening, HEAD), say(listening, HEAD + b"Content-Length: 9\r\n\r\nhalf")
    )

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 408"] * 2


async def test_the_body_of_an_upgrade_reaches_the_model_and_what_follows_too(
    listening: Listening,
) -> None:
    """curl --http2 sends a body so on plain HTTP; the parser would take it for another protocol."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
    sized = HEAD + upgrade + b"Content-Length: 3\r\n\r\n[1]"
    chunked = HEAD + upgrade + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[2]\r\n0\r\n\r\n"
    last = HEAD + upgrade + b"Connection: close\r\nContent-Length: 3\r\n\r\n[3]"
    whole = await say(listening, sized + chunked + sized + last)
    in_bytes = await say(listening, *(b"%c" % one for one in sized + last))

    assert _bodies(whole) == [b"[1]", b"[2]", b"[1]", b"[3]"]
    assert _bodies(in_bytes) == [b"[1]", b"[3]"]


def _bodies(answer: bytes) -> list[bytes]:
    return [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "last",
    [
        b"POST /x HTTP/1.1\r\nBad Name: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n",
        HEAD + b"X-Big: " + b"x" * 40_000 + b"\r\n\r\n",
    ],
    ids=["malformed", "too large", "flood"],
)
async def test_what_was_asked_before_a_request_that_is_refused_is_answered(
    listening: Listening, last: bytes
) -> None:
    slow = b'{"sleep_s": 0.2}'
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    answer = await say(listening, first + HEAD + b"Content-Length: 3\r\n\r\n[1]" + last + first)

    *served, refused = answer.split(b"HTTP/1.1 ")[1:]
    assert _bodies(b"".join(b"HTTP/1.1 " + one for one in served)) == [slow, b"[1]"]
    assert refused.startswith((b"400 ", b"413 ", b"431 "))


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT x:443 HTTP/1.1",
        b"GET /endpoints/houses/score HTTP/2.0",
        b"GET /endpoints/houses/score HTTP/0.9",
    ],
)
async def test_other_protocols_are_refused(listening: Listening, line: bytes) -> None:
    answer = await say(listening, line + HEAD[HEAD.index(b"\r\n") :] + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_pipelined_requests_are_answered_in_order(listening: Listening) -> None:
    one = HEAD + b"Content-Length: 3\r\n\r\n"
    last = HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\n"
    slow = b'{"sleep_s": 0.2}'
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    answer = await say(listening, first + one + b"[1]" + one + b"[2]" + last + b"[3]")

    assert _bodies(answer) == [slow, b"[1]", b"[2]", b"[3]"]


async def test_a_client_that_expects_100_gets_it_only_when_its_body_is_wanted(
    listening: Listening,
) -> None:
    expects = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    wanted = await say(listening, HEAD + expects % 3, b"[1]")
    unwanted = await say(listening, HEAD + expects % 5000)

    assert wanted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert unwanted.startswith(b"HTTP/1.1 413")


async def test_head_has_no_body_and_other_methods_reach_the_model(listening: Listening) -> None:
    close = b" /endpoints/houses/score HTTP/1.1\r\nConnection: close\r\nHost: x\r\n"
    key = f"Authorization: Bearer {KEY}\r\n\r\n".encode()
    answers = [
        await say(listening, method + close + key) for method in (b"HEAD", b"PUT", b"OPTIONS")
    ]

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert all(answer.endswith(b"\r\n\r\n") for answer in answers)


async def test_more_connections_than_allowed_are_dropped(world: World) -> None:
    listening = await world.ingress(max_connections=2)
    await world.route(make_route())
    held = [await asyncio.open_connection("127.0.0.1", listening.http_port) for _ in range(2)]
    for _, writer in held:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for reader, _ in held:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    third = b""
    with contextlib.suppress(ConnectionError):
        third = await say(listening, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()

    assert third == b""


CHUNKED = b"POST /endpoints/houses/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = HEAD + b"Content-Length: 2\r\n\r\n{}"
ENDLESS = {
    "a trailer without an end": CHUNKED + b"0\r\nY: ",
    "a trailer after a body with the right key": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nY: ",
    "a chunk line without an end": CHUNKED + b"1;x=",
    "a request line without an end": b"POST /",
    "a head after whole headers": HEAD + b"X-Some: %b\r\n" % (b"y" * 300) * 110 + b"X-Endless: ",
    "a pipelined head without an end": PLAIN * 3 + HEAD + b"X-Endless: ",
}  # fmt: skip


@pytest.mark.parametrize("start", ENDLESS.values(), ids=ENDLESS)
async def test_nothing_without_an_end_is_kept(listening: Listening, start: bytes) -> None:
    """Whatever the parser holds back counts, in every phase; the connection ends soon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    writer.write(start)
    sent = 0
    async with asyncio.timeout(BOUND_S):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof() and sent < 4_000_000:
                writer.write(b"x" * 8_000)
                sent += 8_000
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
    writer.close()
    assert sent < 4_000_000 + 1
    assert reader.at_eof() or reader.exception() is not None


async def test_many_whole_trailers_are_counted(listening: Listening) -> None:
    trailers = b"".join(b"T-%d: %b\r\n" % (n, b"y" * 500) for n in range(200))
    try:
        answer = await say(listening, CHUNKED + b"0\r\n" + trailers)
    except ConnectionError:
        pytest.skip("the system reset the connection before the answer was read")
    assert b" 431 " in answer


async def test_a_trailer_says_nothing_to_the_model_or_to_us(world: World) -> None:
    """RFC 9110 6.5.1: it comes after the key was checked."""
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    trailer = b"X-Forwarded-For: 1\r\nHost: y\r\nx-request-timeout-ms: 1\r\nX-Own: 2\r\n"
    body = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n" + trailer
    answer = await say(listening, HEAD + body + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    (request,) = one.seen
    assert not {"x-forwarded-for", "x-own"} & {name for name, _ in request.headers}
    assert dict(request.headers).get("host", "x") == "x"


async def test_a_half_read_body_goes_with_its_connection(world: World) -> None:
    """No parser keeps it until the collector of cycles comes by."""
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
            writer.write(HEAD + b"Content-Length: 4000000\r\n\r\n" + b"x" * 1_000_000)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()
        await world.until(lambda: not _open_bodies())
    finally:
        gc.enable()


def _open_bodies() -> list[Exchange]:
    """Exchanges of this process that still hold a part of a body."""
    return [one for one in gc.get_objects() if isinstance(one, Exchange) and one.file is not None]
