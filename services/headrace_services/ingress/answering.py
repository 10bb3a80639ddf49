"""The answering side of one HTTP/1.1 connection: one request at a time, in the order they came."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum
from typing import Final, Protocol, cast

from headrace_services.ingress.exchange import Exchange, Reply
from headrace_services.ingress.replies import CONTINUE, head, slow_client, stream_head
from headrace_services.ingress.write_coalescer import WriteCoalescer

SLOW_S: Final = 10.0  # for a whole head, and between two pieces of a body
BODY_S: Final = 300.0  # for a whole body
KEEP_ALIVE_S: Final = 75.0
STALLED_S: Final = 30.0  # a client that does not read its answer
KNOCK_S: Final = 0.05  # more than a reset takes to come back, mostly
LINGER_S: Final = 2.0  # after a refusal in mid-body, so that the client can read it


class Phase(IntEnum):
    """What the connection waits for."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    BUSY = 3
    LINGER = 4


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

    def opened(self, connection: Answering) -> bool:
        """Whether one more connection may stay."""

    def closed(self, connection: Answering) -> None: ...


class Answering(asyncio.Protocol):
    """What has been read is answered here; `Connection` reads."""

    def __init__(self, edge: Edge) -> None:
        self.phase = Phase.IDLE
        self.draining = False
        self._edge = edge
        self._coalescer = edge.coalescer
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._parsing: Exchange | None = None
        self._deaf = False  # the last thing to answer is known
        self._ended = False  # by the client, in its direction
        self._begun = False  # a stream, so that nothing else may be said
        self._current: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._since = edge.now
        self._began = edge.now
        self._idle_s = SLOW_S  # for the next head; more once one has come
        self._discarded = 0
        self._stalled_since: float | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False

    def pause_writing(self) -> None:
        self._stalled_since = self._edge.now
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._stalled_since = None
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def eof_received(self) -> bool:
        """The client says no more; it may have left, or wait for what it asked."""
        self._coalescer.flush()
        last = self._queue[-1] if self._queue else self._current
        if last is None or not self._transport.can_write_eof():
            return False
        last.keep_alive, self._parsing, self._deaf, self._ended = False, None, True, True
        self._knock()
        self._loop.call_later(KNOCK_S, self._knock)
        return True

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
            self._begun = True
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
        elif self._is_idle(now):
            self._close()
        elif self._ended:
            self._knock()

    def _knock(self) -> None:
        """Say what means nothing: whoever has left answers with a reset, and nothing runs on."""
        current = self._current
        waits = current is not None and current.chunked and not self._begun
        if waits and not self._transport.is_closing():
            self._write(CONTINUE)

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

    def _is_idle(self, now: float) -> bool:
        if self.phase is Phase.IDLE:
            return now - self._since > self._idle_s
        return self.phase is Phase.LINGER and now - self._since > LINGER_S

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self.phase = Phase.BUSY
        if exchange.refusal is not None:
            self.reply(exchange, exchange.refusal)
        else:
            self._edge.handle(exchange)

    def _finished(self, *, keep: bool) -> None:
        self._current = None
        self._begun = False
        self._idle_s = KEEP_ALIVE_S
        self._since = self._edge.now
        if not keep:
            self._queue.clear()
            if self._deaf and not self._ended:  # what follows the refused is still coming
                self._coalescer.flush()
                self._linger()
                return
            self.phase = Phase.LINGER
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
        self._write(head(reply, keep_alive=False) + body)
        self._linger()

    def _linger(self) -> None:
        """Say no more, and throw away what still comes, until the client or `watch` ends it."""
        self.phase, self._since, self._discarded = Phase.LINGER, self._edge.now, 0
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _refuse_in_turn(self, exchange: Exchange, reply: Reply) -> None:
        """Answers before this one are owed: it waits for them, and nothing more is read."""
        exchange.refusal, exchange.keep_alive = reply, False
        self._queue.append(exchange)
        self._deaf = True
