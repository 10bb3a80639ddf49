"""The stock nats-py client behind the surface of Bus: what the tests of corrections show red."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Self

from nats.aio.client import Client
from nats.aio.msg import Msg

from headrace_bus.client.connection import Message
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.settings import BusSettings


class StockSubscription:
    def __init__(self, subscription: Any) -> None:
        self._subscription = subscription

    async def drain(self, timeout_s: float = 10.0) -> None:
        await self._subscription.drain()


class StockBus:
    """As thin as can be: no behaviour of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._on_disconnect: list[Callable[[], None]] = []

    @classmethod
    async def connect(cls, settings: BusSettings) -> Self:
        bus = cls(Client())
        options: dict[str, Any] = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.25}
        options["pending_size"] = settings.pending_bytes
        if path := settings.credentials:
            options["user_jwt_cb"] = lambda: Credentials.read(path).jwt.encode()
            options["signature_cb"] = lambda nonce: base64.b64encode(
                Credentials.read(path).sign(nonce.encode())
            )
        await bus._client.connect(
            settings.servers, disconnected_cb=bus._disconnected, error_cb=_quiet, **options
        )
        return bus

    def publish(
        self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        _run_now(self._client.publish(subject, data, reply, dict(headers) if headers else None))

    async def subscribe(
        self, subject: str, handler: Callable[[Message], None], queue: str = ""
    ) -> StockSubscription:
        async def receive(message: Msg) -> None:
            handler(Message(message.subject.encode(), message.reply.encode(), message.data))

        return StockSubscription(await self._client.subscribe(subject, queue, receive))

    def request(self, subject: str, data: bytes, timeout_s: float) -> Awaitable[Message]:
        async def ask() -> Message:
            answer = await self._client.request(subject, data, timeout_s)
            return Message(answer.subject.encode(), answer.reply.encode(), answer.data)

        return asyncio.ensure_future(ask())

    async def flush(self, timeout_s: float = 10.0) -> None:
        await self._client.flush(timeout_s)  # type: ignore[arg-type]  # it takes fractions

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def closed(self) -> bool:
        return self._client.is_closed

    @property
    def max_payload(self) -> int:
        return self._client.max_payload

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        self._on_disconnect.append(callback)

    async def close(self) -> None:
        await self._client.close()

    async def _disconnected(self) -> None:
        for callback in self._on_disconnect:
            callback()


async def _quiet(_: Exception) -> None:
    """The stock default logs tracebacks."""


def _run_now(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that does not wait: nats-py's publish only queues."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("publish waited")
