"""Requests that left in one message, and the reply subject they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from headrace_bus.client.connection import Bus
from headrace_bus.client.inbox import Inbox
from headrace_bus.client.message import Message
from headrace_bus.routing.trains import Trains

if TYPE_CHECKING:
    from headrace_bus.routing.call import Call

SPARE: Final = 64  # reply subjects kept for the next requests

Receive = Callable[["Consignment", Message], None]


class Consignment:
    """One message of requests. Its reply subject is used again once all of them are closed."""

    __slots__ = ("_depot", "calls", "inbox", "subject")

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self.calls: dict[str, Call] = {}
        """Those that still expect an answer, by request id."""
        self.subject = ""
        """Of the instance it was sent to."""
        self.inbox = depot.open(self)

    def add(self, call: Call) -> None:
        self.calls[call.request_id] = call
        call.sent_in += (self,)

    def remove(self, call: Call) -> None:
        if self.calls.pop(call.request_id, None) is not None and not self.calls:
            self._depot.put_back(self)


class Depot:
    """The consignments of one deployment: a used reply subject is known to its instances only.

    An answer to a request before is told apart by its request id. The server finds out anew where
    a subject goes that it has never seen, which costs it a third more.
    """

    def __init__(self, bus: Bus, receive: Receive) -> None:
        self._bus = bus
        self._trains = Trains(bus)
        self._receive = receive
        self._spare: list[Consignment] = []
        self._loading: dict[str, Consignment] = {}
        """By subject, the one that still waits, or waited last."""

    def ship(self, call: Call, subject: str, envelope: bytes, *, joins: bool) -> None:
        """Send it with what else goes there in this turn. Raises PayloadTooLarge.

        One that does not join, as it goes to an instance of an older version, leaves by itself.
        """
        if self._trains.join(subject, envelope):
            self._loading[subject].add(call)
            return
        consignment = self._spare.pop() if self._spare else Consignment(self)
        consignment.subject = subject
        consignment.add(call)
        self._trains.start(subject, envelope, consignment.inbox.subject)
        self._loading[subject] = consignment  # one that is refused leaves the other waiting
        if not joins:
            self._trains.depart()

    def depart(self) -> None:
        """Send what waits, as something else has to come behind it."""
        self._trains.depart()

    def forget(self, subject: str) -> None:
        """The instance is gone."""
        self._loading.pop(subject, None)

    def put_back(self, consignment: Consignment) -> None:
        """None of its calls expects an answer any more; what still comes is dropped."""
        if len(self._spare) < SPARE:
            self._spare.append(consignment)
        else:
            consignment.inbox.close()

    def close(self) -> None:
        """No request comes any more."""
        for consignment in self._spare:
            consignment.inbox.close()

    def open(self, consignment: Consignment) -> Inbox:
        return self._bus.open_inbox(partial(self._receive, consignment))
