"""The bus as every service sees it: one NATS connection behind a small synchronous surface."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import structlog

from headrace_bus.client.credentials import Credentials
from headrace_bus.client.headers import encode_headers
from headrace_bus.client.inbox import Inbox, ReplyMux
from headrace_bus.client.link import Link
from headrace_bus.client.message import Message, make_message
from headrace_bus.client.settings import BusSettings
from headrace_bus.client.stock import NUID, JetStreamContext
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.errors import BusDisconnected, JetStreamRefused, NoResponders

__all__ = ["Bus", "Inbox", "Message", "Subscription"]

log = structlog.get_logger(__name__)

Handler = Callable[[Message], None]
Callback = Callable[[], None]

CLOSE_FLUSH_S: Final = 2.0  # what close() waits for the server to take the last messages
_BEHIND_BYTES: Final = 4 * 1024 * 1024  # of pending data, past which `writable` waits
_JETSTREAM_API: Final = "$JS.API."


class Subscription:
    """Interest in a subject, replayed after each reconnect."""

    def __init__(self, link: Link, sid: int, subject: str, siblings: set[Subscription]) -> None:
        self._link = link
        self._sid = sid
        self._siblings = siblings
        self.subject: Final = subject
        siblings.add(self)

    async def unsubscribe(self) -> None:
        """End the interest now; messages under way are dropped."""
        self._link.unsubscribe_fast(self._sid)
        self._forget()

    async def drain(self, timeout_s: float = 10.0) -> None:
        """End the interest; return when the handler has had every message sent before.

        Raises BusDisconnected when that takes longer.
        """
        self._link.unsubscribe_fast(self._sid)
        try:
            if self._link.is_connected:
                await self._link.flush(timeout_s)
        except nats_errors.FlushTimeoutError as error:
            raise BusDisconnected(f"no end of {self.subject!r} within {timeout_s:g} s") from error
        except BusDisconnected:
            pass  # what was under way went with the connection
        finally:
            self._forget()

    def _forget(self) -> None:
        self._link.forget_fast(self._sid)
        self._siblings.discard(self)


class Bus:
    """One connection. Made by `connect`; used from the event loop that made it, only."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._closing = False
        self._links = 1
        self._nuid = NUID()
        self._subscriptions: set[Subscription] = set()
        self._on_disconnect: list[Callback] = []
        self._on_reconnect: list[Callback] = []
        self._on_closed: list[Callback] = []
        self._link = Link(
            secure=_wants_tls(settings),
            refused_grace_s=settings.refused_grace_s,
            pending_bytes=settings.pending_bytes,
        )

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
        """What is believed; `healthy` asks the server."""
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
        return self._links

    async def healthy(self, timeout_s: float = 2.0) -> bool:
        """Whether the server answers and this side hears it."""
        try:
            await self.flush(timeout_s)
        except BusDisconnected:
            return False
        return True

    def on_disconnect(self, callback: Callback) -> None:
        """Call when the connection is lost; publishes wait from then on."""
        self._on_disconnect.append(callback)

    def on_reconnect(self, callback: Callback) -> None:
        """Call when there is one again, subscriptions are replayed and pending messages sent."""
        self._on_reconnect.append(callback)

    def on_closed(self, callback: Callback) -> None:
        """Call when the connection ended for good and nobody asked for it: exit the process."""
        self._on_closed.append(callback)

    # ------------------------------------------------------------------ end

    async def drain(self, timeout_s: float = 10.0) -> None:
        """Take nothing more: end all subscriptions, with their messages handed to handlers.

        Answers may still be published, and requests answered, until `close`.
        """
        await asyncio.gather(*(one.drain(timeout_s) for one in list(self._subscriptions)))

    async def close(self) -> None:
        """Send what waits, within a bound, and disconnect. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        try:
            if self._link.is_connected:
                await self._link.flush(CLOSE_FLUSH_S)
        except (BusDisconnected, nats_errors.Error):
            log.warning("the bus closes with messages the server may not have")
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
            raise JetStreamRefused(call, refusal.get("err_code", 0), refusal.get("description", ""))
        return found

    # ------------------------------------------------------------------ inside

    @property
    def _mux(self) -> ReplyMux:
        if self._link.mux is None or self._link.is_closed:
            raise BusDisconnected("the bus is closed")
        return self._link.mux

    async def _dial(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await self._link.connect(settings.servers, **self._options())
        except TimeoutError as error:
            await self._abandon()
            raise BusDisconnected(
                f"no NATS server at {settings.places} within {settings.connect_timeout_s:g} s",
                hint="Check the address, and that the server runs.",
            ) from error
        except BaseException:
            await self._abandon()
            raise
        prefix = self._inbox_prefix() + "." + self._nuid.next().decode()
        mux = self._link.mux = ReplyMux(prefix)
        self._link.add_fast(mux.subject, "", mux.receive)

    async def _abandon(self) -> None:
        self._closing = True
        await self._link.close()

    def _inbox_prefix(self) -> str:
        if self._settings.inbox_prefix is not None:
            return self._settings.inbox_prefix
        if self._settings.credentials is None:
            return "_INBOX"
        return Credentials.read(self._settings.credentials).inbox_prefix

    def _options(self) -> dict[str, Any]:
        """What nats-py's connect takes."""
        settings = self._settings
        options: dict[str, Any] = {
            "name": settings.name,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "connect_timeout": settings.dial_timeout_s,
            "reconnect_time_wait": settings.reconnect_wait_s,
            "ping_interval": settings.ping_interval_s,
            "max_outstanding_pings": 2,
            "inbox_prefix": self._inbox_prefix(),
            "tls_handshake_first": settings.tls_handshake_first,
            "error_cb": self._report,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._ended,
        }
        if _wants_tls(settings):
            options["tls"] = ssl.create_default_context(cafile=settings.ca_file)
        if path := settings.credentials:
            # Read at each connect, so that renewed credentials are taken up.
            options["user_jwt_cb"] = lambda: Credentials.read(path).jwt.encode()
            options["signature_cb"] = lambda nonce: _sign(path, nonce)
        return options

    async def _report(self, error: Exception) -> None:
        """Never raises: an exception in here would end nats-py's tasks."""
        if isinstance(error, nats_errors.Error) and not isinstance(
            error, nats_errors.UnexpectedEOF
        ):
            log.warning("the bus reports an error", error=str(error), bus=self._settings.name)
        else:
            log.debug("a NATS server cannot be reached", error=repr(error))

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("the bus lost its server", bus=self._settings.name)
            _call(self._on_disconnect)

    async def _reconnected(self) -> None:
        self._links += 1
        self._link.relinked()
        log.info("the bus has a server again", bus=self._settings.name)
        _call(self._on_reconnect)

    async def _ended(self) -> None:
        if not self._closing:
            log.error("the bus is closed for good", bus=self._settings.name)
            _call(self._on_closed)


def _sign(path: Path, nonce: str) -> bytes:
    return base64.b64encode(Credentials.read(path).sign(nonce.encode()))


def _wants_tls(settings: BusSettings) -> bool:
    return settings.ca_file is not None or any(
        server.startswith("tls://") for server in settings.servers
    )


def _call(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:  # somebody else's callback must not stop the reconnect
            log.exception("a callback of the bus failed")
