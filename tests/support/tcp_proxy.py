"""A TCP proxy that records what a client sends, and can hold it back."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self


class TcpProxy:
    """`url` leads to the server; `sent` is every byte clients sent, in order.

    After `hold_from(mark)` bytes from the first `mark` on wait until `release()`; `held` is then
    set. `skip` marks are let through before.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls` speaks TLS to the server, while clients speak in clear."""
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._mark: bytes | None = None
        self._skip = 0
        self._released = asyncio.Event()
        self.held = asyncio.Event()
        self.sent = bytearray()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hold_from(self, mark: bytes, *, skip: int = 0) -> None:
        self._mark = mark
        self._skip = skip

    def release(self) -> None:
        self._mark = None
        self._released.set()

    def cut(self) -> None:
        """Close every connection; what was held back is lost, and new ones go through."""
        self._mark = None
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = "127.0.0.1" if self._tls is None else "localhost"
        up_reader, up_writer = await asyncio.open_connection(host, self._port, ssl=self._tls)
        for work in (self._up(reader, up_writer), self._down(up_reader, writer)):
            self._tasks.add(asyncio.create_task(work))

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.sent += data
                while self._mark is not None and self._mark in data:
                    before, mark, after = data.partition(self._mark)
                    writer.write(before)
                    if self._skip:
                        self._skip -= 1
                        writer.write(mark)
                        data = after
                        continue
                    self.held.set()
                    await self._released.wait()
                    data = mark + after
                    break
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
