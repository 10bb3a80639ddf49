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
from collections import deque
from enum import IntEnum
from typing import Final, Protocol, cast

import httptools

from headrace_bus.routing.edge.headers import HIDDEN
from headrace_services.ingress.exchange import Exchange, Reply
from headrace_services.ingress.fields import framing
from headrace_services.ingress.replies import (
    CONTINUE,
    bad_request,
    head,
    headers_too_large,
    no_room,
    slow_client,
    stream_head,
    too_large,
)
from headrace_services.ingress.write_coalescer import WriteCoalescer

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 128
MAX_UNHEARD_BYTES: Final = 2 * MAX_HEAD_BYTES  # of a head, trailer or chunk line without an end
MAX_PIPELINED: Final = 64  # requests read ahead of the one being answered
VERSIONS: Final = frozenset({"1.0", "1.1"})
SLOW_S: Final = 10.0  # for a whole head, and between two pieces of a body
BODY_S: Final = 300.0  # for a whole body
KEEP_ALIVE_S: Final = 75.0
STALLED_S: Final = 30.0  # a client that does not read its answer
LINGER_S: Final = 2.0  # after a refusal in mid-body, so that the client can read it
LINGER_BYTES: Final = 16 * 1024 * 1024
REPEATED_BYTES: Final = 4096  # of a head that is remembered
SWALLOWED_BYTES: Final = 64 * 1024  # a refused body up to this size is read, and the client stays
_KNOWN_NAMES: Final = 512

_names: dict[bytes, str] = {}


class Phase(IntEnum):
    """What the connection waits for."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    BUSY = 3
    LINGER = 4


_QUIET_S: Final = {Phase.IDLE: KEEP_ALIVE_S, Phase.LINGER: LINGER_S}


class Edge(Protocol):
    """Who decides what a request is answered."""

    now: float
    """The loop's time, to a second or so."""
    coalescer: WriteCoalescer
    """Of all connections."""

    def check(self, exchange: Exchange) -> Reply | None:
        """Judge a head; set `limit_bytes` of the body. A Reply refuses it before the body."""

    def recheck(self, exchange: Exchange) -> Reply | None:
        """As `check`, for a head that was judged good on this connection before."""

    def handle(self, exchange: Exchange) -> None:
        """Answer the whole request, now or later, by its connection."""

    def gone(self, exchange: Exchange) -> None:
        """The client hung up before the answer."""

    def opened(self, connection: Connection) -> bool:
        """Whether one more connection may stay."""

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """The protocol of one socket."""

    def __init__(self, edge: Edge) -> None:
        self.phase = Phase.IDLE
        self.draining = False
        self._edge = edge
        self._coalescer = edge.coalescer
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._parsing: Exchange | None = None
        self._resumed: Exchange | None = None  # its head is parsed again, without the upgrade
        self._deaf = False  # the last thing to answer is known
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._since = edge.now
        self._began = edge.now
        self._discarded = 0
        self._messages = 0
        self._unheard = 0  # bytes the parser keeps, as no callback has told of them
        self._stalled_since: float | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._known_head = b""
        self._whole = 0  # bytes of the request with the known head
        self._known: Exchange | None = None

    # asyncio's side

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

    def eof_received(self) -> bool:
        self._coalescer.flush()
        return False

    def pause_writing(self) -> None:
        self._stalled_since = self._edge.now
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._stalled_since = None
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # llhttp's side

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
        if exchange.method == "CONNECT" or exchange.version not in VERSIONS:
            self._refuse(bad_request("Only HTTP/1.1 and 1.0 are supported, without CONNECT."))
            return
        if "transfer-encoding" in exchange.fields and not _is_chunked(exchange):
            self._refuse(bad_request("The only supported transfer coding is chunked, in HTTP/1.1."))
            return
        exchange.refusal = self._edge.check(exchange)
        announced = exchange.fields.get("content-length", "0")
        size = int(announced) if announced.isdigit() else 0
        if exchange.refusal is None and size > exchange.limit_bytes:
            exchange.refusal = too_large(exchange.limit_bytes, size)
        if exchange.refusal is not None:
            if size > SWALLOWED_BYTES or "expect" in exchange.fields:
                self._refuse(exchange.refusal)
        elif "expect" in exchange.fields and self._current is None:
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

    # the edge's side

    def reply(self, exchange: Exchange, reply: Reply) -> None:
        """Answer the current request; ignored when the client has gone."""
        if exchange is not self._current:
            return
        keep = exchange.keep_alive and not reply.close and not self.draining
        body = reply.body if exchange.method != "HEAD" else b""
        data = head(reply, keep_alive=keep) + body
        if keep:
            self._coalescer.add(self._transport, data)
        else:
            self._write(data)
        self._finished(keep=keep)

    def begin_stream(self, exchange: Exchange, reply: Reply) -> None:
        """Answer with a body that comes in pieces; HTTP/1.0 gets it up to the end of the line."""
        if exchange is self._current:
            exchange.keep_alive = exchange.keep_alive and exchange.chunked and not self.draining
            self._write(
                stream_head(reply, keep_alive=exchange.keep_alive, chunked=exchange.chunked)
            )

    async def write_chunk(self, exchange: Exchange, data: bytes) -> bool:
        """Send a piece, wait until the client reads; False when it has gone."""
        if exchange is not self._current:
            return False
        if data:
            framed = b"%x\r\n%b\r\n" % (len(data), data) if exchange.chunked else data
            self._write(framed)
        if self._writable is not None:
            await self._writable
        return exchange is self._current

    def end_stream(self, exchange: Exchange) -> None:
        """The body is whole."""
        if exchange is self._current:
            if exchange.chunked:
                self._write(b"0\r\n\r\n")
            self._finished(keep=exchange.keep_alive)

    def break_stream(self, exchange: Exchange) -> None:
        """The body ended early: the only way to say so is to drop the connection."""
        if exchange is self._current:
            self._transport.abort()

    def drain(self) -> None:
        """Take no further request; an idle connection ends now."""
        self.draining = True
        if self.phase is Phase.IDLE:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    def watch(self, now: float) -> None:
        """Called each second: end what is slow or idle for too long."""
        if self._stalled_since is not None and now - self._stalled_since > STALLED_S:
            self._transport.abort()
        elif self._is_slow(now):
            self._refuse(slow_client())
        elif now - self._since > _QUIET_S.get(self.phase, now):
            self._close()

    def _write(self, data: bytes) -> None:
        """Now, behind an answer that waits for the end of this turn."""
        self._coalescer.write(self._transport, data)

    def _close(self) -> None:
        """What was answered still leaves."""
        self._coalescer.flush()
        self._transport.close()

    def _is_slow(self, now: float) -> bool:
        if self.phase is Phase.HEAD:
            return now - self._began > SLOW_S
        if self.phase is Phase.BODY:
            return now - self._since > SLOW_S or now - self._began > BODY_S
        return False

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self.phase = Phase.BUSY
        if exchange.refusal is not None:
            self.reply(exchange, exchange.refusal)
        else:
            self._edge.handle(exchange)

    def _finished(self, *, keep: bool) -> None:
        self._current = None
        self._since = self._edge.now
        if not keep:
            self.phase = Phase.LINGER
            self._queue.clear()
            self._close()
            return
        if self._queue:
            self._loop.call_soon(self._next)
            return
        self.phase = Phase.IDLE if self._parsing is None else Phase.HEAD
        self._began = self._since

    def _next(self) -> None:
        if self._queue and self._current is None:
            self._start(self._queue.popleft())
        if self._paused and not self._queue and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, reply: Reply) -> None:
        """Answer what cannot be read to its end, and close once the client had time to read it.

        Closing with unread bytes would reset the connection and take the answer with it.
        """
        exchange, self._parsing = self._parsing, None
        if self.phase is Phase.LINGER or self._deaf or self._transport.is_closing():
            return
        if self._current is not None or self._queue:
            self._refuse_in_turn(exchange or Exchange(self), reply)
            return
        without_body = exchange is not None and exchange.method == "HEAD"
        body = b"" if without_body else reply.body
        self.phase, self._since, self._discarded = Phase.LINGER, self._edge.now, 0
        self._write(head(reply, keep_alive=False) + body)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _refuse_in_turn(self, exchange: Exchange, reply: Reply) -> None:
        """Answers before this one are owed: it waits for them, and nothing more is read."""
        exchange.refusal, exchange.keep_alive = reply, False
        self._queue.append(exchange)
        self._deaf = True


def _is_chunked(exchange: Exchange) -> bool:
    """By the standard; llhttp takes chunks of HTTP/1.0, and codings that nobody here undoes."""
    codings = [value for name, value in exchange.headers if name == "transfer-encoding"]
    return exchange.version == "1.1" and [one.lower() for one in codings] == ["chunked"]


def _name(raw: bytes) -> str:
    """A header's name in lower case; empty for one no caller may send."""
    name = raw.lower().decode("latin-1")
    if name.startswith(HIDDEN) or name == "status":
        return ""
    if len(_names) < _KNOWN_NAMES:
        _names[raw] = name
    return name
