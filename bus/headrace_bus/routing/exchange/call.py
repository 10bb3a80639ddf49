"""One request inside a gateway: what came in, who gets its result, and the chunks of a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple, Protocol

from headrace_bus.errors import StreamBroken
from headrace_bus.routing.bodies.shared_file import SharedFile
from headrace_bus.routing.exchange.accounting import End, Tally, end_of
from headrace_bus.routing.exchange.metrics import ChannelMetrics
from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.wire.envelope import Answer, AnswerKind
from headrace_bus.wire.route_record import DeploymentRoute

CREDIT_CHUNKS: Final = 4  # chunks read by the client before the instance gets credit for as many

BODY_BYTES: Final = 64 * 1024 * 1024  # where nothing else is said

Result = Answer | Refusal
Deliver = Callable[["Call", Result], None]
"""Called once, synchronously, perhaps before `submit` has returned; an Answer of kind CHUNK means
that the body comes from `chunks()`."""


class Owner(Protocol):
    """The deployment's side of a gateway, as a call sees it."""

    route: DeploymentRoute
    tally: Tally
    metrics: ChannelMetrics

    def credit(self, call: Call, chunks: int) -> None: ...
    def cancel(self, call: Call) -> None: ...


class Sending(Protocol):
    """A message that carried the call, while it may still be answered."""

    def remove(self, call: Call) -> None: ...


class Incoming(NamedTuple):
    """A request as an edge took it."""

    request_id: str
    head: bytes
    """`wire.head.request_head`."""
    body: bytes
    traceparent: str = ""
    timeout_ms: int | None = None
    """The client's own deadline, from now; only ever shortens ours."""
    file: SharedFile | None = None
    """Holds a large body in place of `body`, and has room for a large answer."""
    limit_bytes: int = BODY_BYTES
    """Of an answer that no message carries."""


class Call(QueueEntry):
    """An entry with its request and where its result goes."""

    __slots__ = (
        "_chunks",
        "_more",
        "_unread",
        "channel",
        "deliver",
        "done",
        "ended",
        "incoming",
        "queue_wait_s",
        "received",
        "resent",
        "run",
        "sent_in",
        "spool",
        "spool_epoch",
        "streaming",
    )

    def __init__(
        self,
        incoming: Incoming,
        channel: Owner,
        deliver: Deliver | None,
        *,
        arrived: float,
        queue_wait_s: float,
        run_timeout_s: float,
    ) -> None:
        queue_deadline = arrived + queue_wait_s
        deadline = queue_deadline + run_timeout_s
        if incoming.timeout_ms is not None:
            deadline = min(deadline, arrived + incoming.timeout_ms / 1000)
        super().__init__(
            incoming.request_id,
            arrived=arrived,
            queue_deadline=queue_deadline,
            deadline=deadline,
            run_timeout_s=run_timeout_s,
        )
        self.incoming = incoming
        self.queue_wait_s = queue_wait_s
        self.channel = channel
        self.deliver = deliver
        """None for a mirror's copy: nobody reads what it gives."""
        self.done = False
        self.ended = deliver is None
        """It is counted; a copy for a mirror never is."""
        self.sent_in: tuple[Sending, ...] = ()
        """By which its answer may come; the last is the one it was sent with last."""
        self.resent = False
        """It was sent again after a cut: an instance may have had it before."""
        self.streaming = False
        """A byte of the answer may have left: nothing is retried any more."""
        self.received = 0
        """Chunks of a streamed answer."""
        self.run = -1
        """Which run at its instance they are of; below 0 when that is not said."""
        self.spool: SharedFile | None = None
        """Holds the answer, or what of it is here, of an instance that has no room of ours."""
        self.spool_epoch = 0
        """Which life of which instance that answer is of."""
        self._chunks: deque[Answer] | None = None
        self._more: asyncio.Future[None] | None = None
        self._unread = 0

    @property
    def may_have_begun(self) -> bool:
        """Not to be scored twice, and only the instance it was sent to knows whether it was.

        BUSY may be its word about the first sending while the second is on the way.
        """
        return self.resent and not self.channel.route.idempotent

    @property
    def may_stand_by(self) -> bool:
        """A large body moves once, to where it is read."""
        return self.attempt == 1 and self.incoming.file is None

    def resolve(self, result: Result) -> None:
        """Give the result, once; a stream that had begun is broken by a refusal."""
        if self.deliver is None:
            self._mirrored(result)
            return
        if isinstance(result, Refusal):
            self.end(end_of(result))
        elif result.kind != AnswerKind.CHUNK:
            self.end(End.COMPLETED)
        if not self.done:
            self.done = True
            self.deliver(self, result)
        elif self.streaming and isinstance(result, Refusal):
            self._put(_broken(self.request_id, result.reason))

    def _mirrored(self, result: Result) -> None:
        if not self.done and (isinstance(result, Refusal) or result.kind != AnswerKind.CHUNK):
            self.done = True
            streamed = 424 if result.reason else 200  # the end of a stream has no status
            self.channel.metrics.mirrored(result.status or streamed)

    def end(self, how: End) -> None:
        """Count what became of it; only the first word counts."""
        if not self.ended:
            self.ended = True
            self.channel.tally.ends[how] += 1

    def close(self) -> None:
        """No answer is expected any more of what was sent so far."""
        for batch in self.sent_in:
            batch.remove(self)
        self.sent_in = ()

    def add_chunk(self, answer: Answer) -> None:
        """Take the next CHUNK or the END of a streamed answer; one that came before is dropped.

        As an instance says it again after a cut; what another run makes of the request breaks it.
        """
        if answer.kind == AnswerKind.CHUNK:
            if self.received and answer.exec_us != self.run:
                self._put(_broken(self.request_id, "it was run anew"))
                return
            if answer.seq < self.received and self.run >= 0:
                return
            self.run, self.received = answer.exec_us, answer.seq + 1
        self.streaming = True
        if self.deliver is not None:
            self._put(answer)
            if answer.kind == AnswerKind.END:
                self.end(End.FAILED if answer.reason else End.COMPLETED)
        self.resolve(answer)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body of a streamed answer as it comes.

        Raises StreamBroken when the model or its instance ended in the middle.
        """
        expected = 0
        while True:
            while not self._chunks:
                self._more = asyncio.get_running_loop().create_future()
                await self._more
            answer = self._chunks.popleft()
            if answer.kind == AnswerKind.END:
                if answer.reason or answer.seq != expected:
                    raise StreamBroken(self.request_id, answer.reason or "chunks are missing")
                return
            if answer.seq != expected:
                raise StreamBroken(self.request_id, "chunks are missing")
            expected += 1
            yield answer.body
            self._credit()

    def _credit(self) -> None:
        self._unread += 1
        if self._unread == CREDIT_CHUNKS:
            self._unread = 0
            self.channel.credit(self, CREDIT_CHUNKS)

    def _put(self, answer: Answer) -> None:
        if self._chunks is None:
            self._chunks = deque()  # most requests have none
        self._chunks.append(answer)
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


def _broken(request_id: str, reason: str) -> Answer:
    return Answer(
        kind=AnswerKind.END,
        request_id=request_id,
        status=0,
        exec_us=-1,
        free=0,
        seq=-1,
        reason=reason or "lost",
        epoch=0,
        head=b"",
        body=b"",
    )
