"""The bus as every service sees it: one NATS connection behind a small synchronous surface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import structlog

from headrace_bus.client.dialing import connect_options, inbox_prefix, wants_tls
from headrace_bus.client.headers import encode_headers
from headrace_bus.client.inbox import Inbox, ReplyMux
from headrace_bus.client.life_events import Callback, LifeEvents
from headrace_bus.client.link import Link
from headrace_bus.client.message import Message, make_message
from headrace_bus.client.settings import BusSettings
from headrace_bus.client.stock import NUID, JetStreamContext
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.client.subscription import Subscription
from headrace_bus.errors import BusDisconnected, JetStreamRefused, NoResponders

__all__ = ["Bus", "Inbox", "Message", "Subscription"]

log = structlog.get_logger(__name__)

Handler = Callable[[Message], None]

CLOSE_FLUSH_S: Final = 2.0  # what close() waits for the server to take the last messages
_BEHIND_BYTES: Final = 4 * 1024 * 1024  # of pending data, past which `writable` waits
_JETSTREAM_API: Final = "$JS.API."


class Bus:
    """One connection. Made by `connect`; used from the event loop that made it, only."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._events = LifeEvents(settings.name)
        self._nuid = NUID()
        self._subscriptions: set[Subscription] = set()
        self._link = Link(
            secure=wants_tls(settings),
            refused_grace_s=settings.refused_grace_s,
            pending_bytes=settings.pending_bytes,
        )
        self.on_reconnect(self._link.relinked)

    @classmethod
    async def connect(cls, settings: BusSettings) -> Self:
        """Connect to the first server that answers, and stay connected for ever after.

        Raises BusDisconnected when none does in `connect_timeout_s`, Unauthorized when one
        refuses the credentials, InvalidInput when the credentials cannot be read.
        """
        bus = cls(settings)
        await bus._dial()
        return bus

    # ------------------------------------------------------------------ messages

    def publish(
        self,
        subject: str,
        data: bytes,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Queue a message; all of a loop tick leave in one write, in order.

        Without a connection it waits for one, up to `pending_bytes` in total.
        Raises PayloadTooLarge (headers counted), BusDisconnected when nothing more may wait or
        the bus is closed, InvalidInput for a subject or header that cannot be sent.
        """
        self._link.send(subject, data, reply, encode_headers(headers) if headers else None)

    def before_write(self, work: Callback) -> None:
        """Call `work` once, at the end of this loop tick; what it publishes leaves in its write."""
        self._link.before_write(work)

    async def writable(self) -> None:
        """Wait until the server has taken most of what was published: for long streams."""
        if self._link.pending_data_size > _BEHIND_BYTES:
            await self.flush(self._settings.ping_interval_s * 3)

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Call `handler(message)` for each message, synchronously: it admits and returns.

        An exception of the handler is logged. The server knows of the subscription before any
        later publish of this bus; `flush` waits until it does. Raises InvalidInput.
        """

        def receive(subject: bytes, reply: bytes, data: bytes, header: bytes | None) -> None:
            handler(make_message(subject, reply, data, header))

        sid = self._link.add_fast(subject, queue, receive)
        return Subscription(self._link, sid, subject, self._subscriptions)

    def request(
        self,
        subject: str,
        data: bytes,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> asyncio.Future[Message]:
        """The first answer, as a future; raises what `publish` raises.

        The future raises RequestTimeout, NoResponders (nothing was delivered) or, when the bus
        closes, BusDisconnected. A request outlives a reconnect.
        """
        mux = self._mux
        reply, future = mux.expect(subject, timeout_s)
        try:
            self._link.send(subject, data, reply, encode_headers(headers) if headers else None)
        except Exception:
            mux.forget(reply)
            raise
        return future

    def open_inbox(self, handler: Handler) -> Inbox:
        """A reply subject for many answers, on the subscription that `request` uses.

        "No responders" comes as a message with `no_responders`.
        """
        return self._mux.open(handler)

    async def flush(self, timeout_s: float = 10.0) -> None:
        """Return when the server has processed all that was published and subscribed before.

        Waits for a connection first. Raises BusDisconnected when there is none in time, or it
        breaks meanwhile: then what was under way may be lost.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._link.wait_linked()
                await self._link.flush(timeout_s)
        except (TimeoutError, nats_errors.FlushTimeoutError) as error:
            raise BusDisconnected(f"no NATS server answered within {timeout_s:g} s") from error

    # ------------------------------------------------------------------ state

    @property
    def connected(self) -> bool:
        """What is believed; `flush` asks the server."""
        return self._link.is_connected

    @property
    def closed(self) -> bool:
        return self._link.is_closed

    @property
    def max_payload(self) -> int:
        """Bytes of headers and data in one message, as the server says."""
        return self._link.max_payload

    @property
    def connection_name(self) -> str:
        return self._settings.name

    @property
    def links(self) -> int:
        """Connections it has had: with each that ended, what was on its way may be lost."""
        return self._events.links

    def on_disconnect(self, callback: Callback) -> None:
        """Call when the connection is lost; publishes wait from then on."""
        self._events.on_disconnect.append(callback)

    def on_reconnect(self, callback: Callback) -> None:
        """Call when there is one again, subscriptions are replayed and pending messages sent."""
        self._events.on_reconnect.append(callback)

    def on_closed(self, callback: Callback) -> None:
        """Call when the connection ended for good and nobody asked for it: exit the process."""
        self._events.on_closed.append(callback)

    # ------------------------------------------------------------------ end

    async def drain(self, timeout_s: float = 10.0) -> None:
        """Take nothing more: end all subscriptions, with their messages handed to handlers.

        Answers may still be published, and requests answered, until `close`.
        """
        await asyncio.gather(*(one.drain(timeout_s) for one in list(self._subscriptions)))

    async def close(self) -> None:
        """Send what waits, within a bound, and disconnect. A second call does nothing."""
        if self._events.closing:
            return
        self._events.closing = True
        try:
            if self._link.is_connected:
                await self._link.flush(CLOSE_FLUSH_S)
        except (BusDisconnected, nats_errors.Error):
            log.warning("the bus closed before the server confirmed its last messages")
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ------------------------------------------------------------------ JetStream, for the store

    def jetstream(self, **options: Any) -> JetStreamContext:
        """nats-py's JetStream on this connection, with nats-py's errors."""
        return JetStreamContext(self._link, **options)

    async def jetstream_api(
        self, call: str, body: Mapping[str, Any] | None = None, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """Ask `$JS.API.<call>`, for what nats-py does not model; durations are in ns.

        Raises JetStreamRefused, RequestTimeout; BusDisconnected when JetStream is off.
        """
        data = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await self.request(_JETSTREAM_API + call, data, timeout_s)
        except NoResponders as error:
            raise BusDisconnected("JetStream does not answer") from error
        found: dict[str, Any] = json.loads(answer.data)
        if refusal := found.get("error"):
            raise JetStreamRefused.of(call, refusal)
        return found

    # ------------------------------------------------------------------ inside

    @property
    def _mux(self) -> ReplyMux:
        if self._link.mux is None or self._link.is_closed:
            raise BusDisconnected("the bus is closed")
        return self._link.mux

    async def _dial(self) -> None:
        settings, events = self._settings, self._events
        events.closing = True  # until there is a connection, its end is told by an error
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await self._link.connect(
                    settings.servers,
                    error_cb=events.report,
                    disconnected_cb=events.disconnected,
                    reconnected_cb=events.reconnected,
                    closed_cb=events.ended,
                    **connect_options(settings),
                )
        except TimeoutError as error:
            await self._link.close()
            raise BusDisconnected(
                f"no NATS server at {settings.places} within {settings.connect_timeout_s:g} s",
                hint="Check the address, and that the server runs.",
            ) from error
        except BaseException:
            await self._link.close()
            raise
        events.closing = False
        prefix = inbox_prefix(settings) + "." + self._nuid.next().decode()
        mux = self._link.mux = ReplyMux(prefix)
        self._link.add_fast(mux.subject, "", mux.receive)
