"""One deployment at one gateway: carries out what dispatch decides, over the bus."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, cast

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.client.inbox import Inbox
from headrace_bus.client.message import Message
from headrace_bus.errors import BusDisconnected, MalformedEnvelope, PayloadTooLarge
from headrace_bus.routing.bodies.shared_file import answer_size
from headrace_bus.routing.exchange.accounting import End, Tally
from headrace_bus.routing.exchange.call import Call, Deliver, Incoming
from headrace_bus.routing.exchange.encoding import packed
from headrace_bus.routing.exchange.hedged_copies import HedgedCopies
from headrace_bus.routing.exchange.metrics import ChannelMetrics
from headrace_bus.routing.exchange.refusals import (
    Refusal,
    answer_too_large,
    failed,
    model_error,
    overdue,
    too_large,
    too_many_pending,
)
from headrace_bus.routing.exchange.remote_body import FarBodies
from headrace_bus.routing.exchange.request_batch import ReplySubjects, RequestBatch
from headrace_bus.routing.queueing.dispatch import Dispatch, Overdue
from headrace_bus.routing.queueing.limits import Peers, pending_limit, queue_wait_s
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.retry import may_retry
from headrace_bus.wire.batch import uncouple
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    RequestFlag,
    decode_answer,
)
from headrace_bus.wire.heartbeat import InstanceHeartbeat
from headrace_bus.wire.instance_control import (
    Cancel,
    Credit,
    InstanceControl,
    Recall,
    Want,
    encode_control,
    pack_backlog,
)
from headrace_bus.wire.route_record import DeploymentRoute
from headrace_bus.wire.subjects import InstanceAddress, instance, instance_control, wake
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

_DONE: Final = int(AnswerKind.DONE)
_MORE: Final = int(RequestFlag.MORE)
_TRAINS: Final = int(RequestFlag.TRAINS)
_STANDBY: Final = int(RequestFlag.STANDBY)
_NOT_RUN: Final = (AnswerKind.BUSY, AnswerKind.DRAINING)
_STREAM: Final = (AnswerKind.CHUNK, AnswerKind.END)
_PULLED: Final = (AnswerKind.PULL, AnswerKind.LEFT, AnswerKind.PIECE)


class Channel:
    """Requests, instances and messages of one deployment. All methods are synchronous."""

    def __init__(
        self,
        bus: Bus,
        ingress_id: str,
        route: DeploymentRoute,
        address: tuple[str, str],
        *,
        dispatch: Dispatch,
        metrics: ChannelMetrics,
        tally: Tally | None = None,
        far: FarBodies | None = None,
        kubernetes: bool = False,
        peers: Peers | None = None,
    ) -> None:
        self.endpoint, self.deployment = address
        self.name = f"{self.endpoint}.{self.deployment}"
        self.dispatch = dispatch
        self.update(route, kubernetes=kubernetes)
        self.metrics = metrics
        self.tally = tally or Tally()
        self._far = far or FarBodies(None)
        self._peers = Peers(ingress_id) if peers is None else peers  # an empty one is falsy
        self._bus = bus
        self._ingress_id = ingress_id
        self._subjects: dict[str, str] = {}
        self._grants: dict[str, Inbox] = {}
        self._reply_subjects = ReplySubjects(bus, self._arrived)
        self._copies: HedgedCopies | None = None

    def update(self, route: DeploymentRoute, *, kubernetes: bool) -> None:
        """Take the deployment's newest numbers."""
        self.route = route
        self.kubernetes = kubernetes
        self.limit = pending_limit(route)
        self.dispatch.cold_start.expected = route.desired_instances > 0 and not route.failed

    def overload(self) -> Refusal | None:
        """Why one more may not wait: as many wait and run, here and at other edges, as may."""
        pending = self.dispatch.pending + self._peers.pending(self.name)
        if pending < self.limit:
            return None
        limit = pending_limit(self.route, self.dispatch.ready)
        return too_many_pending(limit) if pending >= limit else None

    def start(self, incoming: Incoming, deliver: Deliver) -> Call:
        """Take a request; `deliver` gets its result."""
        self.tally.accepted += 1
        if self.route.hedge and self.route.idempotent:
            if self._copies is None:
                self._copies = HedgedCopies(self, monotonic)
            deliver = self._copies.watched(deliver)
        call = self.copy(incoming, deliver)
        self._submit(call)
        return call

    def mirror(self, incoming: Incoming) -> None:
        """Take a copy nobody waits for; drop it when the deployment is behind."""
        if self.overload() is not None:
            self.metrics.mirror_dropped.inc()
            return
        self.metrics.mirror_sent.inc()
        self._submit(self.copy(incoming, None))

    def cancel(self, call: Call) -> None:
        """The caller has gone; the slot stays taken until the instance says it is free."""
        call.end(End.CANCELLED)
        if self._copies is not None:
            self._copies.drop(call)
        self.stop(call)

    def send(self, call: Call) -> None:
        """Send what was bound beside the queue."""
        self._send(call)

    def stop(self, call: Call) -> None:
        """Nobody waits for it any more."""
        self._abandon(call)
        self.settle()

    def credit(self, call: Call, chunks: int) -> None:
        if call.instance is not None:
            self._tell(call.instance.iid, Credit(request_id=call.request_id, n=chunks))

    def _arrived(self, batch: RequestBatch, message: Message) -> None:
        """One message on the reply subject of calls."""
        if message.raw_headers is not None and message.no_responders:
            self._nobody(batch, message)
            return
        try:
            answers = [decode_answer(envelope) for envelope in uncouple(message.data)]
        except MalformedEnvelope as error:
            log.warning("an answer could not be read", deployment=self.name, error=str(error))
            return
        for answer in answers:
            # Request ids are secrets between this edge and the instance.
            call = batch.calls.get(answer.request_id)
            if call is not None:
                self._take(call, answer)
        if self.dispatch.restless:
            self.settle()

    def _take(self, call: Call, answer: Answer) -> None:
        known = call.instance
        if known is None or answer.epoch != known.epoch:  # which names one life of it
            return
        if answer.kind == _DONE:
            if answer.exec_us >= 0:  # below: `run` raised, or was not called
                self._measure(call, answer.exec_us / 1e6, known.iid)
            whole = call.incoming.file is None and call.spool is None
            self._finish(call, answer if whole else self._checked(call, answer), answer.free)
        elif answer.kind in _STREAM:
            self._chunk(call, answer)
        elif answer.kind in _NOT_RUN:
            self._not_run(call, answer)
        elif answer.kind in _PULLED:
            self._pulled(call, answer, known.iid)
        else:
            self._finish(call, failed(answer, kubernetes=self.kubernetes), answer.free)

    def _measure(self, call: Call, run_s: float, iid: str) -> None:
        """What an answer of `run` tells of its instance, and of how long requests take."""
        self.metrics.run_s.observe(run_s)
        # How long it stood by says nothing of its instance.
        took_s = run_s if call.standby else monotonic() - call.sent
        self.dispatch.measured(iid, took_s)
        if self._copies is not None:
            self._copies.answered(call, took_s)

    def beat(self, heartbeat: InstanceHeartbeat, now: float) -> None:
        """Take an instance's heartbeat."""
        heard = self.dispatch.beat(heartbeat, now)
        self._lost(heard.lost, "restarted", now)
        self._send_again(heard.again)
        self.settle()

    def dead(self, iid: str, why: str, now: float) -> None:
        """The instance is gone; what it had is tried once more or failed."""
        log.warning("an instance is lost", deployment=self.name, iid=iid, why=why)
        lost = self.dispatch.remove(iid)
        for entry in lost:  # one that was only silent has them still
            self._tell(iid, Cancel(request_id=entry.request_id))
        inbox = self._grants.pop(iid, None)
        if inbox is not None:
            inbox.close()
        self._reply_subjects.forget(self._subjects.pop(iid, ""))
        self._lost(lost, why, now)
        self.settle()

    def sweep(self, now: float) -> None:
        """End the requests that ran past one of their clocks."""
        late = self.dispatch.overdue(now)
        for entry, why in late:
            call = cast("Call", entry)
            if why is Overdue.QUEUE and call.queue_wait_s > self.route.max_queue_wait_ms / 1000:
                why = Overdue.DEADLINE  # as in an instance, which it was as good as handed to
            refusal = overdue(
                why, attempt=call.attempt, kubernetes=self.kubernetes, failed=self.route.failed
            )
            if call.deliver is None:
                self.metrics.mirror_dropped.inc()
            else:
                self.metrics.rejected(refusal.reason)
            call.resolve(refusal)
            self._abandon(call)
        if late:
            self.settle()

    def cut_off(self) -> None:
        self.dispatch.paused = True

    def reconnected(self, cut_off_s: float, now: float) -> None:
        """Send what is open again, under the same ids, and go on."""
        self._send_again(self.dispatch.resume(cut_off_s, now))
        self.settle()

    def settle(self) -> None:
        """Send what has room now, and tell instances whether more waits."""
        now = monotonic()
        self._send_again(self.dispatch.room_again(now))
        while (entry := self.dispatch.next(now)) is not None:
            self._send(cast("Call", entry))
        for entry in self.dispatch.recalls():
            if entry.instance is not None:
                self._tell(entry.instance.iid, Recall(request_id=entry.request_id))
        for change in self.dispatch.wants(now):
            iid = change.instance.iid
            want = Want(
                ingress_id=self._ingress_id,
                reply=self._grant_reply(iid),
                **change.backlog._asdict(),
            )
            self._tell(iid, want)

    @property
    def unended(self) -> int:
        """Accepted requests in the queue and at instances, counted one by one."""
        places = [
            self.dispatch.queue,
            *(one.open.values() for one in self.dispatch.instances.values()),
        ]
        return sum(not cast("Call", entry).ended for place in places for entry in place)

    def wake(self) -> None:
        """Say that work waits where no instance is ready."""
        if self.dispatch.queue and not self.dispatch.ready:
            self._publish(wake(self.endpoint, self.deployment), b"")

    def close(self) -> None:
        """Forget the deployment; it has no instance and no request."""
        for inbox in self._grants.values():
            inbox.close()
        self._reply_subjects.close()
        self.metrics.remove()

    def copy(self, incoming: Incoming, deliver: Deliver | None) -> Call:
        """A call of this channel that is neither queued nor sent."""
        pending = self.dispatch.pending + self._peers.pending(self.name)
        return Call(
            incoming,
            self,
            deliver,
            arrived=monotonic(),
            queue_wait_s=queue_wait_s(self.route, self.dispatch.ready, pending),
            run_timeout_s=self.route.request_timeout_ms / 1000,
        )

    def _submit(self, call: Call) -> None:
        if self.dispatch.submit(call, call.arrived) is not None:
            self._send(call)
            return
        if not self.dispatch.ready:
            self.wake()
        self.settle()

    def _send_again(self, entries: Iterable[QueueEntry]) -> None:
        """To the instance that may have it already; an answer that has begun goes on by itself."""
        for entry in entries:
            call = cast("Call", entry)
            if call.abandoned:
                if call.instance is not None:
                    self._tell(call.instance.iid, Cancel(request_id=call.request_id))
                self.dispatch.disowned(call)
                call.close()
            elif not call.streaming:
                call.resent = True
                self._send(call)

    def _send(self, call: Call) -> None:
        known = call.instance
        if known is None:
            return
        flags = _TRAINS | _STANDBY if call.standby else _TRAINS
        subject = self._subjects.get(known.iid) or self._subject(known.iid)
        if self.dispatch.queue:
            flags |= _MORE
        backlog = 0
        if known.wanted:
            backlog = pack_backlog(self.dispatch.more_waiting(known, call.sent))
        try:
            data = packed(
                call,
                known,
                flags,
                backlog,
                ingress_id=self._ingress_id,
                timeout_ms=self.route.request_timeout_ms,
                max_payload=self._bus.max_payload,
            )
            self._reply_subjects.ship(call, subject, data, joins=known.batches)
        except PayloadTooLarge as error:
            self.dispatch.unsent(call)
            call.resolve(too_large(error.max_bytes, error.size_bytes))
            call.close()
        self.metrics.queue_s.observe(call.sent - call.arrived)
        if self._copies is not None and call.deliver is not None and self.route.hedge:
            self._copies.started(call)

    def _finish(self, call: Call, result: Answer | Refusal, free: int) -> None:
        self.dispatch.answered(call, free)
        call.close()
        call.resolve(result)
        if call.spool is not None:
            self._far.end(call)
        if isinstance(result, Refusal) and not call.abandoned:
            self.metrics.rejected(result.reason)

    def _checked(self, call: Call, answer: Answer) -> Answer | Refusal:
        """An answer that may lie in a file: no larger than it may be, and all of it here."""
        size = answer_size(answer.head)
        if size is None:
            call.spool = None
            return answer
        if size > call.incoming.limit_bytes:
            return answer_too_large(size, call.incoming.limit_bytes)
        if call.spool is not None and call.spool.answer_bytes != size:
            return model_error("The model's answer did not come whole.")
        return answer

    def _pulled(self, call: Call, answer: Answer, iid: str) -> None:
        """What a large body or answer says that no message carries."""
        tell = partial(self._tell, iid)
        if answer.kind == AnswerKind.PULL:
            self._far.give(call, answer, tell)
        elif answer.kind == AnswerKind.PIECE:
            self._far.piece(call, answer)
        else:
            self._far.fetch(call, answer, tell, partial(self._refuse, call))

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        """A request ends here though its instance would go on."""
        self.metrics.rejected(refusal.reason)
        call.resolve(refusal)
        self.stop(call)

    def _chunk(self, call: Call, answer: Answer) -> None:
        awaits = not (call.streaming or call.abandoned or call.deliver is None)
        if awaits and answer.kind == AnswerKind.END:
            if answer.reason:
                self._finish(call, failed(answer, kubernetes=self.kubernetes), answer.free)
            return  # what should have come before it was lost, and is said again
        if not call.abandoned:
            call.run_deadline = monotonic() + call.run_timeout_s  # each chunk is an answer in time
            call.add_chunk(answer)
        if answer.kind == AnswerKind.END:
            self.dispatch.answered(call, answer.free)
            call.close()

    def _not_run(self, call: Call, answer: Answer) -> None:
        if answer.kind == AnswerKind.BUSY and call.may_have_begun:
            self.dispatch.kept(call)
            return
        if answer.kind == AnswerKind.BUSY:
            self.dispatch.refused(call, answer.free)
        else:
            self.dispatch.turned_away(call)
            call.resent = False  # it is not there, and never will be
        call.close()

    def _nobody(self, batch: RequestBatch, message: Message) -> None:
        """Nobody listens on the instance's subject: free of charge, and elsewhere at once.

        The word may come when the reply subject is used for another instance; a server that names
        the subject it means lets us tell.
        """
        if message.asked not in ("", batch.subject):
            return
        for call in list(batch.calls.values()):
            known = call.instance
            if known is None or call.sent_in[-1] is not batch:
                continue
            self.metrics.retried("no_responders")
            if call.may_have_begun:
                self.dispatch.kept(call)
                self.dispatch.suspect(known.iid)
            else:
                self.dispatch.turned_away(call)
                call.close()
        self.settle()

    def _lost(self, entries: Iterable[QueueEntry], why: str, now: float) -> None:
        """Each is tried once more, or fails."""
        self._reply_subjects.depart()  # nobody hears it, but its reply subjects are in use
        for entry in entries:
            call = cast("Call", entry)
            self._far.drop(call)
            if may_retry(
                attempt=call.attempt,
                idempotent=self.route.idempotent,
                answering=call.streaming,
                now=now,
                deadline=call.deadline,
            ):
                self.metrics.retried("instance_lost")
                self.dispatch.retry(call)
            else:
                self.metrics.rejected("instance_lost")
                words = f"The instance was lost with the request ({why}), which may have run."
                call.resolve(model_error(words))
                call.close()

    def _abandon(self, call: Call) -> None:
        self._far.drop(call)
        call.incoming = call.incoming._replace(body=b"", file=None)  # it is never sent again
        known = self.dispatch.withdraw(call)
        if known is None:
            call.close()
        else:
            self._tell(known.iid, Cancel(request_id=call.request_id))

    def _granted(self, iid: str, message: Message) -> None:
        try:
            answer = decode_answer(message.data)
        except MalformedEnvelope:
            return
        if answer.kind == AnswerKind.GRANT:
            self.dispatch.granted(iid, answer.free)
            self.settle()

    def _grant_reply(self, iid: str) -> str:
        inbox = self._grants.get(iid)
        if inbox is None:
            inbox = self._grants[iid] = self._bus.open_inbox(partial(self._granted, iid))
        return inbox.subject

    def _subject(self, iid: str) -> str:
        address = InstanceAddress(self.endpoint, self.deployment, iid)
        subject = self._subjects[iid] = instance(address)
        return subject

    def _tell(self, iid: str, message: InstanceControl) -> None:
        address = InstanceAddress(self.endpoint, self.deployment, iid)
        self._publish(instance_control(address), encode_control(message))

    def _publish(self, subject: str, data: bytes) -> None:
        self._reply_subjects.depart()  # behind the requests it may be about
        try:
            self._bus.publish(subject, data)
        except BusDisconnected:
            log.info("a message was not sent while NATS was away", subject=subject)
