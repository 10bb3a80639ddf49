"""The sending half of the link: everything queued in a loop tick leaves in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from headrace_api.errors import InvalidInput
from headrace_bus.client.stock import Client
from headrace_bus.client.transport import WireTransport
from headrace_bus.errors import BusDisconnected, PayloadTooLarge

log = structlog.get_logger(__name__)

_SEPARATE_BYTES: Final = 32 * 1024  # a body from this size on is written without being joined
_WORDS: Final = 4096  # subjects that are remembered


class Outbound(Client):
    """nats-py's client with our way of writing."""

    def __init__(self, *, pending_bytes: int) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._before_write: list[Callable[[], None]] = []
        self._words: dict[str, bytes] = {}
        self._pending_bytes = pending_bytes

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
