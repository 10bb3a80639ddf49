"""One HTTP/1.1 connection: bytes to requests and back, with every input bounded.

    bytes -> llhttp -> head -> Edge.check (may refuse before the body) -> body -> Edge.handle
    bytes that begin with the head before them -> Edge.recheck -> Edge.handle
    Edge -> reply | begin_stream, write_chunk, end_stream -> bytes

One request is handled at a time, without a task; pipelined ones wait in order, and what cannot be
read is refused in its turn. llhttp refuses what smuggling needs: a length beside chunks, two
lengths, chunks that are not last.

Most clients send the same head again and again. A whole request whose head is, byte for byte, the
one llhttp took last on this connection needs no second parse: at the same place in the stream the
same bytes mean the same.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

from headrace_bus.routing.edge.headers import HIDDEN
from headrace_services.ingress.answering import Answering, Edge, Phase
from headrace_services.ingress.exchange import Exchange
from headrace_services.ingress.fields import framing
from headrace_services.ingress.heads import awaits_continue, broken
from headrace_services.ingress.replies import (
    CONTINUE,
    bad_request,
    headers_too_large,
    no_room,
    too_large,
)

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 128
MAX_UNHEARD_BYTES: Final = 2 * MAX_HEAD_BYTES  # of a head, trailer or chunk line without an end
MAX_PIPELINED: Final = 64  # requests read ahead of the one being answered
LINGER_BYTES: Final = 16 * 1024 * 1024
REPEATED_BYTES: Final = 4096  # of a head that is remembered
SWALLOWED_BYTES: Final = 64 * 1024  # a refused body up to this size is read, and the client stays
_KNOWN_NAMES: Final = 512

_names: dict[bytes, str] = {}


class Connection(Answering):
    """The protocol of one socket: the reading side."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(edge)
        self._parser = httptools.HttpRequestParser(self)
        self._resumed: Exchange | None = None  # its head is parsed again, without the upgrade
        self._messages = 0
        self._unheard = 0  # bytes the parser keeps, as no callback has told of them
        self._known_head = b""
        self._whole = 0  # bytes of the request with the known head
        self._known: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._edge.opened(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._edge.closed(self)
        exchange, self._current = self._current, None
        self._queue.clear()
        # The parser knows us: without this a half-read body stays until the collector comes by.
        self._parsing = self._resumed = self._known = None
        self._parser = cast("httptools.HttpRequestParser", None)
        self.resume_writing()
        if exchange is not None:
            self._edge.gone(exchange)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if self._deaf:
            return
        if phase is Phase.LINGER:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self._transport.abort()
            return
        self._since = self._edge.now
        if phase is Phase.IDLE:
            known = self._known
            if known is not None and self._whole == len(data) and data.startswith(self._known_head):
                self._repeat(known, data)
                return
            self.phase, self._began = Phase.HEAD, self._since
        self._parse(data)
        if phase is Phase.IDLE and self.phase is Phase.BUSY:
            self._remember(data)

    def _repeat(self, known: Exchange, data: bytes) -> None:
        """A whole request with the known head."""
        known.again(data[len(self._known_head) :])
        known.refusal = self._edge.recheck(known)
        if known.refusal is None and known.size_bytes > known.limit_bytes:
            known.refusal = too_large(known.limit_bytes, known.size_bytes)
        self._start(known)

    def _remember(self, data: bytes) -> None:
        """Keep the head when `data` was one whole plain request, being answered now."""
        self._known = None
        exchange, end = self._current, data.find(b"\r\n\r\n", 0, REPEATED_BYTES) + 4
        if exchange is None or end < 4 or self._queue or self._parsing is not None:
            return
        plain = exchange.keep_alive and exchange.chunked and "expect" not in exchange.fields
        framed = exchange.fields.get("content-length") == str(exchange.size_bytes)
        if plain and framed and len(data) - end == exchange.size_bytes:
            self._known_head, self._known, self._whole = data[:end], exchange, len(data)

    def _parse(self, data: bytes) -> None:
        rest, before = data, self._progress()
        while rest:
            try:
                self._parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as upgrade:
                rest = self._without_upgrade(rest[upgrade.args[0] :])
            except httptools.HttpParserError:
                self._refuse(bad_request("The request is not valid HTTP/1.1."))
                break
        self._count_unheard(len(data), before)

    def _count_unheard(self, size_bytes: int, before: tuple[int, int, int]) -> None:
        """Bound what the parser holds back: what callbacks have told of is bounded elsewhere."""
        messages, head_bytes, body_bytes = self._progress()
        told = head_bytes + body_bytes - before[1] - before[2]
        if messages != before[0] or (told and (body_bytes or self.phase is not Phase.HEAD)):
            self._unheard = 0  # at most one read is held back
        else:
            self._unheard += size_bytes - told
        if self._unheard > MAX_UNHEARD_BYTES:
            self._refuse(headers_too_large())

    def _progress(self) -> tuple[int, int, int]:
        """Messages read, and bytes of head and body of the one being read."""
        exchange = self._parsing
        if exchange is None:
            return self._messages, 0, 0
        return self._messages, exchange.head_bytes, exchange.size_bytes

    def _without_upgrade(self, rest: bytes) -> bytes:
        """What to parse after the head of an upgrade, which a server may ignore (RFC 9110 7.8).

        The parser takes what follows such a head for another protocol. So another parser reads how
        the request is framed, without the upgrade, and then its body.
        """
        self._parser = httptools.HttpRequestParser(self)
        return b"" if self._resumed is None else framing(self._resumed) + rest

    def on_message_begin(self) -> None:
        self._parsing = None if self._deaf else self._resumed or Exchange(self)

    def on_url(self, url: bytes) -> None:
        exchange = self._parsing
        if exchange is not None and exchange is not self._resumed:
            exchange.target += url
            exchange.head_bytes += len(url)
            if exchange.head_bytes > MAX_HEAD_BYTES:
                self._refuse(headers_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._parsing
        if exchange is None or exchange is self._resumed:
            return
        exchange.head_bytes += len(name) + len(value)
        if exchange.head_bytes > MAX_HEAD_BYTES:
            self._refuse(headers_too_large())
            return
        if exchange.method:
            return  # a trailer: it comes after the head was judged (RFC 9110 6.5.1)
        key = _names.get(name) or _name(name)
        if key:
            text = value.decode("latin-1")
            exchange.headers.append((key, text))
            exchange.fields[key] = text

    def on_headers_complete(self) -> None:
        exchange = self._parsing
        if exchange is None or self.phase is Phase.LINGER:
            return
        if exchange is self._resumed:
            self._resumed = None
            return
        exchange.method = self._parser.get_method().decode("latin-1")
        if self.phase is not Phase.BUSY:
            self.phase = Phase.BODY
        if len(exchange.headers) > MAX_HEADERS:
            self._refuse(headers_too_large())
            return
        exchange.version = self._parser.get_http_version()
        if (reply := broken(exchange)) is not None:
            self._refuse(reply)
            return
        exchange.refusal = self._edge.check(exchange)
        announced = exchange.fields.get("content-length", "0")
        size = int(announced) if announced.isdigit() else 0
        if exchange.refusal is None and size > exchange.limit_bytes:
            exchange.refusal = too_large(exchange.limit_bytes, size)
        if exchange.refusal is not None:
            if size > SWALLOWED_BYTES or awaits_continue(exchange):
                self._refuse(exchange.refusal)
        elif self._current is None and awaits_continue(exchange):
            self._write(CONTINUE)

    def on_body(self, part: bytes) -> None:
        exchange = self._parsing
        if exchange is None or self.phase is Phase.LINGER:
            return
        exchange.size_bytes += len(part)
        if exchange.refusal is not None:
            if exchange.size_bytes > SWALLOWED_BYTES:
                self._refuse(exchange.refusal)
        elif exchange.size_bytes > exchange.limit_bytes:
            self._refuse(too_large(exchange.limit_bytes))
        else:
            try:
                exchange.add_body(part)
            except OSError:
                self._refuse(no_room())

    def on_message_complete(self) -> None:
        exchange, self._parsing = self._parsing, None
        self._messages += 1
        if exchange is None or self.phase is Phase.LINGER:
            return
        if self._parser.should_upgrade():
            self._resumed = exchange
            return
        exchange.complete()
        exchange.chunked = exchange.version != "1.0"
        exchange.keep_alive = self._parser.should_keep_alive()
        if self._current is None and not self._queue:
            self._start(exchange)
            return
        self._queue.append(exchange)
        if len(self._queue) > MAX_PIPELINED:
            self._transport.abort()
        elif not self._paused:
            self._paused = True
            self._transport.pause_reading()


def _name(raw: bytes) -> str:
    """A header's name in lower case; empty for one no caller may send."""
    name = raw.lower().decode("latin-1")
    if name.startswith(HIDDEN) or name == "status":
        return ""
    if len(_names) < _KNOWN_NAMES:
        _names[raw] = name
    return name
