"""The socket of one connection: lines while greeting, then every byte straight into the parser."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import ParseResult

from headrace_bus.client.parser import ProtocolError, StreamParser
from headrace_bus.client.stock import Transport

WRITE_HIGH_BYTES: Final = 1024 * 1024  # past this the socket is behind and writes wait
READ_BYTES: Final = 256 * 1024
DIRECT_BYTES: Final = 32 * 1024  # a smaller rest of a body comes along with what follows it
CLOSE_TIMEOUT_S: Final = 2.0
_GREETING_BYTES: Final = 1024 * 1024
_PORT: Final = 4222


class WireTransport(Transport, asyncio.BufferedProtocol):
    """nats-py's transport on one asyncio protocol, without a stream reader in between.

    `receive(parser)` starts the data path; `lost` is done once the connection is gone.
    """

    def __init__(self, on_writable: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._parser: StreamParser | None = None
        self._refuse: Callable[[ProtocolError], None] | None = None
        self._pieces = memoryview(bytearray(READ_BYTES))
        self._direct = False  # the socket writes into a body's room, not into `_pieces`
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

    def receive(self, parser: StreamParser, refuse: Callable[[ProtocolError], None]) -> None:
        """From now on the parser gets every byte as it comes; `refuse` hears of nonsense."""
        self._parser, self._refuse = parser, refuse
        if self._buffer:
            here = bytes(self._buffer)
            self._buffer.clear()
            self._feed(here)

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        assert self._refuse is not None
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            self._refuse(error)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from neither
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        room = self._parser.room() if self._parser is not None else None
        self._direct = room is not None and len(room) > DIRECT_BYTES
        return room if self._direct and room is not None else self._pieces

    def buffer_updated(self, nbytes: int) -> None:
        if self._parser is None:
            self._buffer += self._pieces[:nbytes]
            self._news.set()
        elif self._direct:
            self._parser.wrote(nbytes)
        else:
            self._feed(bytes(self._pieces[:nbytes]))

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
