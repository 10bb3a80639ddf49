"""nats-py's client with our data path and the corrections of what it gets wrong.

nats-py keeps greeting, TLS, credentials, the pool of servers, reconnects and JetStream. Replaced:

    bytes in  -> WireTransport -> StreamParser -> on_message -> a fast handler, synchronously
                                                            `-> callbacks: nats-py's own
    bytes out <- one joined write a loop tick <- _pending <- enqueue

Corrected, each held by a test that is red with the stock class: a flush that is no barrier and so
drains that lose messages; a late PONG, a raising error callback or handler that end the read loop
unseen; any -ERR that closes for ever; headers missing from the size check; the first PING after
the outage counted for one before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog

from headrace_api.errors import InvalidInput, Unauthorized
from headrace_bus.client.headers import encode_headers
from headrace_bus.client.inbound import Inbound, RawHandler
from headrace_bus.client.inbox import ReplyMux
from headrace_bus.client.stock import PING_PROTO, Client, Msg, Srv
from headrace_bus.client.stock import Subscription as NatsSubscription
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.client.transport import WireTransport
from headrace_bus.errors import BusDisconnected, NoResponders, RequestTimeout
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

_REFUSED: Final = ("authorization", "authentication")


class Link(Inbound):
    """One connection. Only `connection.Bus` and nats-py's JetStream context use it."""

    def __init__(self, *, secure: bool, refused_grace_s: float, pending_bytes: int) -> None:
        super().__init__(pending_bytes=pending_bytes)
        self._close_task: asyncio.Task[None] | None = None
        self._secure = secure
        self._refused_grace_s = refused_grace_s
        self._refused_since: float | None = None
        self._linked = asyncio.Event()
        self._ever_linked = False
        self.mux: ReplyMux | None = None

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
