"""The receiving half of the link: our handlers run at once, nats-py's callbacks in turn."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import structlog

from headrace_bus.client.outbound import Outbound
from headrace_bus.client.parser import ProtocolError, StreamParser
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.client.transport import WireTransport

log = structlog.get_logger(__name__)

RawHandler = Callable[[bytes, bytes, bytes, bytes | None], None]

_PONG: Final = b"PONG\r\n"


class Inbound(Outbound):
    """nats-py's client with our way of reading."""

    def __init__(self, *, pending_bytes: int) -> None:
        super().__init__(pending_bytes=pending_bytes)
        self._ps = cast("Any", _NoParser())
        self._fast: dict[int, RawHandler] = {}
        self._callbacks: deque[Callable[[], Awaitable[None]]] = deque()
        self._callback_task: asyncio.Task[None] | None = None

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
            self._call_later(
                lambda: self._process_msg(sid, subject, reply, data, cast("Any", header))
            )
            return
        try:
            handler(subject, reply, data, header)
        except Exception:  # a subscriber's mistake must not end the read loop
            log.exception("a message handler failed", subject=subject.decode("utf-8", "replace"))

    def on_ping(self) -> None:
        self.enqueue(_PONG)

    def on_pong(self) -> None:
        if self._callbacks:
            self._call_later(self._process_pong)  # not ahead of queued messages
        else:
            self._take_pong()

    def on_info(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except ValueError:
            log.warning("the server sent an INFO that is not JSON")
            return
        self._max_payload = info.get("max_payload", self._max_payload)
        self._call_later(lambda: self._process_info(info))

    def on_error(self, text: bytes) -> None:
        words = text.decode("utf-8", "replace").lower()
        self._call_later(lambda: self._process_err(words))

    def _call_later(self, work: Callable[[], Awaitable[None]]) -> None:
        self._callbacks.append(work)
        if self._callback_task is None or self._callback_task.done():
            self._callback_task = self._loop.create_task(
                self._run_callbacks(), name="bus:callbacks"
            )

    async def _run_callbacks(self) -> None:
        """What nats-py handles in coroutines, one after the other, off the read path."""
        while self._callbacks:
            try:
                await self._callbacks[0]()
            except Exception:  # one bad message must not stop those behind it
                log.exception("a message could not be handled")
            self._callbacks.popleft()

    async def _process_pong(self) -> None:
        self._take_pong()

    def _take_pong(self) -> None:
        self._pings_outstanding = 0
        if self._pongs:
            pong = self._pongs.pop(0)
            if not pong.done():  # stock sets a result on a flush that timed out, and dies of it
                pong.set_result(True)


class _NoParser:
    """Stands where nats-py resets its parser; ours belongs to one transport."""

    def reset(self) -> None:
        pass
