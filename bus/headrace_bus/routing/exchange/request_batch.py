"""Requests that left in one message, and the reply subject they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from headrace_bus.client.connection import Bus
from headrace_bus.client.inbox import Inbox
from headrace_bus.client.message import Message
from headrace_bus.routing.exchange.batching import Batcher

if TYPE_CHECKING:
    from headrace_bus.routing.exchange.call import Call

SPARE: Final = 64  # reply subjects kept for the next requests

Receive = Callable[["RequestBatch", Message], None]


class RequestBatch:
    """One message of requests. Its reply subject is used again once all of them are closed."""

    __slots__ = ("_reply_subjects", "calls", "inbox", "subject")

    def __init__(self, reply_subjects: ReplySubjects) -> None:
        self._reply_subjects = reply_subjects
        self.calls: dict[str, Call] = {}
        """Those that still expect an answer, by request id."""
        self.subject = ""
        """Of the instance it was sent to."""
        self.inbox = reply_subjects.open(self)

    def add(self, call: Call) -> None:
        self.calls[call.request_id] = call
        call.sent_in += (self,)

    def remove(self, call: Call) -> None:
        if self.calls.pop(call.request_id, None) is not None and not self.calls:
            self._reply_subjects.put_back(self)


class ReplySubjects:
    """The batches of one deployment: a used reply subject is known to its instances only.

    An answer to a request before is told apart by its request id. The server finds out anew where
    a subject goes that it has never seen, which costs it a third more.
    """

    def __init__(self, bus: Bus, receive: Receive) -> None:
        self._bus = bus
        self._batcher = Batcher(bus)
        self._receive = receive
        self._spare: list[RequestBatch] = []
        self._loading: dict[str, RequestBatch] = {}
        """By subject, the one that still waits, or waited last."""

    def ship(self, call: Call, subject: str, envelope: bytes, *, joins: bool) -> None:
        """Send it with what else goes there in this turn. Raises PayloadTooLarge.

        One that does not join, as it goes to an instance of an older version, leaves by itself.
        """
        if self._batcher.join(subject, envelope):
            self._loading[subject].add(call)
            return
        batch = self._spare.pop() if self._spare else RequestBatch(self)
        batch.subject = subject
        batch.add(call)
        self._batcher.start(subject, envelope, batch.inbox.subject)
        self._loading[subject] = batch  # one that is refused leaves the other waiting
        if not joins:
            self._batcher.depart()

    def depart(self) -> None:
        """Send what waits, as something else has to come behind it."""
        self._batcher.depart()

    def forget(self, subject: str) -> None:
        """The instance is gone."""
        self._loading.pop(subject, None)

    def put_back(self, batch: RequestBatch) -> None:
        """None of its calls expects an answer any more; what still comes is dropped."""
        if len(self._spare) < SPARE:
            self._spare.append(batch)
        else:
            batch.inbox.close()

    def close(self) -> None:
        """No request comes any more."""
        for batch in self._spare:
            batch.inbox.close()

    def open(self, batch: RequestBatch) -> Inbox:
        return self._bus.open_inbox(partial(self._receive, batch))
