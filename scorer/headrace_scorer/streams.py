"""Streamed answers of one instance, and whether anybody reads them still.

Who produces waits for credit, and who would give it may be gone without a word: an ingress that was
killed, or a cancel that was lost. The slot would be taken for as long as `run` may take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from headrace_bus.client.inbox import Inbox
from headrace_bus.client.message import Message
from headrace_bus.errors import BusError
from headrace_bus.wire.envelope import CHUNK_WINDOW, Answer, AnswerKind, encode_answer
from headrace_scorer.execution import Execution
from headrace_scorer.transfers import NOBODY_TIMES, Bus

log = structlog.get_logger(__name__)

UNREAD_S: Final = 150.0  # an edge gives credit for four chunks, and gives up each after 30 s


@dataclass(slots=True)
class _Stream:
    execution: Execution
    inbox: Inbox
    """Where the server says that nobody listens any more."""
    since: float
    """When a chunk left or credit came."""
    unread: int = 0
    missed: bool = False
    """Nobody was there for what was said last, since the last tick."""
    nobody: int = 0
    """Ticks in a row in which nobody was there."""
    kept: list[bytes] | None = field(default_factory=list)
    """All chunks so far, until the reader is known to have got the first."""


class Streams:
    """Those of one instance, by request id. `unread` is told of one that nobody reads, once."""

    def __init__(self, bus: Bus, epoch: int, unread: Callable[[Execution], None]) -> None:
        self._bus = bus
        self._epoch = epoch
        self._unread = unread
        self._open: dict[str, _Stream] = {}

    def send(self, execution: Execution, chunk: Answer, now: float) -> bool:
        """Publish the next chunk; False when it is lost, and with it what would come behind."""
        request_id = execution.request.request_id
        stream = self._open.get(request_id)
        if stream is None:
            inbox = self._bus.open_inbox(partial(self._nobody, request_id))
            stream = self._open[request_id] = _Stream(execution, inbox, now)
        stream.unread += 1
        stream.since = now
        data = encode_answer(chunk)
        if stream.kept is not None:
            stream.kept.append(data)
        return self._say(stream, data)

    def credit(self, execution: Execution, chunks: int, now: float) -> None:
        """So many more were read."""
        stream = self._open.get(execution.request.request_id)
        if stream is not None:
            stream.unread = max(0, stream.unread - chunks)
            stream.since, stream.missed, stream.kept = now, False, None

    def again(self, execution: Execution) -> None:
        """The connection of the reader broke, and it has nothing yet: all of it once more."""
        stream = self._open.get(execution.request.request_id)
        if stream is not None:
            for data in stream.kept or ():
                self._say(stream, data)

    def tick(self, now: float) -> None:
        """Each half second: ask after the readers of those that wait for credit, or found nobody.

        By an answer to no request, which every edge passes over.
        """
        for stream in list(self._open.values()):
            stream.nobody = stream.nobody + 1 if stream.missed else 0
            stream.missed = False
            full = stream.unread >= CHUNK_WINDOW
            if stream.nobody >= NOBODY_TIMES or (full and now - stream.since > UNREAD_S):
                self._end(stream)
            elif full or stream.nobody:
                word = Answer(AnswerKind.CHUNK, "", 0, -1, 0, 0, "", self._epoch, b"", b"")
                self._say(stream, encode_answer(word))

    def forget(self, execution: Execution) -> list[bytes]:
        """The request has its end; return the chunks of one whose reader may have none of them."""
        stream = self._open.pop(execution.request.request_id, None)
        if stream is None:
            return []
        stream.inbox.close()
        return stream.kept or []

    def _say(self, stream: _Stream, data: bytes) -> bool:
        try:
            self._bus.publish(stream.execution.reply, data, reply=stream.inbox.subject)
        except BusError as error:
            log.warning("an answer could not be published", error=str(error))
            return False
        return True

    def _nobody(self, request_id: str, message: Message) -> None:
        """A chunk is lost, and nothing behind it of use, unless all of them will be said again."""
        stream = self._open.get(request_id)
        if stream is None or not message.no_responders:
            return
        stream.missed = True
        if stream.kept is None and stream.unread < CHUNK_WINDOW:
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        self.forget(stream.execution)
        log.info("nobody reads a streamed answer", request_id=stream.execution.request.request_id)
        self._unread(stream.execution)
