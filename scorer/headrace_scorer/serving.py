"""Requests from the bus to workers, and answers straight back to whoever asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from headrace_bus.errors import BusError, MalformedEnvelope, PayloadTooLarge
from headrace_bus.routing.admission.admission import (
    REMEMBERED,
    REMEMBERED_ONCE,
    Admission,
    Admitted,
    Busy,
    Draining,
    Duplicate,
    Grant,
)
from headrace_bus.routing.admission.look_ahead import LEAST_S, Ahead, base_slots, look_ahead
from headrace_bus.routing.bodies.shared_file import HANDED_BYTES, Bodies, message_bytes
from headrace_bus.routing.exchange.batching import Batcher
from headrace_bus.routing.queueing.standby import STANDBY_S, standby_places
from headrace_bus.wire.batch import couple, uncouple
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    Request,
    RequestFlag,
    decode_request,
    encode_answer,
    pack_answer,
)
from headrace_bus.wire.instance_control import Cancel, Credit, Pull, Recall, Want, decode_control
from headrace_bus.wire.launch import Launch
from headrace_scorer import transfers
from headrace_scorer.crash_triage import CANCELLED
from headrace_scorer.execution import Execution, Large
from headrace_scorer.one_way_delay import Lateness
from headrace_scorer.pool import Pool
from headrace_scorer.streams import Streams
from headrace_scorer.transfers import Transfers
from headrace_scorer.worker import frames
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

KEPT_ANSWERS: Final = 256  # sent again when a request comes twice after a reconnect
KEPT_BYTES: Final = 8 * 1024 * 1024
OVERHEAD_S: Final = 15e-6  # what a worker spends on a request outside `run`
SERVICE_WEIGHT: Final = 0.05  # of the newest sample in the mean service time
MIRROR: Final = int(RequestFlag.MIRROR)  # plain ints: the enum's operators cost 1 us each
MORE: Final = int(RequestFlag.MORE)
TRAINS: Final = int(RequestFlag.TRAINS)
STANDBY: Final = int(RequestFlag.STANDBY)
TOO_LARGE: Final = "answer_too_large"
FIRST_SAMPLES: Final = 8  # answers before the look-ahead is set for the first time


class Publisher(transfers.Bus, Protocol):
    """What serving needs of the bus."""

    @property
    def max_payload(self) -> int: ...
    def before_write(self, work: Callable[[], None]) -> None: ...


class Inbound(Protocol):
    """A message as the bus hands it to handlers."""

    @property
    def data(self) -> bytes: ...
    @property
    def reply(self) -> str: ...


class Serving:
    """The admission of one instance around its pool."""

    def __init__(self, launch: Launch, bus: Publisher, epoch: int, bodies: Bodies) -> None:
        self._launch = launch
        self._bus = bus
        self._batcher = Batcher(bus)
        self._epoch = epoch
        self._numbers = 0
        self._executions: dict[str, Execution] = {}
        self._transfers = Transfers(bus, bodies, epoch, self)
        self._streams = Streams(bus, epoch, self._give_up)
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._service_s: float | None = None
        self._ahead = Ahead()
        self._starts_at_once = 0
        self._lateness = Lateness()
        self.pool: Pool | None = None
        remembered = REMEMBERED if launch.idempotent else REMEMBERED_ONCE
        self.admission = Admission(0, remembered)
        self.served = 0
        self._idle = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when slots go from none to some or back."""

    @property
    def in_flight(self) -> int:
        return self.admission.in_flight

    @property
    def slots(self) -> int:
        return self.admission.slots

    def on_request(self, message: Inbound) -> None:
        """Handler of `inst.<ep>.<dep>.<iid>`."""
        reply = message.reply
        try:
            envelopes = uncouple(message.data)
        except MalformedEnvelope as error:
            log.warning("malformed message dropped", error=str(error))
            return
        for envelope in envelopes:
            try:
                request = decode_request(envelope)
            except MalformedEnvelope as error:
                log.warning("malformed request dropped", error=str(error))
                continue
            self._admit(request, reply)

    def on_control(self, message: Inbound) -> None:
        """Handler of `control.<ep>.<dep>.<iid>`."""
        try:
            control = decode_control(message.data)
        except MalformedEnvelope as error:
            log.warning("malformed control message dropped", error=str(error))
            return
        if isinstance(control, Want):
            now = monotonic()
            who, n, reply = control.ingress_id, control.n, control.reply
            waited_ms, slot = control.waited_ms, control.slot
            self._grant(self.admission.want(who, n, reply, now, waited_ms, slot=slot))
            return
        execution = self._executions.get(control.request_id)
        if execution is None or self.pool is None:
            return
        if isinstance(control, Cancel):
            if not self._transfers.cancel(execution):
                self.pool.cancel(execution)
        elif isinstance(control, Recall):
            self.pool.recall(execution)
        elif isinstance(control, Credit):
            self._streams.credit(execution, control.n, monotonic())
            self.pool.credit(execution, control.n)
        elif isinstance(control, Pull):
            self._transfers.pull(execution, control)
        else:
            self._transfers.piece(execution, control.number, control.data)

    def _admit(self, request: Request, reply: str) -> None:
        now = monotonic()
        verdict = self.admission.admit(
            request.request_id, request.ingress_id, request.flags, request.backlog, now
        )
        if isinstance(verdict, Admitted):
            idle = self.admission.in_flight <= self._starts_at_once
            if self._ahead.arrived(more=bool(request.flags & MORE), idle=idle):
                self.capacity_changed()
            if self.admission.wanted:
                self._grant(self.admission.grants(now))
            self._start(request, reply, now)
        elif isinstance(verdict, Duplicate):
            self._again(request, reply, verdict)
        elif isinstance(verdict, Busy):
            self._send(request, reply, encode_answer(self._answer(AnswerKind.BUSY, request)))
        elif isinstance(verdict, Draining):
            self._send(request, reply, encode_answer(self._answer(AnswerKind.DRAINING, request)))

    def _start(self, request: Request, reply: str, now: float) -> None:
        self._numbers += 1
        execution = Execution(
            number=self._numbers,
            request=request,
            reply=reply,
            deadline_s=self._deadline(request, now),
        )
        self._executions[request.request_id] = execution
        if request.flags & STANDBY and self.admission.in_flight > self.admission.slots:
            wait_s = min(STANDBY_S, max(0.0, execution.deadline_s - now))
            asyncio.get_running_loop().call_later(wait_s, self._stood_by, execution)
        if execution.deadline_s <= now:
            self.expired(execution)
        elif transfers.pulls(request):
            self._transfers.fetch(execution)
        else:
            self.fetched(execution)

    def _deadline(self, request: Request, now: float) -> float:
        """Monotonic seconds of our own; the time the request was on its way counts."""
        left_s = request.remaining_ms / 1e3
        sent = request.deadline_ms / 1e3 - left_s
        return now + left_s - self._lateness.late_s(request.ingress_id, sent, now)

    def fetched(self, execution: Execution) -> None:
        """The request is all here: to a worker with it."""
        assert self.pool is not None, "admission has no slot before there is a pool"
        self.pool.submit(execution)

    def _again(self, request: Request, reply: str, verdict: Duplicate) -> None:
        """A request that came twice: its answer is on its way, or is sent once more."""
        if not verdict.finished:
            running = self._executions.get(request.request_id)
            if running is not None and running.cancelled:  # its end would be no answer to this one
                self._publish(reply, self._answer(AnswerKind.BUSY, request))
            elif running is not None and reply:
                running.reply = reply
                self._transfers.again(running)
                self._streams.again(running)
            return
        kept = self._kept.get(request.request_id)
        if kept is not None:
            self._put(reply, kept)
        elif self._launch.idempotent:
            self._admit(request._replace(flags=request.flags & ~int(RequestFlag.RESENT)), reply)
        else:
            self._publish(reply, self._answer(AnswerKind.FAILED, request, reason="answer_lost"))

    def answered(self, execution: Execution, kind: int, payload: bytes) -> None:
        """A frame of a worker about one of our requests."""
        if kind == frames.CHUNK:
            if execution.large is None:
                self._chunk(execution, payload, 0, b"")
            else:
                self._transfers.keep(execution, payload)
            return
        try:
            status, exec_us, reason, head, body = frames.open_reply(payload)
        except frames.BrokenFrame as error:
            log.warning("broken answer of a worker", error=str(error))
            status, exec_us, reason, head, body = 0, -1, "broken_answer", b"", b""
        if kind == frames.STREAM:
            self._chunk(execution, b"", status, head)
        elif kind == frames.LARGE:
            execution.large = Large(status, exec_us, head)
            self._transfers.open(execution)
        elif kind == frames.END and execution.large is not None and not reason:
            self._whole(execution, execution.large, None)
        elif kind == frames.END and execution.chunks:
            self._finish(execution, AnswerKind.END, status, b"", exec_us, b"", reason)
        elif kind == frames.END:
            self.lost(execution, reason or "broken_answer")
        elif reason:
            self.lost(execution, reason)
        else:
            self._whole(execution, Large(status, exec_us, head), body)

    def taken(self, execution: Execution, answer: Answer) -> None:
        """The ingress has pulled a large answer."""
        self._finish(execution, AnswerKind.DONE, answer.status, answer.head, answer.exec_us, b"")

    def lost(self, execution: Execution, reason: str) -> None:
        if execution.chunks:
            self._finish(execution, AnswerKind.END, 0, b"", -1, b"", reason)
        else:
            self._finish(execution, AnswerKind.FAILED, 0, b"", -1, b"", reason)

    def expired(self, execution: Execution) -> None:
        self._finish(execution, AnswerKind.EXPIRED, 0, b"", -1, b"", "deadline")

    def recalled(self, execution: Execution) -> None:
        """It had not begun, and is the ingress' again."""
        if execution.cancelled:
            self.lost(execution, CANCELLED)
            return
        now, request = monotonic(), execution.request
        if execution.deadline_s <= now:
            self.expired(execution)
            return
        del self._executions[request.request_id]
        self._transfers.forget(execution)
        grants = self.admission.give_back(request.request_id, now, overdue=execution.overdue)
        self._publish(execution.reply, self._answer(AnswerKind.BUSY, request))
        self._grant(grants)
        if self.admission.draining and not self.in_flight:
            self._idle.set()

    def _stood_by(self, execution: Execution) -> None:
        """It has been here for as long as it may wait."""
        if (
            self._executions.get(execution.request.request_id) is execution
            and self.pool is not None
        ):
            execution.overdue = True
            self.pool.recall(execution)

    def capacity_changed(self) -> None:
        """Set the slots anew by the workers there are and the measured service time."""
        pool, limit = self.pool, self._launch.max_concurrent
        slots = standby = 0
        if pool is not None and (workers := pool.open_workers):
            base = base_slots(workers, limit, is_async=pool.asynchronous)
            lanes = limit if pool.asynchronous else workers
            if self._launch.idempotent and not pool.asynchronous:
                standby = standby_places(self._service_s, base, limit)
            most_s = LEAST_S if standby and not self._quick else self._ahead.seconds
            more = look_ahead(self._service_s, lanes, limit, most_s)
            self._starts_at_once = 1 if pool.asynchronous else workers
            slots = base + more
            # Of several workers nobody knows which is done first: it waits here for any.
            in_worker = standby if workers == 1 else 0
            pool.depth = 1 + -(-more // workers) + in_worker
        before = self.admission.slots
        if slots != before or standby != self.admission.standby:
            self._grant(self.admission.set_slots(slots, monotonic(), standby))
        if (slots > 0) != (before > 0):
            self.on_change()

    @property
    def _quick(self) -> bool:
        """One that stands by is over too soon for a slot never to be empty."""
        return self._service_s is not None and self._service_s < LEAST_S

    def tick(self, now: float) -> None:
        """Look at slots, held grants and workers; twice a second."""
        if self.pool is not None:
            self.pool.check(now)
        self._transfers.tick(now)
        self._streams.tick(now)
        self.capacity_changed()
        self._grant(self.admission.expire(now))

    def _expire(self) -> None:
        """Take back what was granted and not used, and look again when more may be due."""
        self._expiry = None
        self._grant(self.admission.expire(monotonic()))
        self._watch_expiry()

    def _watch_expiry(self) -> None:
        if self._expiry is None and (expires := self.admission.next_expiry) is not None:
            delay_s = max(0.001, expires - monotonic())
            self._expiry = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def drain(self) -> None:
        """Admit nothing more; `idle` waits for what runs."""
        self.admission.drain()

    async def idle(self, timeout_s: float) -> None:
        """Return when nothing is in flight, or after the time given."""
        self._idle.clear()
        if self.in_flight:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _measure(self, exec_us: int) -> None:
        if exec_us < 0:
            return
        sample, mean = exec_us * 1e-6 + OVERHEAD_S, self._service_s
        self._service_s = sample if mean is None else mean + SERVICE_WEIGHT * (sample - mean)
        if self.served == FIRST_SAMPLES:
            self.capacity_changed()

    def _chunk(self, execution: Execution, body: bytes, status: int, head: bytes) -> None:
        if execution.cancelled:
            return
        request = execution.request
        if request.flags & MIRROR or not execution.reply:
            # Nobody reads a shadow's stream, so nobody but us lets it go on.
            execution.chunks += 1
            if self.pool is not None and body:
                self.pool.credit(execution, 1)
            return
        answer = Answer(
            AnswerKind.CHUNK, request.request_id, status, execution.number, 0, execution.chunks, "",
            self._epoch, head, body,
        )  # fmt: skip
        self._batcher.depart()  # it comes behind what was answered before
        if self._streams.send(execution, answer, monotonic()):
            execution.chunks += 1
        else:
            self._give_up(execution)

    def _give_up(self, execution: Execution) -> None:
        """Of a stream with a gap, or without a reader, what would come is of no use."""
        if self.pool is not None:
            self.pool.cancel(execution)

    def _whole(self, execution: Execution, answer: Large, body: bytes | None) -> None:
        """A whole answer: in a message if it fits, else it is left to be pulled.

        Without a body it has come in pieces; with a file of ours the worker may have used that.
        """
        self._measure(answer.exec_us)
        status, exec_us, head = answer
        if body is not None and (len(body) >= HANDED_BYTES or self._transfers.holds(execution)):
            most = message_bytes(self._bus.max_payload)
            head, body = self._transfers.body_of(execution, head, body, most)
        if body is not None or self._unread(execution):
            self._finish(execution, AnswerKind.DONE, status, head, exec_us, body or b"")
            return
        left = self._answer(AnswerKind.LEFT, execution.request)
        self._transfers.leave(execution, left._replace(status=status, head=head, exec_us=exec_us))

    def _unread(self, execution: Execution) -> bool:
        return bool(execution.cancelled or not execution.reply or execution.request.flags & MIRROR)

    def _finish(
        self,
        execution: Execution,
        kind: AnswerKind,
        status: int,
        head: bytes,
        exec_us: int,
        body: bytes,
        reason: str = "",
    ) -> None:
        """Free the slot, then answer: the answer says how many are free."""
        request = execution.request
        self._executions.pop(request.request_id, None)
        self._transfers.forget(execution)
        before = self._streams.forget(execution)
        grants = self.admission.finish(
            request.request_id,
            monotonic(),
            answered=bool(execution.reply) and not execution.cancelled,
        )
        self.served += 1
        if request.flags & MIRROR:
            head = body = b""
        if execution.reply:
            free = self.admission.free_for(request.ingress_id)
            data = pack_answer(
                kind, request.request_id, status, exec_us, free,
                execution.chunks, reason, self._epoch, head, body,
            )  # fmt: skip
            try:
                self._send(request, execution.reply, data)
            except PayloadTooLarge:
                log.warning("an answer is too large for a message", size_bytes=len(body))
                self._publish(
                    execution.reply, self._answer(AnswerKind.FAILED, request, reason=TOO_LARGE)
                )
                kind = AnswerKind.FAILED
            if kind is AnswerKind.DONE:
                self._keep(request.request_id, data)
            elif before and not reason:
                self._keep(request.request_id, couple([*before, data]))
        if grants:
            self._grant(grants)
        if self.admission.draining and not self.in_flight:
            self._idle.set()

    def _keep(self, request_id: str, data: bytes) -> None:
        if len(data) > KEPT_BYTES // 8:
            return
        self._kept[request_id] = data
        self._kept_bytes += len(data)
        while len(self._kept) > KEPT_ANSWERS or self._kept_bytes > KEPT_BYTES:
            _, old = self._kept.popitem(last=False)
            self._kept_bytes -= len(old)

    def _answer(self, kind: AnswerKind, request: Request, *, reason: str = "") -> Answer:
        free = self.admission.free_for(request.ingress_id)
        return Answer(kind, request.request_id, 0, -1, free, 0, reason, self._epoch, b"", b"")

    def _send(self, request: Request, reply: str, data: bytes) -> None:
        """Answer with what else goes there in this turn. Raises PayloadTooLarge."""
        if not reply or (request.flags & TRAINS and self._batcher.join(reply, data)):
            return
        self._batcher.start(reply, data)
        if not request.flags & TRAINS:  # of an older version
            self._batcher.depart()

    def _publish(self, reply: str, answer: Answer) -> bool:
        """By itself, behind all that was answered before: it tells what is free since then."""
        self._batcher.depart()
        return not reply or self._put(reply, encode_answer(answer))

    def _put(self, reply: str, data: bytes) -> bool:
        """False, and this message is lost, where the bus keeps no more for a server that is away.

        Whoever calls is a worker's socket, a timer or the heartbeat, and must outlive that.
        """
        try:
            self._bus.publish(reply, data)
        except BusError as error:
            log.warning("an answer could not be published", error=str(error))
            return False
        return True

    def _grant(self, grants: list[Grant]) -> None:
        if not grants:
            return
        self._watch_expiry()
        for one in grants:
            answer = Answer(AnswerKind.GRANT, "", 0, -1, one.free, 0, "", self._epoch, b"", b"")
            self._publish(one.reply, answer)
