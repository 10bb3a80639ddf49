"""A stock NATS client with given credentials, so that the server's own word is what is tested."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from nats.aio.client import Client

from headrace_bus.client.credentials import Credentials

_VIOLATION = re.compile(r'violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


class RawClient(Client):
    """Keeps what the server complained of."""

    def __init__(self) -> None:
        super().__init__()
        self.violations: list[str] = []

    async def may_publish(self, subject: str) -> bool:
        """Whether the server takes a message on the subject."""
        return await self._allowed(self.publish(subject, b"x"))

    async def may_subscribe(self, subject: str, queue: str = "") -> bool:
        return await self._allowed(self.subscribe(subject, queue))

    async def refused(
        self, publish: Iterable[str] = (), subscribe: Iterable[str] = ()
    ) -> set[tuple[str, str]]:
        """Which of many the server does not take, each as (act, subject), in one round trip."""
        before = len(self.violations)
        for subject in publish:
            await self.publish(subject, b"x")
        for subject in subscribe:
            await self.subscribe(subject)
        await asyncio.sleep(0)
        await self.flush()
        await self.rtt()
        found = [_VIOLATION.search(text) for text in self.violations[before:]]
        return {(one[1].lower(), one[2]) for one in found if one is not None}

    async def _allowed(self, act: object) -> bool:
        before = len(self.violations)
        await act  # type: ignore[misc]  # a coroutine of the untyped client
        await asyncio.sleep(0)  # the stock flush overtakes what is queued in the same tick
        await self.flush()
        await self.rtt()
        return len(self.violations) == before


@asynccontextmanager
async def raw_client(url: str, credentials: str) -> AsyncIterator[RawClient]:
    """Connect with the text of a `.creds` file."""
    user = Credentials.parse(credentials)
    client = RawClient()

    async def complain(error: Exception) -> None:
        client.violations.append(str(error))

    await client.connect(
        url,
        user_jwt_cb=lambda: bytearray(user.jwt, "ascii"),
        signature_cb=lambda nonce: base64.b64encode(user.sign(nonce.encode())),
        error_cb=complain,
        inbox_prefix=user.inbox_prefix,
        allow_reconnect=False,
    )
    try:
        yield client
    finally:
        await client.close()
