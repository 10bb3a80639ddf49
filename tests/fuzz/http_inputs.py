"""Streams of HTTP requests, most of them good, some as smuggling and flooding use them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fuzz.mutate import SEED, damaged

MAX_REQUESTS: Final = 6
ENDLESS_BYTES: Final = 512 * 1024
Rng = random.Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an edge is asked: where, and with which fields."""

    good: Sequence[tuple[bytes, bytes]]
    """Method and target of requests that are answered with what they carry; `%b` is a mark."""
    other: Sequence[bytes]
    """Further targets."""
    fields: Sequence[bytes]
    """Each good request's own, without line ends."""
    endless: bool = False
    """Whether some inputs go on and on in a head, a trailer or the line of a chunk."""


def rounds(number: int, shape: Shape, base: Sequence[bytes]) -> list[bytes]:
    """The input of this number, in the pieces between which its answers are awaited."""
    rng = random.Random(SEED << 40 | number)
    if rng.random() < 0.15 and base:
        data = damaged(rng.choice(base).replace(b"{mark}", _mark(number, 0)), rng, base)
        return [data]
    if rng.random() < 0.15:
        return _repeated(number, shape, rng)
    if shape.endless and rng.random() < 0.05:
        return _endless(number, shape, rng)
    requests = [
        _request(_mark(number, n), shape, rng)
        for n in range(rng.choice((1, 1, 2, 3, MAX_REQUESTS)))
    ]
    if rng.random() < 0.2:
        at = rng.randrange(len(requests))
        requests[at] = damaged(requests[at], rng, [*requests, *base])
    if rng.random() < 0.5:
        return [b"".join(requests)]
    return requests


def _mark(number: int, at: int) -> bytes:
    return b"mark-%d-%d-" % (number, at)


def _repeated(number: int, shape: Shape, rng: Rng) -> list[bytes]:
    """The same head again and again, as most clients send it; now and then with a change."""
    method, target = rng.choice(shape.good)
    target = target.replace(b"%b", b"repeated-%d" % number)
    size = rng.choice((30, 31, 99))
    head = _head(method, target, [*shape.fields, b"Content-Length: %d" % size])
    found = []
    for n in range(rng.choice((2, 3, 5))):
        body = _mark(number, n).ljust(size, b".")
        one = head + body
        match rng.randrange(12):
            case 0:
                one = head + body[:-1]
            case 1:
                one = head + body + b"x"
            case 2:
                one = b"\r\n" + head + body
            case 3:
                one = head.replace(b"Length: %d" % size, b"Length: 0%d" % size) + body
            case 4:
                one = head + b"\r\n" + body[2:]
            case 5:
                one = one + one
        found.append(one)
    return found


def _endless(number: int, shape: Shape, rng: Rng) -> list[bytes]:
    """Whole requests, then one that never comes to an end, in one piece or in several."""
    method, target = rng.choice(shape.good)
    head = _head(method, target.replace(b"%b", b"x"), [*shape.fields, b"Content-Length: 2"])
    chunked = _head(method, target.replace(b"%b", b"x"), [*shape.fields, _CODINGS[0]])
    start, unit = rng.choice(
        (
            (b"POST /", b"x"),
            (head[: rng.randrange(20, len(head) - 4)], b"y"),
            (head[:-2], b"X-Some: z\r\n"),
            (head[:-2] + b"X-Long: ", b"z"),
            (chunked + b"0\r\nX-T: ", b"t"),
            (chunked + b"2\r\n{}\r\n0\r\n", b"X-T: t\r\n"),
            (chunked + b"1;x=", b"e"),
            (chunked + b"1", b"0"),
        )
    )
    before = b"".join(
        head + _mark(number, n)[:2] for n in range(rng.choice((0, 0, 1, 3, MAX_REQUESTS)))
    )
    size = rng.choice((100, 40_000, ENDLESS_BYTES, 2 * ENDLESS_BYTES))
    tail = unit * (size // len(unit))
    cut = rng.randrange(len(tail))
    return rng.choice(([before + start + tail], [before + start, tail[:cut], tail[cut:]]))


def _request(mark: bytes, shape: Shape, rng: Rng) -> bytes:
    method, target = rng.choice(shape.good)
    target = target.replace(b"%b", mark)
    if rng.random() < 0.1:
        target = rng.choice(shape.other)
    if rng.random() < 0.15:
        method = rng.choice(
            (
                b"GET",
                b"HEAD",
                b"PUT",
                b"OPTIONS",
                b"CONNECT",
                b"PRI",
                b"get",
                b"M-SEARCH",
                b"DELETE",
            )
        )
    body = mark + b"x" * rng.choice((0, 0, 1, 7, 300, 9_000, 12_000))
    framing, wire = _framing(body, rng)
    fields = [*shape.fields, *framing]
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        fields.insert(rng.randrange(len(fields) + 1), rng.choice(_FIELDS)(rng))
    return _head(method, target, fields, rng) + wire


def _head(method: bytes, target: bytes, fields: list[bytes], rng: Rng | None = None) -> bytes:
    version = b"HTTP/1.1"
    end = b"\r\n"
    if rng is not None and rng.random() < 0.06:
        version = rng.choice(
            (
                b"HTTP/1.0",
                b"HTTP/1.0",
                b"HTTP/1.2",
                b"HTTP/2.0",
                b"HTTP/0.9",
                b"http/1.1",
                b"HTTP/1.1 ",
            )
        )
    if rng is not None and rng.random() < 0.02:
        end = rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\n"))
    return end.join((b"%b %b %b" % (method, target, version), *fields, b"", b""))


def _framing(body: bytes, rng: Rng) -> tuple[list[bytes], bytes]:
    """Fields that say where a body ends, and the body as it is sent."""
    roll = rng.random()
    if roll < 0.45:
        return [b"Content-Length: %d" % len(body)], body
    if roll < 0.75:
        return [b"Transfer-Encoding: chunked"], _chunked(body, rng, odd=False)
    return rng.choice(_FRAMINGS)(body, rng)


def _chunked(body: bytes, rng: Rng, *, odd: bool) -> bytes:
    out, at = b"", 0
    while at < len(body):
        size = rng.choice((1, 5, 64, 4096))
        part = body[at : at + size]
        at += size
        extension = b""
        if rng.random() < (0.5 if odd else 0.1):
            extension = rng.choice(_EXTENSIONS if odd else _EXTENSIONS[:3])
        number = b"%x" % len(part)
        if odd and rng.random() < 0.3:
            number = rng.choice(_NUMBERS)(number)
        end = rng.choice((b"\r\n",) * 4 + (b"\n", b"\r")) if odd else b"\r\n"
        out += number + extension + end + part + (b"\r\n" if not odd else rng.choice(_ENDS))
    last = rng.choice((b"0", b"00", b"0;x=y")) if odd else b"0"
    trailer = rng.choice(_TRAILERS) if odd or rng.random() < 0.1 else b""
    return out + last + b"\r\n" + trailer + b"\r\n"


_EXTENSIONS: Final = (
    *(b";a=b", b";a", b' ;a="q;r"', b";", b";\x00", b";a=\n", b";" + b"e" * 20_000, b"\t;x", b" "),
    *(b";a=\rb", b"; a = b", b"x", b";a=b\r", b";\xff"),
)
_NUMBERS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda n: b"0x" + n,
    lambda n: b"+" + n,
    lambda n: b"-" + n,
    lambda n: b" " + n,
    lambda n: n + b" ",
    lambda n: b"0" * 20 + n,
    lambda n: b"f" * 16,
    lambda n: b"10000000000000000" + n,
    lambda n: n.upper(),
    lambda n: b"",
    lambda n: n + b"_0",
)
_ENDS: Final = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\r", b"zz\r\n")
_TRAILERS: Final = (
    *(b"", b"X-T: 1\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"X-T : 1\r\n", b" folded\r\n", b"X-T: 1\n", b"Authorization: Bearer x\r\n"),
    *(b"X: " + b"t" * 40_000 + b"\r\n", b"".join(b"T%d: 1\r\n" % n for n in range(300))),
)

_FRAMINGS: Final[tuple[Callable[[bytes, Rng], tuple[list[bytes], bytes]], ...]] = (
    lambda body, rng: ([b"Transfer-Encoding: chunked"], _chunked(body, rng, odd=True)),
    lambda body, rng: ([b"Transfer-Encoding: chunked"], _chunked(body, rng, odd=True)),
    lambda body, rng: (
        [b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"],
        _chunked(body, rng, odd=False),
    ),
    lambda body, rng: (
        [b"Transfer-Encoding: chunked", b"Content-Length: %d" % rng.choice((0, 5, len(body)))],
        _chunked(body, rng, odd=False),
    ),
    lambda body, rng: ([b"Content-Length: %d" % len(body)] * 2, body),
    lambda body, rng: ([b"Content-Length: %d" % len(body), b"Content-Length: 0"], body),
    lambda body, rng: ([rng.choice(_LENGTHS) % len(body)], body),
    lambda body, rng: ([rng.choice(_LENGTHS) % len(body)], body),
    lambda body, rng: (
        [b"Content-Length: %d" % rng.choice((0, len(body) - 1, len(body) + 1))],
        body,
    ),
    lambda body, rng: ([rng.choice(_CODINGS)], _chunked(body, rng, odd=False)),
    lambda body, rng: ([rng.choice(_CODINGS)], _chunked(body, rng, odd=False)),
    lambda body, rng: (
        [rng.choice(_CODINGS), rng.choice(_CODINGS)],
        _chunked(body, rng, odd=False),
    ),
    lambda body, rng: ([], b""),
    lambda body, rng: ([], body),
    lambda body, rng: ([b"Content-Length: 99999999999"], body),
)
_LENGTHS: Final[tuple[bytes, ...]] = (
    *(
        b"Content-Length: +%d",
        b"Content-Length: %d, %%d",
        b"Content-Length: 0%d",
        b"Content-Length:%d",
    ),
    *(
        b"Content-Length:\t%d\t",
        b"Content-Length : %d",
        b"Content-Length: %d ",
        b"Content-Length: -%d",
    ),
    *(
        b"Content-Length: 0x%x",
        b"content-length: %d;",
        b"Content-Length\t: %d",
        b" Content-Length: %d",
    ),
    *(
        b"Content-Length: %d\r\n 0",
        b"Content-Length: \r\n %d",
        b"Content_Length: %d",
        b"\x0bContent-Length: %d",
    ),
    *(b"Content-Length: %d\x00", b"Content-Length: \x0b%d", b"Content-Length: 1%d" + b"0" * 19),
    *(b"X: y\nContent-Length: %d", b"X: y\rContent-Length: %d", b"Content-Length: %d\xa0"),
)
_CODINGS: Final[tuple[bytes, ...]] = (
    *(
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: CHUNKED",
        b"Transfer-Encoding: chunked, identity",
    ),
    *(
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
    ),
    *(
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: chunked\x00",
    ),
    *(
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding:\tchunked\t",
        b"Transfer-Encoding:",
    ),
    *(
        b"Transfer-Encoding: \r\n chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding: 'chunked'",
    ),
    *(
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer_Encoding: chunked",
        b"Transfer-Encoding: chunked,",
    ),
    *(
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunk\xe9d",
    ),
)
_FIELDS: Final[tuple[Callable[[Rng], bytes], ...]] = (
    lambda rng: (
        b"Connection: " + rng.choice((b"close", b"keep-alive", b"upgrade", b"close, x", b"x"))
    ),
    lambda rng: b"Expect: " + rng.choice((b"100-continue", b"200-ok", b"")),
    lambda rng: b"Upgrade: " + rng.choice((b"websocket", b"h2c")) + b"\r\nConnection: Upgrade",
    lambda rng: b"Host: " + rng.choice((b"", b"a b", b"\xff", b"other.example", b"x" * 300)),
    lambda rng: (
        b"Authorization: " + rng.choice((b"", b"Bearer", b"Bearer wrong", b"Basic YTpi", b"\xff"))
    ),
    lambda rng: rng.choice((b"Nats-Msg-Id: 1", b"Hr-Body: 1:2:3:4", b"Status: 200", b"hr-body: x")),
    lambda rng: b"X-Request-Timeout-Ms: " + rng.choice((b"1000", b"9" * 30, b"-1", b"x")),
    lambda rng: b"azureml-model-deployment: " + rng.choice((b"blue", b"red", b"", b"\xff" * 50)),
    lambda rng: b"x-ms-client-request-id: " + rng.choice((b"a\tb", b"c" * 900, b"\xfe", b"mark")),
    lambda rng: b"Content-Type: " + rng.choice((b"application/json", b"\xff", b"a;b=c" * 200)),
    lambda rng: b"X-Flood: " + b"x" * rng.choice((8_000, 33_000, 70_000)),
    lambda rng: b"\r\n".join(b"X-%d: y" % n for n in range(rng.choice((100, 140, 2_000)))),
    lambda rng: b"X-Fold: a\r\n" + rng.choice((b" b", b"\tb", b"\r b")),
    lambda rng: (
        b"X-Odd: " + rng.choice((b"\x00", b"\x0b", b"\x7f", b"a\nb: c", b"a\rb: c", b"\xc3\xa9"))
    ),
    lambda rng: rng.choice(
        (b"", b": no name", b"no colon", b"a b: c", b"a\x00: b", b"\xe9: x", b"X :y")
    ),
    lambda rng: (
        b"Range: bytes=" + rng.choice((b"0-", b"5-1", b"-3", b"0-9999999999999999999", b"0-1,2-3"))
    ),
    lambda rng: b"If-Match: " + rng.choice((b"*", b'"x"', b"\xff")),
    lambda rng: b"Trailer: Content-Length",
    lambda rng: b"Content-Encoding: " + rng.choice((b"gzip", b"deflate", b"br", b"identity")),
    lambda rng: b"Cookie: " + rng.choice((b"a=b; " * 200, b"\xff=\xfe", b"=;=")),
)
