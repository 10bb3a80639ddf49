"""nats-py's client with our data path and the corrections of what it gets wrong.

nats-py keeps greeting, TLS, credentials, the pool of servers, reconnects and JetStream. Replaced:

    bytes in  -> WireTransport -> StreamParser -> on_message -> a fast handler, synchronously
                                                            `-> the lane: nats-py's own
    bytes out <- one joined write a loop tick <- _pending <- enqueue

Corrected, each held by a test that is red with the stock class: a flush that is no barrier and so
drains that lose messages; a late PONG, a raising error callback or handler that end the read loop
unseen; any -ERR that closes for ever; headers missing from the size check; the first PING after
the outage counted for one before it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import structlog

from headrace_api.errors import InvalidInput, Unauthorized
from headrace_bus.client.headers import encode_headers
from headrace_bus.client.inbox import ReplyMux
from headrace_bus.client.parser import ProtocolError, StreamParser
from headrace_bus.client.stock import PING_PROTO, Client, Msg, Srv
from headrace_bus.client.stock import Subscription as NatsSubscription
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.client.transport import WireTransport
from headrace_bus.errors import BusDisconnected, NoResponders, PayloadTooLarge, RequestTimeout
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

RawHandler = Callable[[bytes, bytes, bytes, bytes | None], None]

_PONG: Final = b"PONG\r\n"
_SEPARATE_BYTES: Final = 32 * 1024  # a body from this size on is written without being joined
_WORDS: Final = 4096  # subjects that are remembered
_REFUSED: Final = ("authorization", "authentication")


class Link(Client):
    """One connection. Only `connection.Bus` and nats-py's JetStream context use it."""

    def __init__(self, *, secure: bool, refused_grace_s: float, pending_bytes: int) -> None:
        super().__init__()
        self._ps = cast("Any", _NoParser())
        self._loop = asyncio.get_running_loop()
        self._fast: dict[int, RawHandler] = {}
        self._lane: deque[Callable[[], Awaitable[None]]] = deque()
        self._lane_task: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._scheduled = False
        self._before_write: list[Callable[[], None]] = []
        self._words: dict[str, bytes] = {}
        self._secure = secure
        self._refused_grace_s = refused_grace_s
        self._refused_since: float | None = None
        self._pending_bytes = pending_bytes
        self._linked = asyncio.Event()
        self._ever_linked = False
        self.mux: ReplyMux | None = None

    # ------------------------------------------------------------------ out

    def enqueue(self, *pieces: bytes) -> None:
        """Queue one command; everything queued in a loop tick leaves in one write."""
        for piece in pieces:
            self._queue(piece)

    def _queue(self, piece: bytes) -> None:
        self._pending.append(piece)
        self._pending_data_size += len(piece)
        if not self._scheduled:
            self._schedule()

    def before_write(self, work: Callable[[], None]) -> None:
        """Call it once, ahead of the next write, for which it may still queue."""
        self._before_write.append(work)
        if not self._scheduled:
            self._schedule()

    def _complete(self) -> None:
        """Queue what was put off to the end of the tick."""
        works, self._before_write = self._before_write, []
        for work in works:
            try:
                work()
            except Exception:  # somebody else's mistake must not stop all writing
                log.exception("what waited for the end of a turn failed")

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._write_pending)

    def send(self, subject: str, data: bytes, reply: str, header: bytes | None) -> None:
        """Publish. Raises PayloadTooLarge, BusDisconnected, InvalidInput."""
        # Most subjects come again and again, and were found good before.
        to = self._words.get(subject) or self._word(subject, "subject")
        back = b"" if not reply else self._words.get(reply) or self._word(reply, "reply")
        size = len(data) + (len(header) if header else 0)
        if size > self._max_payload:
            raise PayloadTooLarge(size, self._max_payload)
        if self._pending_data_size + size > self._pending_bytes or self._status == Client.CLOSED:
            self._refuse_publish()
        if header is not None:
            line = b"HPUB %b %b %d %d\r\n%b" % (to, back, len(header), size, header)
            self.enqueue(line, data, b"\r\n")
        elif size < _SEPARATE_BYTES:
            self._queue(b"PUB %b %b %d\r\n%b\r\n" % (to, back, size, data))
        else:
            self.enqueue(b"PUB %b %b %d\r\n" % (to, back, size), data, b"\r\n")

    def _word(self, subject: str, what: str) -> bytes:
        """A subject as it is written. Raises InvalidInput."""
        if not subject or not subject.isprintable() or " " in subject:
            raise InvalidInput(f"{subject!r} is no subject to publish", target=what)
        if len(self._words) >= _WORDS:
            self._words.clear()
        word = self._words[subject] = subject.encode()
        return word

    def _refuse_publish(self) -> None:
        if self.is_closed:
            raise BusDisconnected("the bus is closed")
        state = "the server is behind" if self.is_connected else "no NATS server"
        raise BusDisconnected(
            f"{state}: {self._pending_data_size} bytes wait, {self._pending_bytes} may"
        )

    def _write_pending(self) -> None:
        self._complete()
        self._scheduled = False
        transport = self._transport
        if not self._pending or not self.is_connected or not isinstance(transport, WireTransport):
            return
        if not transport.flowing:
            return  # resume_writing or the reconnect comes back here
        pieces, self._pending, self._pending_data_size = self._pending, [], 0
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < _SEPARATE_BYTES:
                small.append(piece)
                continue
            if small:
                transport.write(b"".join(small))
                small = []
            transport.write(piece)
        if small:
            transport.write(b"".join(small))

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.enqueue(cmd)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        self._write_pending()

    async def _flusher(self) -> None:
        """Nothing to do: writes are scheduled by `enqueue` and `resume_writing`."""

    # ------------------------------------------------------------------ in

    async def _read_loop(self) -> None:
        """Hand the socket to the parser, and reconnect when it is gone."""
        transport = self._transport
        assert isinstance(transport, WireTransport)

        def refuse(error: ProtocolError) -> None:
            log.warning("the server's bytes make no sense", error=str(error))
            transport.abort()

        # Its own parser, so that bytes a dying connection still brings cannot be misread.
        transport.receive(StreamParser(self), refuse)
        error = await asyncio.shield(transport.lost)
        if self._transport is transport:
            await self._process_op_err(error or nats_errors.UnexpectedEOF())

    def on_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, header: bytes | None
    ) -> None:
        handler = self._fast.get(sid)
        if handler is None:
            # None is what nats-py's parser passes for no header, whatever the annotation says.
            self._to_lane(lambda: self._process_msg(sid, subject, reply, data, cast("Any", header)))
            return
        try:
            handler(subject, reply, data, header)
        except Exception:  # a subscriber's mistake must not end the read loop
            log.exception("a message handler failed", subject=subject.decode("utf-8", "replace"))

    def on_ping(self) -> None:
        self.enqueue(_PONG)

    def on_pong(self) -> None:
        if self._lane:
            self._to_lane(self._process_pong)  # a flush must not overtake messages in the lane
        else:
            self._take_pong()

    def on_info(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except ValueError:
            log.warning("the server sent an INFO that is not JSON")
            return
        self._max_payload = info.get("max_payload", self._max_payload)
        self._to_lane(lambda: self._process_info(info))

    def on_error(self, text: bytes) -> None:
        words = text.decode("utf-8", "replace").lower()
        self._to_lane(lambda: self._process_err(words))

    def _to_lane(self, work: Callable[[], Awaitable[None]]) -> None:
        self._lane.append(work)
        if self._lane_task is None or self._lane_task.done():
            self._lane_task = self._loop.create_task(self._run_lane(), name="bus:lane")

    async def _run_lane(self) -> None:
        """What nats-py handles in coroutines, one after the other, off the read path."""
        while self._lane:
            try:
                await self._lane[0]()
            except Exception:  # one bad message must not stop those behind it
                log.exception("a message could not be handled")
            self._lane.popleft()

    async def _process_pong(self) -> None:
        self._take_pong()

    def _take_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():  # stock sets a result on a flush that timed out, and dies of it
                pong.set_result(True)

    # ------------------------------------------------------------------ life

    async def _connect_to_server(self, s: Srv) -> None:
        """A new transport each time, so that an old one can never be read again."""
        s.last_attempt = monotonic()
        if isinstance(self._transport, WireTransport):
            self._transport.abort()
        transport = WireTransport(self._write_pending)
        self._transport = transport
        await transport.connect(s.uri, 0, self.options["connect_timeout"])

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._secure and not info.get("tls_required"):
            raise nats_errors.Error("nats: TLS was asked for and the server offers none")
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            if self._status != Client.CONNECTED:
                raise nats_errors.Error("nats: the server did not finish the greeting")
        except nats_errors.Error as error:
            self._note_refusal(error)
            raise
        self._refused_since = None
        if not self._ever_linked:
            self._ever_linked = True
            self._linked.set()

    def _note_refusal(self, error: nats_errors.Error) -> None:
        """A first connect that is refused fails; later ones get time for renewed credentials."""
        if not any(word in str(error).lower() for word in _REFUSED):
            return
        if not self._ever_linked:
            raise Unauthorized(f"the NATS server refuses these credentials: {error}") from error
        self._refused_since = self._refused_since or monotonic()
        if monotonic() - self._refused_since >= self._refused_grace_s:
            log.error("the NATS server keeps refusing our credentials, giving up")
            self._close_task = self._loop.create_task(self._close(Client.CLOSED), name="bus:close")

    async def _process_op_err(self, e: Exception) -> None:
        if not self.is_closed:
            self._linked.clear()  # at once: a flush must wait for the next connection
        await super()._process_op_err(e)

    async def _attempt_reconnect(self) -> None:
        if isinstance(self._transport, WireTransport):
            self._transport.abort()  # a frozen server would keep a polite close waiting
        self._drop_pings()
        await super()._attempt_reconnect()

    def _drop_pings(self) -> None:
        """A PING of the old connection must not be answered by a PONG of the new one."""
        for pong in self._pongs:
            if not pong.done():
                pong.set_result(False)
        self._pongs = []
        self._pending = [command for command in self._pending if command is not PING_PROTO]
        self._pending_data_size = sum(map(len, self._pending))

    async def _process_err(self, err_msg: str) -> None:
        """Permissions are reported; anything else costs the connection, never the client."""
        error = nats_errors.Error("nats: " + err_msg.strip("'"))
        self._err = error
        await self._error_cb(error)
        if "permissions violation" not in err_msg:
            await self._process_op_err(error)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """In line behind what was queued before it."""
        if self.is_connected:
            self._pongs.append(self._loop.create_future() if future is None else future)
            self.enqueue(PING_PROTO)

    async def flush(self, timeout: float = 10) -> None:
        """Raises FlushTimeoutError, or BusDisconnected when the connection breaks."""
        if not self.is_connected:
            raise BusDisconnected("no NATS server to flush to")
        self._complete()
        future: asyncio.Future[bool] = self._loop.create_future()
        await self._send_ping(future)
        try:
            async with asyncio.timeout(timeout):
                if not await future:
                    raise BusDisconnected("the connection broke during a flush")
        except TimeoutError:
            raise nats_errors.FlushTimeoutError from None

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if status == Client.CLOSED:
            self._linked.set()  # whoever waits for a connection must hear that none will come
            if self.mux is not None:
                self.mux.close()
        self._write_pending()
        self._pending, self._pending_data_size = [], 0  # stock would wait for ever to write them
        await super()._close(status, do_cbs)
        self._drop_pings()
        self._fast.clear()

    def relinked(self) -> None:
        """The connection is usable again: subscriptions are replayed, pending data is written."""
        self._linked.set()

    async def wait_linked(self) -> None:
        """Wait for a usable connection; raises BusDisconnected once there can be none."""
        await self._linked.wait()
        if self.is_closed:
            raise BusDisconnected("the bus is closed")

    # ------------------------------------------------------------------ subscriptions

    def add_fast(self, subject: str, queue: str, handler: RawHandler) -> int:
        """Subscribe a synchronous handler; nats-py's table replays it after a reconnect.

        Raises InvalidInput: the server would answer a bad one with an error that ends the link.
        """
        _check_subject(subject, queue)
        self._sid += 1
        sid = self._sid
        self._fast[sid] = handler
        self._subs[sid] = NatsSubscription(self, sid, subject, queue=queue, cb=_never)
        self.enqueue(f"SUB {subject} {queue} {sid}\r\n".encode())
        return sid

    def unsubscribe_fast(self, sid: int) -> None:
        """End the interest; what is under way still reaches the handler until `forget_fast`."""
        if self._subs.pop(sid, None) is not None and not self.is_closed:
            self.enqueue(f"UNSUB {sid}\r\n".encode())

    def forget_fast(self, sid: int) -> None:
        self._fast.pop(sid, None)

    # ------------------------------------------------------------------ for nats-py's JetStream

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send(subject, payload, reply, encode_headers(headers) if headers else None)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: Mapping[str, Any] | None = None,
    ) -> Msg:
        assert self.mux is not None, "connect comes first"
        reply, future = self.mux.expect(subject, timeout)
        await self.publish(subject, payload, reply, headers)
        try:
            message = await future
        except RequestTimeout:
            raise nats_errors.TimeoutError from None
        except NoResponders:
            raise nats_errors.NoRespondersError from None
        found = message.headers
        return Msg(
            _client=self,
            subject=message.subject,
            reply=message.reply,
            data=message.data,
            headers=dict(found) if found else None,
        )


class _NoParser:
    """Stands where nats-py resets its parser; ours belongs to one transport."""

    def reset(self) -> None:
        pass


def _check_subject(subject: str, queue: str) -> None:
    *parents, last = subject.split(".")
    whole = all(_token(parent) for parent in parents) and (last == ">" or _token(last))
    if not whole or not subject.isprintable():
        raise InvalidInput(f"{subject!r} is no subject to subscribe to", target="subject")
    if " " in queue or not queue.isprintable():
        raise InvalidInput(f"{queue!r} is no queue group", target="queue")


def _token(word: str) -> bool:
    return word == "*" or (word != "" and not any(letter in word for letter in " *>"))


async def _never(_: Msg) -> None:
    """Stands in nats-py's table; the fast table has the handler."""
