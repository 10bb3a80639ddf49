"""The socket of one connection: lines while greeting, then every byte straight into the parser."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import ParseResult

from nats.aio.transport import Transport

WRITE_HIGH_BYTES: Final = 1024 * 1024  # past this the socket is behind and writes wait
CLOSE_TIMEOUT_S: Final = 2.0
_GREETING_BYTES: Final = 1024 * 1024
_PORT: Final = 4222


class WireTransport(Transport, asyncio.Protocol):
    """nats-py's transport on one asyncio protocol, without a stream reader in between.

    `receive(feed)` starts the data path; `lost` is done once the connection is gone.
    """

    def __init__(self, on_writable: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._feed: Callable[[bytes], None] | None = None
        self._on_writable = on_writable
        self._news = asyncio.Event()  # bytes or the end came, while lines are read
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.lost: asyncio.Future[Exception | None] = self._loop.create_future()

    # nats-py's side

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        host, port = uri.hostname or "", uri.port or _PORT
        async with asyncio.timeout(connect_timeout):
            await self._loop.create_connection(lambda: self, host, port)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: float,
    ) -> None:
        host = uri if isinstance(uri, str) else uri.hostname
        plain = self._plain()
        async with asyncio.timeout(connect_timeout):
            upgraded = await self._loop.start_tls(plain, self, ssl_context, server_hostname=host)
        if upgraded is None:
            raise ConnectionError("the server went away during the TLS handshake")
        self._transport = upgraded

    def write(self, payload: bytes) -> None:
        self._plain().write(payload)

    def writelines(self, payload: list[bytes]) -> None:
        self._plain().writelines(payload)

    async def read(self, buffer_size: int) -> bytes:
        raise NotImplementedError("bytes go to the parser; see receive()")

    async def readline(self) -> bytes:
        """The next line with its end; what there is when the connection ends or talks nonsense."""
        while (end := self._buffer.find(b"\n")) < 0:
            if self.lost.done() or len(self._buffer) > _GREETING_BYTES:
                end = len(self._buffer) - 1
                break
            self._news.clear()
            await self._news.wait()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    async def drain(self) -> None:
        """Wait until the socket has caught up; raises ConnectionResetError when it is gone."""
        if self.lost.done():
            raise ConnectionResetError("the connection to the NATS server is lost")
        await self._flowing.wait()

    async def wait_closed(self) -> None:
        """What is still to be sent gets a bounded time, as a frozen server would keep us."""
        if self._transport is not None:
            await asyncio.wait([self.lost], timeout=CLOSE_TIMEOUT_S)
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def at_eof(self) -> bool:
        return self.lost.done()

    def __bool__(self) -> bool:
        return self._transport is not None

    # the data path's side

    @property
    def flowing(self) -> bool:
        """Whether a write goes to the socket now instead of piling up behind it."""
        return self._flowing.is_set() and not self.lost.done()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def receive(self, feed: Callable[[bytes], None]) -> None:
        """From now on `feed` gets every piece as it comes; it must not raise."""
        self._feed = feed
        if self._buffer:
            here = bytes(self._buffer)
            self._buffer.clear()
            feed(here)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from neither
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._feed is not None:
            self._feed(data)
        else:
            self._buffer += data
            self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)
        self._news.set()
        self._flowing.set()

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()
        self._on_writable()

    def _plain(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionError("not connected")
        return self._transport
